"""Watchers see every change of state; who is slow sees the newest values, and holds nobody up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import JobEvent, JobState
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.store.events import Cursor
from serve_app import live
from serve_app.live import BACKLOG, LiveFeed, Subscriber, metrics_message, state_message
from tests.builders import T0, a_point

PATIENCE_S = 30.0


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


def metric(job: int, step: int) -> dict[str, Any]:
    return {"type": "metrics", "job_id": job, "step": step}


def state(job: int, to: str) -> dict[str, Any]:
    return {"type": "state", "job_id": job, "to": to}


def taken(subscriber: Subscriber) -> list[dict[str, Any]]:
    return asyncio.run(asyncio.wait_for(subscriber.take(), PATIENCE_S))


def test_a_watcher_who_keeps_up_gets_everything_in_order() -> None:
    watcher = Subscriber()
    told = [metric(1, 1), state(1, "running"), metric(1, 2)]
    for message in told:
        watcher.offer(message)
    assert taken(watcher) == told
    watcher.offer(metric(1, 3))
    assert taken(watcher) == [metric(1, 3)], "nothing comes twice"


def test_a_watcher_waits_for_the_first_message() -> None:
    async def test() -> None:
        watcher = Subscriber()
        waiting = asyncio.create_task(watcher.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        watcher.offer(metric(1, 1))
        assert await waiting == [metric(1, 1)]

    run(test)


def test_a_slow_watcher_gets_the_newest_value_of_each_job() -> None:
    watcher = Subscriber()
    for step in range(BACKLOG * 10):
        watcher.offer(metric(step % 2, step))
    found = taken(watcher)
    assert len(found) <= BACKLOG
    last = BACKLOG * 10 - 1
    assert found[-2:] == [metric((last - 1) % 2, last - 1), metric(last % 2, last)]


def test_a_slow_watcher_loses_no_change_of_state_to_metrics() -> None:
    watcher = Subscriber()
    for step in range(BACKLOG * 4):
        watcher.offer(metric(1, step))
        if step % 50 == 0:
            watcher.offer(state(1, f"state {step}"))
    states = [m["to"] for m in taken(watcher) if m["type"] == "state"]
    assert states == [f"state {step}" for step in range(0, BACKLOG * 4, 50)]


def test_a_watcher_who_never_comes_back_costs_a_bounded_amount() -> None:
    watcher = Subscriber()
    for number in range(BACKLOG * 20):
        watcher.offer(state(number, "queued"))
    found = taken(watcher)
    assert len(found) <= BACKLOG
    assert found[-1] == state(BACKLOG * 20 - 1, "queued")


class Remote:
    """A method of an actor."""

    def __init__(self, call: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self.remote = call


class Hub:
    """A hub whose points the test hands out."""

    def __init__(self) -> None:
        self.points: asyncio.Queue[list[MetricPoint]] = asyncio.Queue()
        self.listeners = 0
        self.heard = asyncio.Event()
        self.alone = asyncio.Event()
        self.listen = Remote(self._listen)

    async def _listen(self, after: int, _wait_s: float) -> tuple[int, list[MetricPoint]]:
        if after < 0:
            return 0, []
        self.listeners += 1
        self.heard.set()
        try:
            return after + 1, await self.points.get()
        finally:
            self.listeners -= 1
            self.alone.set()


class Store:
    """A database whose events the test hands out; may be away."""

    def __init__(self, *batches: list[JobEventRecord] | Exception) -> None:
        self._batches = itertools.chain(batches, itertools.repeat([]))
        self.asked_for_the_end = 0

    def read(self, query: Callable[..., Any], *_args: Any, **_kwargs: Any) -> Any:
        if query is live.event_store.feed_end:
            self.asked_for_the_end += 1
            return Cursor(0, 0)
        batch = next(self._batches)
        if isinstance(batch, Exception):
            raise batch
        return batch, Cursor(1, 1)


def an_event(agent: int, to: JobState = JobState.RUNNING) -> JobEventRecord:
    return JobEventRecord(
        id=1,
        job_id=7,
        agent_id=agent,
        attempt=1,
        event=JobEvent.CLAIM,
        from_state=JobState.STARTING,
        to_state=to,
        actor="system",
        message="",
        data={},
        at=T0,
    )


def feed(store: Store, *hubs: Hub) -> LiveFeed:
    return LiveFeed(store, hubs)  # type: ignore[arg-type]


def test_a_watcher_sees_the_points_and_events_of_his_agent_alone() -> None:
    async def test() -> None:
        hub = Hub()
        watching = feed(Store([an_event(2), an_event(1)]), hub)
        async with watching.subscribe(1) as watcher:
            [told] = await watcher.take()
            assert told == state_message(an_event(1))
            await hub.points.put([a_point(1, agent=2), a_point(2, agent=1)])
            assert await watcher.take() == [metrics_message(a_point(2, agent=1))]

    run(test)


def test_two_watchers_of_one_agent_both_see_it_through_one_connection() -> None:
    async def test() -> None:
        hub = Hub()
        watching = feed(Store(), hub)
        async with watching.subscribe(1) as one, watching.subscribe(1) as other:
            await hub.points.put([a_point(1, agent=1)])
            assert await one.take() == await other.take() == [metrics_message(a_point(1, agent=1))]
            assert hub.listeners <= 1

    run(test)


def test_when_the_last_watcher_leaves_nobody_listens() -> None:
    async def test() -> None:
        hub = Hub()
        watching = feed(Store(), hub)
        async with watching.subscribe(1):
            async with watching.subscribe(2):
                pass
            await hub.heard.wait()
        await hub.alone.wait()
        assert hub.listeners == 0
        watching.publish(1, metric(1, 1))
        async with watching.subscribe(1) as again:
            await hub.points.put([a_point(5, agent=1)])
            assert await again.take() == [metrics_message(a_point(5, agent=1))]

    run(test)


def test_the_place_in_the_feed_is_taken_before_the_block_begins() -> None:
    async def test() -> None:
        store = Store()
        watching = feed(store)
        async with watching.subscribe(1), watching.subscribe(2):
            assert store.asked_for_the_end == 1, "whoever reads now would miss what happens next"

    run(test)


def test_a_watcher_is_told_when_the_database_is_away() -> None:
    async def test() -> None:
        store = Store()
        store.read = _away  # type: ignore[method-assign]
        watching = feed(store)
        with pytest.raises(Unavailable):
            async with watching.subscribe(1):
                pytest.fail("nothing is followed")

    run(test)


def _away(*_args: Any, **_kwargs: Any) -> Any:
    raise Unavailable


def test_a_database_that_was_away_is_followed_on() -> None:
    async def test() -> None:
        watching = feed(Store(Unavailable(), [an_event(1)]))
        async with watching.subscribe(1) as watcher:
            assert await watcher.take() == [state_message(an_event(1))]

    run(test)


def test_a_message_says_what_a_dashboard_needs() -> None:
    point = replace(a_point(3, agent=1, job=7, reward=0.5), total_steps=9)
    assert metrics_message(point) == {
        "type": "metrics",
        "agent_id": 1,
        "job_id": 7,
        "attempt": 1,
        "step": 3,
        "total_steps": 9,
        "at": "2025-03-01T12:00:03+00:00",
        "metrics": {"reward": 0.5},
    }
    assert state_message(an_event(1, JobState.SUCCEEDED)) == {
        "type": "state",
        "agent_id": 1,
        "job_id": 7,
        "attempt": 1,
        "event": "claim",
        "from": "starting",
        "to": "succeeded",
        "status": "completed",
        "message": "",
        "at": "2025-03-01T12:00:00+00:00",
    }
