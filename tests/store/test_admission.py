"""A plan becomes true all at once, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.attempts import Seat
from gaelp_ray.domain.errors import Conflict
from gaelp_ray.domain.jobs import EndCause, JobState
from gaelp_ray.domain.scheduling import Plan, Snapshot, WaitCode, plan
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services.scheduling import Applied
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store.jobs import JobFilter
from gaelp_ray.store.leases import Lease
from tests.builders import (
    ANN,
    LAUNCHER,
    World,
    a_node,
    a_spot_node,
    at_once,
    resources,
)
from tests.conftest import Sql


@pytest.fixture
def lease(world: World) -> Lease:
    world.register()
    return world.lead()


def planned(world: World) -> tuple[Plan, Snapshot]:
    seen = world.look()
    return plan(seen, world.now), seen


def plan_and_apply(world: World, lease: Lease, **loads: int) -> Applied:
    return world.apply(*planned(world), lease, **loads)


def rows(sql: Sql) -> dict[str, int]:
    """How many rows each table has that an admission writes to."""
    tables = ("attempts", "outbox", "job_events")
    return {table: int(str(sql(f"SELECT count(*) FROM {table}")[0][0])) for table in tables}


def test_state_attempt_order_and_event_appear_together(world: World, sql: Sql, lease: Lease) -> None:
    job = world.submit(world.agent(resources=resources(2, 4)))
    applied = plan_and_apply(world, lease)
    assert (applied.started, applied.launchers) == ({job.id}, {LAUNCHER})
    assert (applied.dropped, applied.preempted) == (frozenset(), frozenset())
    admitted = world.job(job)
    assert (admitted.state, admitted.attempt_number) == (JobState.ADMITTED, 1)
    [attempt] = world.attempts(job)
    assert (attempt.number, attempt.node_id, attempt.launcher) == (1, "node-1", LAUNCHER)
    assert (attempt.created_at, attempt.claimed_at, attempt.ended_at) == (world.now, None, None)
    assert sql("SELECT kind, launcher, attempt_id, delivered_at FROM outbox") == [
        ("launch", LAUNCHER, attempt.id, None)
    ]
    assert sql("SELECT event, from_state, to_state, attempt, actor FROM job_events ORDER BY id")[1:] == [
        ("admit", "queued", "admitted", 1, "system")
    ]


def test_what_is_admitted_is_claimed_on_its_node(world: World, lease: Lease) -> None:
    job = world.submit(world.agent(resources=resources(2, 4, 0)))
    plan_and_apply(world, lease)
    seen = world.look()
    [claim] = seen.claims
    [part] = claim.parts
    assert (claim.job_id, part.node_id, part.resources) == (job.id, "node-1", resources(2, 4, 0))
    assert len(seen.queue) == 0


def test_a_gang_is_one_attempt_with_a_seat_for_each_worker(world: World, lease: Lease) -> None:
    world.nodes = (a_node("n1", cpu=4, gpu=2), a_node("n2", cpu=4, gpu=1))
    job = world.submit(resources={"cpu": 1, "gpu": 1}, workers=3)
    assert plan_and_apply(world, lease).started == {job.id}
    [attempt] = world.attempts(job)
    assert attempt.workers == 3
    assert set(attempt.placement) == {Seat("n1", (0,)), Seat("n1", (1,)), Seat("n2", (0,))}
    assert attempt.node_id == attempt.placement[0].node_id
    [claim] = world.look().claims
    assert claim.total == resources(3, 1.5, 3)


def test_an_attempt_knows_whether_a_node_of_it_may_be_taken_back(world: World, lease: Lease) -> None:
    world.nodes = (a_node("n1", cpu=2), a_spot_node("n2", cpu=2))
    sturdy, flexible = world.submit(), world.submit(preemptible=True)
    plan_and_apply(world, lease)
    assert [world.attempts(job)[0].spot for job in (sturdy, flexible)] == [False, True]
    assert [world.attempts(job)[0].node_id for job in (sturdy, flexible)] == ["n1", "n2"]


def test_a_job_that_was_cancelled_meanwhile_drops_out_alone(world: World, sql: Sql, lease: Lease) -> None:
    agent = world.agent()
    gone, stays = world.submit(agent), world.submit(agent)
    decided, seen = planned(world)
    world.cancel(gone)
    before = rows(sql)
    applied = world.apply(decided, seen, lease)
    assert (applied.started, applied.dropped) == ({stays.id}, {gone.id})
    assert rows(sql) == {table: count + 1 for table, count in before.items()}
    assert world.job(gone).state is JobState.CANCELLED


def test_a_job_that_left_the_queue_and_came_back_is_not_the_one_that_was_planned(
    world: World, lease: Lease
) -> None:
    job = world.submit()
    old, seen = planned(world)
    plan_and_apply(world, lease)
    world.finish(world.attempts(job)[0], EndCause.NODE_LOST)
    assert world.job(job).state is JobState.QUEUED
    assert world.apply(old, seen, lease).dropped == {job.id}
    assert plan_and_apply(world, lease).started == {job.id}


def test_a_plan_applied_twice_is_applied_once(world: World, sql: Sql, lease: Lease) -> None:
    job = world.submit()
    decided, seen = planned(world)
    results = at_once(4, lambda _: world.apply(decided, seen, lease))
    assert sorted(len(r.started) for r in results if isinstance(r, Applied)) == [0, 0, 0, 1]
    assert len(world.attempts(job)) == 1
    assert rows(sql)["outbox"] == 1


def test_a_job_cannot_have_two_live_attempts_whatever_anybody_writes(world: World, sql: Sql) -> None:
    attempt = world.running()
    copy = """
        INSERT INTO attempts (job_id, number, token, cpu_milli, memory_bytes, gpu_milli, storage_bytes,
                              launcher, created_at)
        SELECT job_id, number + 1, gen_random_uuid(), 1, 1, 0, 0, launcher, created_at FROM attempts
    """
    with pytest.raises(IntegrityError, match="uq_attempts_live_job"):
        sql(copy)
    world.finish(attempt, EndCause.NODE_LOST)
    sql(copy)
    assert len(world.attempts(attempt.job_id)) == 2


def test_an_ended_attempt_always_has_a_cause(world: World, sql: Sql) -> None:
    world.running()
    with pytest.raises(IntegrityError, match="ck_attempts_ended_has_cause"):
        sql("UPDATE attempts SET ended_at = now()")


def test_a_plan_of_an_older_epoch_writes_nothing(world: World, sql: Sql, lease: Lease) -> None:
    agent = world.agent()
    starts, waits = world.submit(agent), world.submit(agent, resources={"cpu": 1000})
    decided, seen = planned(world)
    assert len(decided.starts) == len(decided.waits) == 1
    world.wait(11)
    newer = world.lead("another")
    assert newer.epoch == lease.epoch + 1
    before = rows(sql)
    with pytest.raises(Conflict, match="Another scheduler leads now"):
        world.apply(decided, seen, lease)
    assert rows(sql) == before
    assert world.job(starts).state is JobState.QUEUED
    assert world.job(waits).wait_code is None
    assert world.apply(decided, seen, newer).started == {starts.id}


@pytest.mark.parametrize("stale", ["holder", "epoch"])
def test_holder_and_epoch_must_both_be_those_of_the_lease(world: World, lease: Lease, stale: str) -> None:
    world.submit()
    wrong = replace(lease, holder="another") if stale == "holder" else replace(lease, epoch=lease.epoch + 1)
    with pytest.raises(Conflict):
        plan_and_apply(world, wrong)


def test_starts_are_spread_over_the_launchers_with_the_fewest_attempts(
    world: World, lease: Lease, sql: Sql
) -> None:
    agent = world.agent()
    for _ in range(5):
        world.submit(agent)
    plan_and_apply(world, lease, a=3, b=0, c=1)
    assert sql("SELECT launcher, count(*) FROM attempts GROUP BY 1 ORDER BY 1") == [("b", 3), ("c", 2)]


def test_without_a_launcher_nothing_starts(world: World, sql: Sql) -> None:
    world.submit()
    applied = plan_and_apply(world, world.lead())
    assert (applied.started, applied.dropped, applied.launchers) == (frozenset(), frozenset(), frozenset())
    assert rows(sql)["attempts"] == 0


def test_a_waiting_job_is_told_why_until_it_starts(world: World, lease: Lease) -> None:
    world.nodes = (a_node(cpu=2),)
    agent = world.agent()
    first, second = world.submit(agent, resources={"cpu": 2}), world.submit(agent, resources={"cpu": 2})
    plan_and_apply(world, lease)
    told = world.job(second)
    assert told.wait_code == WaitCode.WAITING_FOR_CAPACITY
    assert told.wait_message is not None
    assert "Waits for 2 CPU" in told.wait_message
    assert [j.wait_code for j in world.store.read(job_store.page, JobFilter(), before=None, limit=9)] == [
        WaitCode.WAITING_FOR_CAPACITY,
        None,
    ]
    world.finish(world.attempts(first)[0], EndCause.NODE_LOST)
    world.cancel(first)
    plan_and_apply(world, lease)
    assert (world.job(second).wait_code, world.job(second).wait_message) == (None, None)


def test_a_reason_is_written_when_it_changes_and_goes_with_the_last_of_its_lane(
    world: World, sql: Sql, lease: Lease
) -> None:
    world.nodes = (a_node(cpu=2),)
    agent = world.agent()
    jobs = [world.submit(agent, resources={"cpu": 8}) for _ in range(3)]
    plan_and_apply(world, lease)
    assert sql("SELECT wait_code, changed_at FROM lanes") == [("NoMatchingShape", world.now)]
    first = world.now
    world.wait(60)
    assert plan_and_apply(world, lease).told == {}
    assert sql("SELECT changed_at FROM lanes") == [(first,)]
    world.nodes = (a_node(cpu=8),)
    assert plan_and_apply(world, lease).started == {jobs[0].id}
    assert [world.job(job).wait_code for job in jobs] == [None, *[WaitCode.WAITING_FOR_CAPACITY] * 2]
    for job in jobs[1:]:
        world.cancel(job)
    plan_and_apply(world, lease)
    assert sql("SELECT count(*) FROM lanes") == [(0,)]


def test_a_reason_that_was_rolled_back_is_written_by_the_next_tick(
    world: World, sql: Sql, lease: Lease
) -> None:
    world.submit(resources={"cpu": 1000})
    with pytest.raises(Conflict):
        plan_and_apply(world, replace(lease, epoch=lease.epoch + 1))
    assert sql("SELECT count(*) FROM lanes") == [(0,)]
    plan_and_apply(world, lease)
    assert sql("SELECT wait_code FROM lanes") == [("NoMatchingShape",)]


def test_a_paused_agents_jobs_never_hide_those_behind_them(world: World, lease: Lease) -> None:
    world.nodes = (a_node(cpu=1),)
    paused, active = world.agent(), world.agent()
    waits = world.submit(paused, priority=10)
    job = world.submit(active)
    world.store.transact(agent_service.change, paused.id, by=ANN, now=world.now, status=AgentStatus.PAUSED)
    assert plan_and_apply(world, lease).started == {job.id}
    assert world.job(waits).wait_code == WaitCode.DEACTIVATED


def test_a_plan_made_before_an_agent_was_paused_is_void(world: World, sql: Sql, lease: Lease) -> None:
    agent = world.agent()
    job = world.submit(agent)
    decided, seen = planned(world)
    world.store.transact(agent_service.change, agent.id, by=ANN, now=world.now, status=AgentStatus.PAUSED)
    before = rows(sql)
    assert world.apply(decided, seen, lease).dropped == {job.id}
    assert rows(sql) == before
    assert plan_and_apply(world, lease).started == frozenset()


def test_an_empty_plan_writes_nothing(world: World, sql: Sql, lease: Lease) -> None:
    before = rows(sql)
    seen = world.look()
    applied = world.apply(Plan(), seen, lease)
    assert applied == Applied(depth=(0, world.now))
    assert world.apply(Plan(), seen, lease) == Applied()
    assert rows(sql) == before
