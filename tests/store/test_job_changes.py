"""What can be asked of a job beyond resources, changed while it waits, and done to many at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gaelp_ray.domain.errors import ExceedsQuota, IllegalTransition, InvalidInput, NotFound
from gaelp_ray.domain.forecast import LATEST
from gaelp_ray.domain.jobs import EndCause, Job, JobEvent, JobState, NewJob
from gaelp_ray.domain.requests import Spot
from gaelp_ray.domain.scheduling import QueuedJob, plan
from gaelp_ray.domain.scheduling.explain import explain
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import jobs as service
from gaelp_ray.services import launching, submissions
from gaelp_ray.services import metrics as metric_service
from gaelp_ray.store.jobs import JobFilter
from serve_app.schemas.jobs import JobOut
from tests.builders import ADMIN, ANN, BOB, LAUNCHER, World, a_node, a_point, at, at_once, resources
from tests.conftest import Sql


def cancel_many(
    world: World, by: Any = ANN, *, limit: int = 100, reason: str = "", **wanted: Any
) -> service.CancelledMany:
    return world.store.transact(
        service.cancel_many, JobFilter(**wanted), by=by, now=world.now, limit=limit, reason=reason
    )


def draft(world: World, agent: int, **fields: Any) -> QueuedJob:
    new = NewJob(agent_id=agent, **{"name": "job"} | fields)
    return world.store.read(submissions.draft, new, by=ANN, now=world.now, defaults=world.defaults).job


def test_a_job_may_ask_for_workers_labels_spot_nodes_and_a_deadline(world: World) -> None:
    job = world.submit(
        workers=4,
        label_selector={"zone": "in(a, b)", "ray.io/accelerator-type": "A100"},
        spot=Spot.ONLY,
        preemptible=True,
        deadline=at(3600),
        expected_duration_s=600.0,
    )
    assert (job.workers, job.spot, job.preemptible, job.deadline) == (4, Spot.ONLY, True, at(3600))
    assert job.selector == (("ray.io/accelerator-type", "A100"), ("zone", "in(a, b)"))
    assert (job.expected_s, job.expected_p90_s) == (600.0, None)
    assert world.job(job) == job


@pytest.mark.parametrize(("preemptible", "spot"), [(True, Spot.PREFER), (False, Spot.AVOID)])
def test_who_says_nothing_of_spot_nodes_takes_them_if_he_may_be_interrupted(
    world: World, preemptible: bool, spot: Spot
) -> None:
    assert world.submit(preemptible=preemptible).spot is spot


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no workers": ({"workers": 0}, "`workers` must be 1 to 1024"),
    "a label that is none": ({"label_selector": {"a b": "c"}}, "'a b' is not a label"),
    "a condition that is none": ({"label_selector": {"a": "in b"}}, "'in b' is not 'value'"),
    "a deadline in the past": ({"deadline": at(-1)}, "`deadline` must be in the future"),
    "no duration": ({"expected_duration_s": 0.0}, "`expected_duration_seconds` must be"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_wish_is_refused(world: World, sql: Sql, case: str) -> None:
    fields, words = REFUSED[case]
    with pytest.raises(InvalidInput, match=words):
        world.submit(**fields)
    assert sql("SELECT count(*) FROM jobs") == [(0,)]


def test_past_runs_of_an_agent_say_how_long_its_next_one_takes(world: World) -> None:
    agent = world.agent()
    for seconds in (100, 300, 200):
        attempt = world.running(world.submit(agent))
        world.wait(seconds)
        world.finish(attempt, EndCause.SUCCESS)
    job = world.submit(agent)
    assert (job.expected_s, job.expected_p90_s) == (200, 280)
    assert world.submit().expected_s is None, "another agent's runs say nothing"
    told = world.submit(agent, expected_duration_s=250.0)
    assert (told.expected_s, told.expected_p90_s) == (250, 280)


def test_runs_that_were_interrupted_say_nothing(world: World) -> None:
    agent = world.agent()
    for _ in range(3):
        job = world.submit(agent)
        world.finish(world.running(job), EndCause.NODE_LOST)
        world.wait(1000)
        world.finish(world.running(job), EndCause.SUCCESS)
    assert world.submit(agent).expected_s is None


def test_equal_jobs_of_one_agent_share_a_lane(world: World, sql: Sql) -> None:
    agent = world.agent()
    for fields in ({}, {}, {"priority": 6}, {"workers": 2}, {"preemptible": True}):
        world.submit(agent, **fields)
    world.submit()
    assert sql("SELECT count(*) FROM jobs GROUP BY lane ORDER BY min(id)") == [(2,), (1,), (1,), (1,), (1,)]


def test_a_draft_is_the_job_that_would_be_queued(world: World, sql: Sql) -> None:
    agent = world.agent(resources=resources(2, 4))
    world.quota("ann", gpu=1000, team="ads")
    wish: dict[str, Any] = {"priority": 7, "workers": 2, "preemptible": True, "deadline": at(60)}
    drafted = draft(world, agent.id, **wish)
    assert sql("SELECT count(*) FROM jobs") == [(0,)]
    world.submit(agent, **wish)
    [queued] = world.look().queue
    assert replace(drafted, id=queued.id, row_version=1) == queued
    with pytest.raises(ExceedsQuota):
        draft(world, agent.id, resources={"gpu": 2})
    with pytest.raises(NotFound):
        draft(world, world.agent(by=BOB).id)


def test_a_waiting_job_is_changed_and_keeps_its_place(world: World, sql: Sql) -> None:
    world.nodes = (a_node(cpu=1),)
    world.register()
    agent = world.agent()
    first, second = world.submit(agent), world.submit(agent)
    world.wait(10)
    changed = world.edit(second, priority=9, max_retries=0, timeout_s=60.0, deadline=at(900))
    assert (changed.priority, changed.max_retries, changed.timeout_s) == (9, 0, 60.0)
    assert (changed.deadline, changed.submitted_at, changed.queued_at) == (at(900), at(0), at(0))
    assert sql("SELECT count(DISTINCT lane) FROM jobs") == [(2,)]
    told = world.store.read(service.events, second.id, by=ANN, after=0, limit=9)[-1]
    assert (told.event, told.actor, told.from_state, told.to_state) == (
        JobEvent.EDIT,
        "ann",
        JobState.QUEUED,
        JobState.QUEUED,
    )
    assert told.data == {
        "priority": 9,
        "max_retries": 0,
        "timeout_s": 60.0,
        "deadline": at(900).isoformat(),
    }
    assert world.tick().started == {second.id}
    assert world.job(first).state is JobState.QUEUED


def test_a_job_that_backs_off_is_changed_too(world: World) -> None:
    attempt = world.running()
    world.finish(attempt, EndCause.USER_ERROR)
    changed = world.edit(attempt.job_id, priority=10)
    assert (changed.state, changed.priority) == (JobState.BACKOFF, 10)
    assert changed.not_before is not None


def test_a_deadline_can_be_taken_away(world: World) -> None:
    job = world.submit(deadline=at(60))
    assert world.edit(job, cleared=frozenset({"deadline"})).deadline is None


def test_what_is_cleared_is_as_if_it_had_never_been_said(world: World) -> None:
    world.defaults = replace(world.defaults, timeout_s=77.0, max_retries=2)
    job = world.submit(deadline=at(60), timeout_s=5.0, max_retries=9, expected_duration_s=8.0)
    every = frozenset({"deadline", "timeout_s", "max_retries", "expected_duration_s"})
    plain, cleared = world.submit(), world.edit(job, cleared=every)
    for name in ("deadline", "timeout_s", "max_retries", "expected_s", "expected_p90_s", "guess_s"):
        assert getattr(cleared, name) == getattr(plain, name), name


def test_time_on_hold_is_not_counted_in_what_is_left_of_a_run(world: World) -> None:
    job = world.submit()
    attempt = world.running(job)
    step = partial(world.store.transact, metric_service.store)

    def left_s() -> float | None:
        return JobOut.of(world.job(job), world.now).progress.eta_seconds

    world.wait(100)
    step([replace(a_point(10, job=job.id), total_steps=30)])
    assert left_s() == 200.0
    world.finish(attempt, EndCause.PREEMPTED)
    world.wait(5000)
    assert left_s() is None, "nobody knows how long the hold lasts"


def test_an_attempt_is_reckoned_from_the_step_that_it_went_on_from(world: World) -> None:
    job = world.submit()
    attempt = world.running(job)
    world.store.transact(metric_service.store, [replace(a_point(10, job=job.id), total_steps=30)])
    world.finish(attempt, EndCause.PREEMPTED)
    world.wait(5000)
    assert job.id in world.tick().started
    assert world.claim(world.attempts(job)[-1], resumed_from=10)
    world.wait(50)
    world.store.transact(metric_service.store, [replace(a_point(20, job=job.id), total_steps=30)])
    told = JobOut.of(world.job(job), world.now).progress
    assert (told.eta_seconds, told.from_step) == (50.0, 10)


@pytest.mark.parametrize("seconds", [1e9, 1e300, float("nan"), float("inf")])
def test_a_length_of_ages_is_refused_in_a_sentence(world: World, seconds: float) -> None:
    with pytest.raises(InvalidInput, match=r"`expected_duration_seconds` must be"):
        world.submit(expected_duration_s=seconds)
    with pytest.raises(InvalidInput, match=r"`timeout_seconds` must be"):
        world.submit(timeout_s=seconds)


@pytest.mark.parametrize("stored", ["1e300", "Infinity", "NaN", "-5"])
def test_numbers_that_an_earlier_release_stored_break_nobodys_answer(
    world: World, sql: Sql, stored: str
) -> None:
    world.nodes = (a_node(cpu=1),)
    world.register()
    odd = [world.submit() for _ in range(3)]
    sql(f"UPDATE jobs SET expected_s = '{stored}', expected_p90_s = '{stored}', timeout_s = '{stored}'")
    assert world.tick().started == {odd[0].id}
    world.carry_out()
    mine = world.submit(expected_duration_s=60.0)
    seen = world.look()
    for job in (*odd[1:], mine):
        found = explain(seen, plan(seen, world.now), job.id, world.now)
        assert found is not None
        assert found.eta is not None
        assert found.eta.latest <= LATEST
        assert JobOut.of(world.job(job), world.now).id == job.id


def test_a_change_of_nothing_is_none(world: World) -> None:
    job = world.submit()
    assert world.edit(job) == job
    assert len(world.store.read(service.events, job.id, by=ANN, after=0, limit=9)) == 1


def test_a_plan_made_before_a_change_does_not_start_the_job(world: World) -> None:
    world.register()
    job = world.submit()
    seen, lease = world.look(), world.lead()
    decided = plan(seen, world.now)
    world.edit(job, priority=1)
    assert world.apply(decided, seen, lease).dropped == {job.id}


def test_what_runs_or_has_ended_is_not_changed(world: World) -> None:
    attempt = world.running()
    with pytest.raises(IllegalTransition, match="running does not take 'edit'"):
        world.edit(attempt.job_id, priority=1)
    world.finish(attempt, EndCause.SUCCESS)
    with pytest.raises(IllegalTransition):
        world.edit(attempt.job_id, priority=1)


def test_a_bad_change_changes_nothing(world: World) -> None:
    job = world.submit()
    bad: list[dict[str, Any]] = [
        {"priority": 0},
        {"deadline": at(0)},
        {"timeout_s": 0.0},
        {"expected_duration_s": -1.0},
    ]
    for change in bad:
        with pytest.raises(InvalidInput):
            world.edit(job, **change)
    with pytest.raises(NotFound):
        world.edit(job, by=BOB, priority=1)
    assert world.job(job) == job


@pytest.mark.parametrize("waits_as", [JobState.QUEUED, JobState.BACKOFF])
def test_a_job_that_waits_past_its_deadline_fails(world: World, waits_as: JobState) -> None:
    job = world.submit(deadline=at(30), resources={"cpu": 1})
    if waits_as is JobState.BACKOFF:
        world.finish(world.running(job), EndCause.USER_ERROR)
    else:
        world.nodes = ()
    assert world.job(job).state is waits_as
    world.wait(29)
    world.tick()
    assert world.job(job).state is waits_as
    world.wait(1)
    world.tick()
    failed = world.job(job)
    assert (failed.state, failed.cause, failed.finished_at) == (JobState.FAILED, EndCause.DEADLINE, at(30))
    assert failed.message == "It was to be done by 2025-03-01 12:00:30 UTC and did not run then."
    assert len(world.look().queue) == 0


def test_a_running_job_has_until_its_deadline(world: World) -> None:
    world.register()
    agent = world.agent()
    wishes: list[dict[str, Any]] = [
        {"deadline": at(100)},
        {"deadline": at(100), "timeout_s": 50.0},
        {"deadline": at(100), "timeout_s": 500.0},
        {"timeout_s": 500.0},
        {},
    ]
    jobs = [world.submit(agent, **wish) for wish in wishes]
    world.wait(20)
    world.tick()
    orders = {order.job_id: order for order in world.carry_out().launches}
    assert [(orders[job.id].timeout_s, orders[job.id].timeout_cause) for job in jobs] == [
        (80, EndCause.DEADLINE),
        (50, EndCause.TIMEOUT),
        (80, EndCause.DEADLINE),
        (500, EndCause.TIMEOUT),
        (None, EndCause.TIMEOUT),
    ]
    attempt = world.attempts(jobs[0])[0]
    assert world.claim(attempt)
    assert world.finish(attempt, EndCause.DEADLINE) is JobState.FAILED


def test_a_gangs_order_says_where_each_worker_goes(world: World) -> None:
    world.register()
    world.nodes = (a_node("n1", cpu=2, gpu=1, zone="a"), a_node("n2", cpu=2, gpu=1, zone="a"))
    world.submit(workers=2, resources={"cpu": 1, "gpu": 1}, label_selector={"zone": "a"})
    world.tick()
    [order] = world.store.read(launching.take_orders, LAUNCHER, stop_grace_s=1.0, now=world.now).launches
    assert (order.workers, order.selector, order.spot) == (2, (("zone", "a"),), Spot.AVOID)
    assert {(seat.node_id, seat.gpus) for seat in order.placement} == {("n1", (0,)), ("n2", (0,))}
    assert order.node_id == order.placement[0].node_id


def test_a_claim_says_where_the_workers_really_are(world: World) -> None:
    world.register()
    job = world.submit(workers=2)
    world.tick()
    attempt = world.attempts(job)[0]
    other = replace(attempt.placement[0], node_id="elsewhere", gpus=(3,))
    asked = attempt_service.Claim(
        attempt.id, world.token(attempt.id), world.life, "here", None, gpus=(1, 2), others=(other,)
    )
    assert world.store.transact(attempt_service.claim, asked, incarnation=world.life, now=world.now)
    [claimed] = world.attempts(job)
    assert [(seat.node_id, seat.gpus) for seat in claimed.placement] == [
        ("here", (1, 2)),
        ("elsewhere", (3,)),
    ]
    assert claimed.node_id == "here"


def test_a_notice_said_twice_is_shown_once(world: World) -> None:
    attempt = world.running()
    for words in ("idle", "idle", "slow"):
        world.store.transact(attempt_service.notice, attempt.id, words)
    assert world.job(attempt.job_id).notices == ("idle", "slow")


def test_the_newest_checkpoint_is_when_its_work_was_last_safe(world: World) -> None:
    attempt = world.running()
    world.wait(10)
    world.save_checkpoint(attempt, 1)
    assert world.attempts(attempt.job_id)[0].saved_at == at(10)
    [claim] = world.look().claims
    assert (claim.saved_at, claim.started_at) == (at(10), at(0))


def mixed(world: World) -> dict[str, Job]:
    """One job of ann's in each kind of state, and one of bob's."""
    agent = world.agent()
    runs = world.running(world.submit(agent))
    ended = world.running(world.submit(agent))
    world.finish(ended, EndCause.SUCCESS)
    backs_off = world.running(world.submit(agent))
    world.finish(backs_off, EndCause.USER_ERROR)
    return {
        "runs": world.job(runs.job_id),
        "ended": world.job(ended.job_id),
        "backs off": world.job(backs_off.job_id),
        "waits": world.submit(agent),
        "bobs": world.submit(by=BOB),
    }


def test_many_jobs_are_cancelled_at_once_but_for_those_that_are_over(world: World) -> None:
    jobs = mixed(world)
    done = cancel_many(world, reason="The market closed.")
    assert done.ids == tuple(sorted(jobs[each].id for each in ("runs", "backs off", "waits")))
    assert done.launchers == {LAUNCHER}
    assert [world.job(jobs[each]).state for each in ("runs", "backs off", "waits", "ended", "bobs")] == [
        JobState.STOPPING,
        JobState.CANCELLED,
        JobState.CANCELLED,
        JobState.SUCCEEDED,
        JobState.QUEUED,
    ]
    assert world.job(jobs["waits"]).message == "The market closed."
    assert cancel_many(world).ids == ()


def test_only_jobs_of_a_kind_are_cancelled(world: World) -> None:
    jobs = mixed(world)
    assert cancel_many(world, phase=JobState.QUEUED).ids == (jobs["waits"].id,)
    assert cancel_many(world, ids=(jobs["runs"].id, jobs["bobs"].id)).ids == (jobs["runs"].id,)
    assert cancel_many(world, agent_id=jobs["bobs"].agent_id).ids == ()
    assert cancel_many(world, by=ADMIN, owner="bob").ids == (jobs["bobs"].id,)


def test_many_are_cancelled_in_the_order_of_their_ids_up_to_a_limit(world: World) -> None:
    agent = world.agent()
    ids = [world.submit(agent).id for _ in range(5)]
    assert cancel_many(world, limit=3).ids == tuple(ids[:3])
    assert cancel_many(world, limit=3).ids == tuple(ids[3:])


def test_who_cancels_many_at_the_same_moment_as_another_shares_them(world: World) -> None:
    agent = world.agent()
    ids = [world.submit(agent).id for _ in range(20)]
    results = at_once(4, lambda _: cancel_many(world).ids)
    assert sorted(job for found in results if isinstance(found, tuple) for job in found) == ids


def test_a_job_that_is_cancelled_while_a_plan_is_written_never_blocks_it_for_ever(world: World) -> None:
    world.register()
    agent = world.agent()
    for _ in range(20):
        world.submit(agent)
    seen, lease = world.look(), world.lead()
    decided = plan(seen, world.now + timedelta(seconds=1))
    results = at_once(3, lambda n: cancel_many(world).ids if n else world.apply(decided, seen, lease).started)
    assert [each for each in results if isinstance(each, Exception)] == []
    assert len(decided.starts) == 20
