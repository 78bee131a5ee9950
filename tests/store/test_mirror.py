"""The queue in memory is the queue in the database, whatever commits when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.jobs import EndCause, Job, NewJob
from gaelp_ray.domain.quotas import QuotaKind
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import mirror as service
from gaelp_ray.services import submissions
from gaelp_ray.services.mirror import Mirror
from tests.builders import ANN, World, at_once, resources
from tests.conftest import Sql


def refresh(world: World, mirror: Mirror) -> list[int]:
    """The jobs that the mirror knows after it has caught up."""
    world.store.read(service.refresh, mirror)
    return sorted(job.id for job in mirror.queue)


@contextmanager
def transaction(world: World) -> Iterator[Connection]:
    with world.store.engine.connect() as connection, connection.begin():
        yield connection


def submit(tx: Connection, world: World, agent: int) -> Job:
    new = NewJob(agent_id=agent, name="job")
    return submissions.submit(tx, new, by=ANN, now=world.now, defaults=world.defaults)


def test_a_new_mirror_knows_the_whole_queue_and_nothing_else(world: World) -> None:
    agent = world.agent()
    runs, ended = world.running(world.submit(agent)), world.submit(agent)
    world.cancel(ended)
    waits = world.submit(agent, priority=8, preemptible=True, workers=2, label_selector={"zone": "a"})
    mirror = world.load()
    [job] = mirror.queue
    found = world.job(waits)
    assert (job.id, job.request, job.priority) == (waits.id, found.request, 8)
    assert (job.owner, job.agent_id, job.preemptible) == ("ann", agent.id, True)
    assert (job.submitted_at, job.queued_at) == (found.submitted_at, found.queued_at)
    assert mirror.queue.get(runs.job_id) is None


def test_whatever_happens_to_the_queue_is_heard(world: World) -> None:
    agent = world.agent()
    mirror = world.load()
    first, second = world.submit(agent), world.submit(agent)
    assert refresh(world, mirror) == [first.id, second.id]
    world.cancel(first)
    assert refresh(world, mirror) == [second.id]
    world.edit(second, priority=9)
    assert refresh(world, mirror) == [second.id]
    known = mirror.queue.get(second.id)
    assert known is not None
    assert (known.priority, known.row_version) == (9, 2)
    attempt = world.running(second)
    assert refresh(world, mirror) == []
    world.finish(attempt, EndCause.NODE_LOST)
    assert refresh(world, mirror) == [second.id]


def test_a_transaction_that_commits_late_is_not_missed(world: World) -> None:
    agent = world.agent().id
    mirror = world.load()
    with transaction(world) as slow:
        late = submit(slow, world, agent)
        quick = world.store.transact(submit, world, agent)
        assert refresh(world, mirror) == [quick.id], "the quick one is not held up"
        assert refresh(world, mirror) == [quick.id]
    assert refresh(world, mirror) == [late.id, quick.id]


def test_of_two_open_transactions_each_is_seen_when_it_commits(world: World) -> None:
    agent = world.agent().id
    mirror = world.load()
    with transaction(world) as older:
        first = submit(older, world, agent)
        with transaction(world) as newer:
            second = submit(newer, world, agent)
            assert refresh(world, mirror) == []
        assert refresh(world, mirror) == [second.id]
        third = world.store.transact(submit, world, agent)
        assert refresh(world, mirror) == [second.id, third.id]
    assert refresh(world, mirror) == [first.id, second.id, third.id]


def test_what_was_under_way_when_the_mirror_was_made_is_seen_later(world: World) -> None:
    agent = world.agent().id
    with transaction(world) as slow:
        late = submit(slow, world, agent)
        mirror = world.load()
    assert refresh(world, mirror) == [late.id]


def test_what_is_rolled_back_is_never_seen(world: World) -> None:
    agent = world.agent().id
    mirror = world.load()
    with world.store.engine.connect() as connection:
        begun = connection.begin()
        submit(connection, world, agent)
        kept = world.store.transact(submit, world, agent)
        assert refresh(world, mirror) == [kept.id]
        begun.rollback()
    assert refresh(world, mirror) == [kept.id]


def test_an_event_is_heeded_once_while_an_older_transaction_is_open(world: World) -> None:
    agent = world.agent().id
    mirror = world.load()
    with transaction(world) as slow:
        submit(slow, world, agent)
        world.store.transact(submit, world, agent)
        assert len(world.store.read(service.refresh, mirror)) == 1
        assert not world.store.read(service.refresh, mirror)


def test_many_writers_at_once_are_all_seen(world: World) -> None:
    agent = world.agent().id
    mirror = world.load()
    submitted = at_once(6, lambda _: [world.store.transact(submit, world, agent).id for _ in range(5)])
    expected = sorted(job for ids in submitted if isinstance(ids, list) for job in ids)
    assert len(expected) == 30
    assert refresh(world, mirror) == expected


def test_a_tick_reads_only_what_has_changed(world: World, sql: Sql) -> None:
    """A queued row that no event tells of is not looked at."""
    world.submit()
    mirror = world.load()
    sql("UPDATE jobs SET priority = 10")
    refresh(world, mirror)
    assert [job.priority for job in mirror.queue] == [5]
    assert [job.priority for job in world.load().queue] == [10]


def test_who_changes_teams_takes_his_waiting_jobs_along(world: World) -> None:
    world.submit()
    world.look()
    assert world.mirror is not None
    world.quota("ann", team="ads")
    assert [job.team for job in world.look().queue] == ["ads"]
    world.quota("ann", team="search")
    later = world.submit()
    queue = world.look().queue
    assert [job.team for job in queue] == ["search", "search"]
    assert queue.ahead_in_lane(next(j for j in queue if j.id == later.id)) == 0


def test_rules_are_read_again_only_when_they_changed(world: World) -> None:
    agent = world.agent()
    seen = world.look()
    assert world.look().quotas is seen.quotas
    world.quota("ads", kind=QuotaKind.TEAM, gpu=1000)
    changed = world.look()
    assert changed.revision == seen.revision + 1
    assert changed.quotas.team("ads").limit.gpu == 1000
    world.store.transact(agent_service.change, agent.id, by=ANN, now=world.now, status=AgentStatus.PAUSED)
    assert set(world.look().blocked) == {agent.id}


def test_usage_in_the_past_fades_by_the_half_life(world: World) -> None:
    world.rules = replace(world.rules, half_life=timedelta(hours=1))
    agent = world.agent(resources=resources(4, 1))
    first = world.running(world.submit(agent, workers=2))
    assert world.look().history == {}, "what is held now is no past"
    world.wait(3600)
    world.finish(first, EndCause.SUCCESS)
    world.wait(3600)
    # It held 8 CPU from two hours ago to one hour ago: 8 * (1/2 - 1/4).
    assert world.look().history["ann"].cpu_milli == 2000
    second = world.running(world.submit(agent))
    world.wait(3600)
    world.finish(second, EndCause.SUCCESS)
    world.wait(3600)
    expected = 2000 / 4 + 4000 * (1 / 2 - 1 / 4)
    assert world.look().history["ann"].cpu_milli == expected
    world.load()
    assert world.look().history["ann"].cpu_milli == expected, "a new mirror comes to the same"
