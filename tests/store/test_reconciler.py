"""What does not agree is found in the store itself, and mended where that is safe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import pytest

from gaelp_ray.domain.jobs import EndCause, JobEvent, JobState
from gaelp_ray.domain.reconcile import Discrepancy, Finding
from gaelp_ray.services import reconcile as service
from gaelp_ray.store import events as event_store
from tests.builders import LAUNCHER, World
from tests.conftest import Sql


def find(world: World, owned: Mapping[str, Set[int]] | None = None) -> tuple[Finding, ...]:
    return world.store.read(service.find, owned or {})


def mend(world: World, findings: Iterable[Finding]) -> service.Mended:
    return world.store.transact(service.mend, findings, policy=world.policy, now=world.now)


def test_a_system_in_order_has_no_findings(world: World) -> None:
    agent = world.agent()
    attempt = world.running(world.submit(agent))
    world.carry_out()
    world.finish(world.running(world.submit(agent)), EndCause.SUCCESS)
    world.submit(agent)
    assert find(world, {LAUNCHER: {attempt.id}}) == ()


def test_an_attempt_that_nobody_owns_is_lost_and_its_job_goes_on(world: World) -> None:
    attempt = world.running()
    world.carry_out()
    found = find(world, {LAUNCHER: set()})
    assert found == (Finding(Discrepancy.UNOWNED_ATTEMPT, attempt.job_id, attempt.id, LAUNCHER),)
    assert mend(world, found) == service.Mended(mended=found, left=())
    assert world.job(attempt.job_id).state is JobState.QUEUED
    assert world.attempts(attempt.job_id)[0].cause is EndCause.NODE_LOST
    assert find(world, {LAUNCHER: set()}) == ()


def test_an_attempt_whose_launch_order_waits_is_in_order(world: World) -> None:
    world.register()
    world.submit()
    world.tick()
    assert find(world, {LAUNCHER: set()}) == ()


def test_an_attempt_that_has_ended_meanwhile_is_left_as_it_is(world: World) -> None:
    attempt = world.running()
    world.carry_out()
    found = find(world, {LAUNCHER: set()})
    world.finish(attempt, EndCause.SUCCESS)
    assert mend(world, found).left == found
    assert world.job(attempt.job_id).state is JobState.SUCCEEDED


def test_a_task_whose_attempt_is_over_is_named_for_its_launcher_to_end(world: World) -> None:
    attempt = world.running()
    world.finish(attempt, EndCause.NODE_LOST)
    found = find(world, {LAUNCHER: {attempt.id}})
    assert found == (Finding(Discrepancy.STRAY_TASK, 0, attempt.id, LAUNCHER),)
    assert mend(world, found).left == found


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (JobState.ADMITTED, JobState.QUEUED),
        (JobState.STARTING, JobState.QUEUED),
        (JobState.RUNNING, JobState.QUEUED),
        (JobState.PREEMPTING, JobState.QUEUED),
        (JobState.STOPPING, JobState.CANCELLED),
    ],
)
def test_a_live_job_without_an_attempt_does_not_wait_for_ever(
    world: World, sql: Sql, state: JobState, after: JobState
) -> None:
    attempt = world.running()
    sql("UPDATE attempts SET ended_at = :now, cause = 'node_lost'", now=world.now)
    sql("UPDATE jobs SET state = :state", state=state)
    found = find(world)
    assert found == (Finding(Discrepancy.JOB_WITHOUT_ATTEMPT, attempt.job_id),)
    assert mend(world, found).mended == found
    assert world.job(attempt.job_id).state is after
    event = world.store.read(event_store.of_job, attempt.job_id, after=0, limit=9)[-1]
    assert event.event is (JobEvent.CANCEL if state is JobState.STOPPING else JobEvent.REQUEUE)


def test_an_attempt_of_a_job_that_waits_is_left_to_people(world: World, sql: Sql) -> None:
    attempt = world.running()
    sql("UPDATE jobs SET state = 'queued'")
    found = find(world)
    assert found == (Finding(Discrepancy.ATTEMPT_WITHOUT_JOB, attempt.job_id, attempt.id, LAUNCHER),)
    assert mend(world, found).left == found


def test_room_kept_for_nobody_is_given_up(world: World, sql: Sql) -> None:
    waits, gone = world.submit(), world.submit()
    for job in (waits, gone):
        sql("INSERT INTO reservations VALUES (:job, '[]', '2999-01-01')", job=job.id)
    world.cancel(gone)
    found = find(world)
    assert found == (Finding(Discrepancy.ORPHAN_RESERVATION, gone.id),)
    assert mend(world, found).mended == found
    assert sql("SELECT job_id FROM reservations") == [(waits.id,)]
