"""A plan becomes true all at once, or not at all."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.errors import Conflict
from gaelp_ray.domain.jobs import EndCause, JobState
from gaelp_ray.domain.scheduling import Plan, Snapshot, WaitCode, plan
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import scheduling
from gaelp_ray.services.scheduling import Applied
from gaelp_ray.store import snapshot
from gaelp_ray.store.leases import Lease
from tests.builders import (
    ANN,
    CLUSTER,
    LAUNCHER,
    T0,
    World,
    a_node,
    at_once,
    resources,
)
from tests.conftest import Sql


@pytest.fixture
def lease(world: World) -> Lease:
    world.register()
    return lead(world)


def lead(world: World, holder: str = "scheduler", epoch: int | None = None) -> Lease:
    ttl = timedelta(seconds=10)
    lease = world.store.transact(scheduling.lead, holder, epoch=epoch, ttl=ttl, now=world.now)
    assert lease is not None
    return lease


def look(world: World) -> Snapshot:
    return world.store.read(scheduling.look, world.nodes)


def apply(world: World, decided: Plan, lease: Lease, **loads: int) -> Applied:
    return world.store.transact(
        scheduling.apply,
        decided,
        holder=lease.holder,
        epoch=lease.epoch,
        loads=loads or world.store.read(scheduling.launcher_loads, CLUSTER),
        make_token=uuid.uuid4,
        now=world.now,
    )


def rows(sql: Sql) -> dict[str, int]:
    """How many rows each table has that an admission writes to."""
    tables = ("attempts", "outbox", "job_events")
    return {table: int(str(sql(f"SELECT count(*) FROM {table}")[0][0])) for table in tables}


def test_state_attempt_order_and_event_appear_together(world: World, sql: Sql, lease: Lease) -> None:
    job = world.submit(world.agent(resources=resources(2, 4)))
    applied = apply(world, plan(look(world), world.now), lease)
    assert applied == Applied(frozenset({job.id}), frozenset(), frozenset({LAUNCHER}))
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
    apply(world, plan(look(world), world.now), lease)
    [claim] = look(world).claims
    assert (claim.job_id, claim.node_id, claim.resources) == (job.id, "node-1", resources(2, 4, 0))
    assert look(world).queue == ()


def test_a_job_that_was_cancelled_meanwhile_drops_out_alone(world: World, sql: Sql, lease: Lease) -> None:
    agent = world.agent()
    gone, stays = world.submit(agent), world.submit(agent)
    decided = plan(look(world), world.now)
    world.cancel(gone)
    before = rows(sql)
    applied = apply(world, decided, lease)
    assert (applied.started, applied.dropped) == ({stays.id}, {gone.id})
    assert rows(sql) == {table: count + 1 for table, count in before.items()}
    assert world.job(gone).state is JobState.CANCELLED


def test_a_job_that_left_the_queue_and_came_back_is_not_the_one_that_was_planned(
    world: World, lease: Lease
) -> None:
    job = world.submit()
    old = plan(look(world), world.now)
    apply(world, plan(look(world), world.now), lease)
    world.finish(world.attempts(job)[0], EndCause.NODE_LOST)
    assert world.job(job).state is JobState.QUEUED
    assert apply(world, old, lease).dropped == {job.id}
    assert apply(world, plan(look(world), world.now), lease).started == {job.id}


def test_a_plan_applied_twice_is_applied_once(world: World, sql: Sql, lease: Lease) -> None:
    job = world.submit()
    decided = plan(look(world), world.now)
    results = at_once(4, lambda _: apply(world, decided, lease))
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
    decided = plan(look(world), world.now)
    assert len(decided.starts) == len(decided.waits) == 1
    world.wait(11)
    newer = lead(world, "another")
    assert newer.epoch == lease.epoch + 1
    before = rows(sql)
    with pytest.raises(Conflict, match="Another scheduler leads now"):
        apply(world, decided, lease)
    assert rows(sql) == before
    assert world.job(starts).state is JobState.QUEUED
    assert world.job(waits).wait_code is None
    assert apply(world, decided, newer).started == {starts.id}


@pytest.mark.parametrize("stale", ["holder", "epoch"])
def test_holder_and_epoch_must_both_be_those_of_the_lease(world: World, lease: Lease, stale: str) -> None:
    world.submit()
    wrong = replace(lease, holder="another") if stale == "holder" else replace(lease, epoch=lease.epoch + 1)
    with pytest.raises(Conflict):
        apply(world, plan(look(world), world.now), wrong)


def test_starts_are_spread_over_the_launchers_with_the_fewest_attempts(
    world: World, lease: Lease, sql: Sql
) -> None:
    agent = world.agent()
    for _ in range(5):
        world.submit(agent)
    apply(world, plan(look(world), world.now), lease, a=3, b=0, c=1)
    assert sql("SELECT launcher, count(*) FROM attempts GROUP BY 1 ORDER BY 1") == [("b", 3), ("c", 2)]


def test_without_a_launcher_nothing_starts(world: World, sql: Sql) -> None:
    world.submit()
    applied = apply(world, plan(look(world), world.now), lead(world))
    assert applied == Applied(frozenset(), frozenset(), frozenset())
    assert rows(sql)["attempts"] == 0


def test_a_waiting_job_is_told_why_until_it_starts(world: World, lease: Lease) -> None:
    world.nodes = (a_node(cpu=2),)
    agent = world.agent()
    first, second = world.submit(agent, resources={"cpu": 2}), world.submit(agent, resources={"cpu": 2})
    apply(world, plan(look(world), world.now), lease)
    told = world.job(second)
    assert told.wait_code == WaitCode.WAITING_FOR_CAPACITY
    assert told.wait_message is not None
    assert "Waits for 2 CPU" in told.wait_message
    assert [(j.id, j.wait_code) for j in look(world).queue] == [(second.id, WaitCode.WAITING_FOR_CAPACITY)]
    world.finish(world.attempts(first)[0], EndCause.NODE_LOST)
    world.cancel(first)
    apply(world, plan(look(world), world.now), lease)
    assert (world.job(second).wait_code, world.job(second).wait_message) == (None, None)


def test_the_snapshot_reads_the_heads_of_every_shape_in_order(world: World) -> None:
    agent = world.agent()
    small = [world.submit(agent, priority=p).id for p in (1, 5, 9)]
    world.wait(1)
    large = [world.submit(agent, resources={"cpu": 8}, priority=p).id for p in (5, 5, 1)]
    heads = world.store.read(snapshot.queue, heads=2)
    assert {job.id for job in heads} == {small[2], small[1], large[0], large[1]}
    assert all(job.agent_active and job.row_version == 1 for job in heads)
    assert {job.id: job.submitted_at for job in heads}[small[1]] == T0


def test_jobs_on_hold_never_hide_those_behind_them(world: World, lease: Lease) -> None:
    paused, active = world.agent(), world.agent()
    for _ in range(3):
        world.submit(paused, priority=10)
    job = world.submit(active)
    world.store.transact(agent_service.change, paused.id, by=ANN, now=world.now, status=AgentStatus.PAUSED)
    for _ in range(2):  # the first tells three jobs that they are on hold, two at a time
        seen = replace(look(world), queue=world.store.read(snapshot.queue, heads=2))
        apply(world, plan(seen, world.now), lease)
    assert world.job(job).state is JobState.ADMITTED


def test_an_empty_plan_writes_nothing(world: World, sql: Sql, lease: Lease) -> None:
    before = rows(sql)
    assert apply(world, Plan(), lease) == Applied(frozenset(), frozenset(), frozenset())
    assert rows(sql) == before
