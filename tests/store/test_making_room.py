"""Who makes room is told so, does so for free, and the room is kept for whom it was made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.errors import NotFound
from gaelp_ray.domain.holds import HoldMode, HoldScope
from gaelp_ray.domain.jobs import EndCause, Job, JobEvent, JobState
from gaelp_ray.domain.scheduling import Plan, Preemption, PreemptionReason, WaitCode
from gaelp_ray.services import holds as hold_service
from gaelp_ray.services import scheduling as service
from gaelp_ray.services.launching import StopOrder
from gaelp_ray.services.scheduling import Applied
from tests.builders import ADMIN, ANN, BOB, LAUNCHER, World, a_node
from tests.conftest import Sql


@pytest.fixture
def victim(world: World) -> Attempt:
    """A preemptible job of ann's on the only node, older than a minute."""
    world.nodes = (a_node(cpu=4),)
    attempt = world.running(world.submit(priority=3, preemptible=True, resources={"cpu": 4}))
    world.carry_out()
    world.wait(120)
    return attempt


def ask(world: World, job_id: int) -> Applied:
    """A plan that only asks one job to make room."""
    preemption = Preemption(job_id, PreemptionReason.PRIORITY, None, "Makes room.")
    return world.apply(Plan(preemptions=(preemption,)), world.look(), world.lead())


def important(world: World) -> Job:
    return world.submit(by=BOB, priority=8, resources={"cpu": 4})


def test_the_victim_is_told_who_it_makes_room_for_and_why(world: World, victim: Attempt) -> None:
    job = important(world)
    applied = world.tick()
    assert (applied.preempted, applied.launchers) == ({victim.job_id}, {LAUNCHER})
    assert world.job(victim.job_id).state is JobState.PREEMPTING
    assert world.carry_out().stops == (StopOrder(victim.id, EndCause.PREEMPTED),)
    [told] = world.store.read(service.preemptions_of, victim.job_id, by=ANN)
    assert (told.event, told.from_state) == (JobEvent.PREEMPT, JobState.RUNNING)
    assert told.data == {"reason": "priority", "for_job": job.id}
    assert f"Makes room for job {job.id} of bob (priority 8)" in told.message
    assert world.store.read(service.victims_of, job.id, by=BOB) == [told]
    assert world.job(job).wait_code == WaitCode.WAITING_FOR_PREEMPTION


def test_only_who_may_see_a_job_learns_for_whom_it_made_room(world: World, victim: Attempt) -> None:
    job = important(world)
    world.tick()
    with pytest.raises(NotFound):
        world.store.read(service.preemptions_of, victim.job_id, by=BOB)
    with pytest.raises(NotFound):
        world.store.read(service.victims_of, job.id, by=ANN)


def test_making_room_uses_up_no_retry_and_keeps_the_place_in_line(world: World, victim: Attempt) -> None:
    before = world.job(victim.job_id)
    job = important(world)
    world.tick()
    world.save_checkpoint(victim, 5)
    assert world.finish(victim, EndCause.USER_ERROR, exit_code=143) is JobState.QUEUED
    after = world.job(victim.job_id)
    assert (after.preemptions, after.failures, after.losses) == (1, 0, 0)
    assert (after.submitted_at, after.queued_at) == (before.submitted_at, world.now)
    assert (after.cause, world.attempts(after)[0].cause) == (EndCause.PREEMPTED, EndCause.PREEMPTED)
    assert world.tick().started == {job.id}
    world.finish(world.attempts(job)[0], EndCause.CANCELLED)
    assert world.tick().started == {victim.job_id}
    assert world.carry_out().launches[-1].resume_from is not None


def test_what_had_succeeded_before_it_heard_has_succeeded(world: World, victim: Attempt) -> None:
    important(world)
    world.tick()
    assert world.finish(victim, EndCause.SUCCESS, result={}) is JobState.SUCCEEDED


def test_freed_room_is_kept_for_whom_it_was_made(world: World, victim: Attempt, sql: Sql) -> None:
    job = important(world)
    world.tick()
    assert sql("SELECT job_id, until FROM reservations") == [(job.id, world.now + timedelta(minutes=2))]
    world.finish(victim, EndCause.PREEMPTED)
    sneaky = world.submit(by=BOB, priority=10, resources={"cpu": 4})
    assert world.tick().started == {job.id}, "not the one that came later, although it outranks it"
    assert world.job(sneaky).state is JobState.QUEUED
    assert sql("SELECT count(*) FROM reservations") == [(0,)]


def test_room_is_not_kept_for_ever(world: World, victim: Attempt, sql: Sql) -> None:
    job = important(world)
    world.tick()
    world.finish(victim, EndCause.PREEMPTED)
    world.wait(121)
    later = world.submit(by=BOB, priority=10, resources={"cpu": 4})
    assert world.tick().started == {later.id}
    assert world.job(job).state is JobState.QUEUED


def test_room_is_given_up_when_its_job_is_cancelled(world: World, victim: Attempt, sql: Sql) -> None:
    job = important(world)
    world.tick()
    world.cancel(job, by=BOB)
    world.tick()
    assert sql("SELECT count(*) FROM reservations") == [(0,)]


@pytest.mark.parametrize("phase", [JobState.ADMITTED, JobState.STARTING, JobState.RUNNING])
def test_whatever_holds_resources_can_be_told(world: World, sql: Sql, phase: JobState) -> None:
    world.register()
    job = world.submit()
    world.tick()
    if phase is not JobState.ADMITTED:
        world.carry_out()
    if phase is JobState.RUNNING:
        assert world.claim(world.attempts(job)[0])
    assert ask(world, job.id).preempted == {job.id}
    assert world.job(job).state is JobState.PREEMPTING
    assert sql("SELECT stop_cause FROM attempts") == [("preempted",)]
    assert world.finish(world.attempts(job)[0], EndCause.PREEMPTED) is JobState.QUEUED


def test_nobody_is_told_twice(world: World, victim: Attempt, sql: Sql) -> None:
    assert ask(world, victim.job_id).preempted == {victim.job_id}
    again = ask(world, victim.job_id)
    assert (again.preempted, again.dropped) == (frozenset(), {victim.job_id})
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'stop'") == [(1,)]


def test_what_has_ended_meanwhile_drops_out(world: World, victim: Attempt) -> None:
    seen, lease = world.look(), world.lead()
    world.finish(victim, EndCause.SUCCESS)
    preemption = Preemption(victim.job_id, PreemptionReason.PRIORITY, None, "Makes room.")
    assert world.apply(Plan(preemptions=(preemption,)), seen, lease).dropped == {victim.job_id}
    assert world.job(victim.job_id).state is JobState.SUCCEEDED


def test_a_victim_may_still_be_cancelled(world: World, victim: Attempt) -> None:
    ask(world, victim.job_id)
    assert world.cancel(victim.job_id).launcher == LAUNCHER
    assert world.finish(victim, EndCause.PREEMPTED) is JobState.CANCELLED


def test_a_job_that_made_room_often_enough_is_left_alone(world: World, victim: Attempt) -> None:
    world.rules = replace(world.rules, preemption_budget=0)
    important(world)
    assert world.tick().preempted == frozenset()


def test_a_hold_that_drains_sends_what_runs_back_to_the_queue(world: World, victim: Attempt) -> None:
    held = {"reason": "maintenance", "by": ADMIN, "now": world.now}
    world.store.transact(hold_service.place, HoldScope.GLOBAL, "", HoldMode.HOLD_AND_DRAIN, **held)
    assert world.tick().preempted == {victim.job_id}
    assert world.finish(victim, EndCause.PREEMPTED) is JobState.QUEUED
    assert world.tick().started == frozenset()
    assert world.job(victim.job_id).wait_code == WaitCode.ON_HOLD
    assert world.job(victim.job_id).wait_message == "root put everything on hold: maintenance"
