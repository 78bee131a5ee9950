"""The feed of events skips nothing and repeats nothing, in whatever order transactions commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, text

from gaelp_ray.domain.jobs import Job, JobEvent, JobState
from gaelp_ray.store import events as event_store
from gaelp_ray.store.engine import Store
from gaelp_ray.store.events import Cursor
from tests.builders import T0, World, at_once
from tests.service import eventually


def tell(tx: Connection, job: Job, message: str) -> None:
    event_store.add(
        tx,
        job_id=job.id,
        agent_id=job.agent_id,
        event=JobEvent.SUBMIT,
        from_state=None,
        to_state=JobState.QUEUED,
        actor="ann",
        now=T0,
        message=message,
    )


@dataclass
class Reader:
    """Follows the feed from where it began to listen."""

    store: Store
    limit: int = 100
    cursor: Cursor = field(init=False)
    heard: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cursor = self.store.read(event_store.feed_end)

    def read(self) -> list[str]:
        """What is new, in one page."""
        events, self.cursor = self.store.read(event_store.feed, self.cursor, limit=self.limit)
        self.heard += [event.message for event in events]
        return [event.message for event in events]

    def read_until(self, count: int) -> list[str]:
        """Page by page until so much was heard; other databases' transactions may hold the feed back."""
        eventually(lambda: self.read() is not None and len(self.heard) >= count, what=f"{count} events")
        return self.heard


@pytest.fixture
def job(world: World) -> Job:
    return world.submit()


@contextmanager
def transaction(store: Store) -> Iterator[Connection]:
    with store.engine.connect() as connection, connection.begin():
        yield connection


def test_an_event_is_heard_as_it_was_told(world: World, job: Job) -> None:
    reader = Reader(world.store)
    world.cancel(job)
    eventually(reader.read)
    [told] = world.store.read(event_store.of_job, job.id, after=1, limit=10)
    events, _ = world.store.read(event_store.feed, Cursor(0, 0), limit=10)
    assert events[-1] == told
    assert (told.event, told.from_state, told.to_state) == (
        JobEvent.CANCEL,
        JobState.QUEUED,
        JobState.CANCELLED,
    )


def test_a_transaction_that_commits_late_is_not_skipped(store: Store, job: Job) -> None:
    reader = Reader(store)
    with transaction(store) as slow:
        tell(slow, job, "slow, first id")
        store.transact(tell, job, "quick, second id")
        assert reader.read() == [], "what comes before is not finished"
    assert reader.read_until(2) == ["slow, first id", "quick, second id"]
    assert reader.read() == []


def test_a_late_id_of_an_early_transaction_is_not_skipped(store: Store, job: Job) -> None:
    reader = Reader(store)
    with transaction(store) as slow:
        slow.execute(text("SELECT pg_current_xact_id()"))
        store.transact(tell, job, "quick, first id")
        assert reader.read() == []
        tell(slow, job, "slow, second id")
    assert sorted(reader.read_until(2)) == ["quick, first id", "slow, second id"]
    assert reader.read() == []


def test_what_is_rolled_back_holds_nothing_up_and_is_never_heard(store: Store, job: Job) -> None:
    reader = Reader(store)
    with store.engine.connect() as connection:
        begun = connection.begin()
        tell(connection, job, "taken back")
        store.transact(tell, job, "kept")
        assert reader.read() == []
        begun.rollback()
    assert reader.read_until(1) == ["kept"]


def test_a_page_may_end_anywhere_even_inside_a_transaction(store: Store, job: Job) -> None:
    reader = Reader(store, limit=1)
    told = [f"event {n}" for n in range(5)]

    def tell_all(tx: Connection) -> None:
        for message in told:
            tell(tx, job, message)

    store.transact(tell_all)
    assert reader.read_until(5) == told
    assert reader.read() == []


def test_who_begins_to_listen_hears_only_what_was_not_over(store: Store, job: Job) -> None:
    store.transact(tell, job, "over")
    with transaction(store) as slow:
        tell(slow, job, "under way")
        reader = Reader(store)
    store.transact(tell, job, "later")
    assert reader.read_until(2) == ["under way", "later"]


def test_many_writers_at_once_are_all_heard_exactly_once(store: Store, job: Job) -> None:
    writers, each = 6, 15
    reader = Reader(store, limit=7)
    over = threading.Event()
    reading = threading.Thread(target=lambda: [reader.read() for _ in iter(over.is_set, True)])
    reading.start()
    results = at_once(
        writers, lambda number: [store.transact(tell, job, f"{number}/{n}") for n in range(each)]
    )
    over.set()
    reading.join()
    assert results == [[None] * each] * writers
    heard = reader.read_until(writers * each)
    assert sorted(heard) == sorted(f"{number}/{n}" for number in range(writers) for n in range(each))
    for number in range(writers):
        assert [m for m in heard if m.startswith(f"{number}/")] == [f"{number}/{n}" for n in range(each)]


def test_the_history_of_a_job_is_read_page_by_page(world: World, job: Job) -> None:
    world.store.transact(tell, job, "second")
    world.store.transact(tell, world.submit(), "of another job")
    first, second = world.store.read(event_store.of_job, job.id, after=0, limit=10)
    assert (first.event, second.message) == (JobEvent.SUBMIT, "second")
    assert world.store.read(event_store.of_job, job.id, after=0, limit=1) == [first]
    assert world.store.read(event_store.of_job, job.id, after=first.id, limit=10) == [second]
