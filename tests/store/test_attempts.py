"""An attempt is claimed once, ends once, and its job goes on by the cause."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.checkpoints import Retention
from gaelp_ray.domain.jobs import EndCause, JobEvent, JobState
from gaelp_ray.services import attempts as service
from gaelp_ray.services import jobs as job_service
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import events as event_store
from gaelp_ray.store import metrics as metric_store
from tests.builders import ANN, T0, World, a_point, at, at_once
from tests.conftest import Sql


@pytest.fixture
def admitted(world: World) -> Attempt:
    world.register()
    job = world.submit()
    world.tick()
    return world.attempts(job)[0]


def history(world: World, job_id: int) -> list[JobEvent]:
    return [e.event for e in world.store.read(event_store.of_job, job_id, after=0, limit=100)]


def test_a_claim_starts_the_job_and_is_remembered(world: World, admitted: Attempt) -> None:
    world.carry_out()
    world.wait(5)
    assert world.claim(admitted, resumed_from=7)
    [attempt] = world.attempts(admitted.job_id)
    assert (attempt.claimed_at, attempt.last_seen_at, attempt.resumed_from_step) == (world.now, world.now, 7)
    job = world.job(admitted.job_id)
    assert (job.state, job.started_at) == (JobState.RUNNING, world.now)
    assert history(world, job.id) == [JobEvent.SUBMIT, JobEvent.ADMIT, JobEvent.LAUNCH, JobEvent.CLAIM]


def test_a_process_may_be_faster_than_its_launchers_note(world: World, admitted: Attempt) -> None:
    assert world.claim(admitted)
    assert world.job(admitted.job_id).state is JobState.RUNNING
    world.carry_out()
    assert world.job(admitted.job_id).state is JobState.RUNNING


def test_a_second_claimant_is_refused(world: World, admitted: Attempt) -> None:
    assert world.claim(admitted, claimant=uuid.uuid4())
    assert not world.claim(admitted, claimant=uuid.uuid4())


def test_the_same_claimant_is_granted_again(world: World, admitted: Attempt) -> None:
    claimant = uuid.uuid4()
    assert world.claim(admitted, claimant=claimant)
    world.wait(5)
    assert world.claim(admitted, claimant=claimant)
    assert world.attempts(admitted.job_id)[0].claimed_at == T0
    assert history(world, admitted.job_id).count(JobEvent.CLAIM) == 1


def test_of_claimants_at_the_same_moment_one_is_granted(world: World, admitted: Attempt) -> None:
    assert sorted(map(str, at_once(8, lambda _: world.claim(admitted)))) == ["False"] * 7 + ["True"]


def test_a_wrong_token_claims_nothing(world: World, admitted: Attempt) -> None:
    assert not world.claim(admitted, token=uuid.uuid4())
    assert world.job(admitted.job_id).state is JobState.ADMITTED


def test_an_attempt_that_has_ended_cannot_be_claimed(world: World, admitted: Attempt) -> None:
    world.finish(admitted, EndCause.NODE_LOST)
    assert not world.claim(admitted)


def test_an_attempt_that_never_was_cannot_be_claimed(world: World) -> None:
    asked = service.Claim(999_999, uuid.uuid4(), uuid.uuid4(), "node-1", None)
    assert not world.store.transact(service.claim, asked, incarnation=uuid.uuid4(), now=world.now)


def test_a_process_that_claims_while_its_job_is_stopped_hears_so_later(
    world: World, admitted: Attempt
) -> None:
    world.cancel(admitted.job_id)
    assert world.claim(admitted)
    assert world.job(admitted.job_id).state is JobState.STOPPING


def test_success_ends_the_job_with_its_result(world: World) -> None:
    attempt = world.running()
    world.wait(60)
    done = {"result": {"reward": 1.5}, "peak_memory_bytes": 7}
    assert (
        world.finish(attempt, EndCause.SUCCESS, token=world.token(attempt.id), **done) is JobState.SUCCEEDED
    )
    job = world.job(attempt.job_id)
    assert (job.state, job.cause, job.result) == (JobState.SUCCEEDED, EndCause.SUCCESS, {"reward": 1.5})
    assert (job.finished_at, job.failures, job.losses, job.message) == (at(60), 0, 0, None)
    [ended] = world.attempts(job)
    assert (ended.cause, ended.ended_at, ended.peak_memory_bytes) == (EndCause.SUCCESS, at(60), 7)


def test_an_end_takes_back_orders_that_were_not_delivered(world: World, admitted: Attempt, sql: Sql) -> None:
    world.finish(admitted, EndCause.NODE_LOST)
    assert sql("SELECT count(*) FROM outbox WHERE delivered_at IS NULL") == [(0,)]
    assert world.carry_out().ids == ()


def test_a_wrong_token_ends_nothing(world: World) -> None:
    attempt = world.running()
    assert world.finish(attempt, EndCause.SUCCESS, token=uuid.uuid4()) is None
    assert world.job(attempt.job_id).state is JobState.RUNNING


def test_of_ends_at_the_same_moment_one_counts(world: World, sql: Sql) -> None:
    attempt = world.running()
    causes = [EndCause.SUCCESS, EndCause.USER_ERROR, EndCause.NODE_LOST, EndCause.OOM] * 2
    results = at_once(8, lambda number: world.finish(attempt, causes[number]))
    assert len([r for r in results if isinstance(r, JobState)]) == 1
    assert results.count(None) == 7
    job = world.job(attempt.job_id)
    assert job.failures + job.losses <= 1
    assert job.cause == world.attempts(job)[0].cause
    assert sql("SELECT count(*) FROM job_events WHERE from_state = 'running'") == [(1,)]


def test_a_failure_waits_out_its_delay_and_tries_again(world: World) -> None:
    attempt = world.running()
    assert world.finish(attempt, EndCause.USER_ERROR, message="went wrong", exit_code=3) is JobState.BACKOFF
    job = world.job(attempt.job_id)
    assert (job.failures, job.not_before, job.cause) == (1, at(60), EndCause.USER_ERROR)
    world.wait(59)
    assert world.tick().started == frozenset()
    assert world.job(job).state is JobState.BACKOFF
    world.wait(1)
    assert world.tick().started == {job.id}
    assert world.job(job).not_before is None
    assert [a.number for a in world.attempts(job)] == [1, 2]
    ended = world.store.read(event_store.of_job, job.id, after=0, limit=100)[3]
    assert (ended.message, ended.data) == ("went wrong", {"cause": "user_error", "exit_code": 3})


def test_failures_use_up_the_retries(world: World) -> None:
    job = world.submit(max_retries=1)
    assert world.finish(world.running(job), EndCause.OOM) is JobState.BACKOFF
    world.wait(60)
    assert world.finish(world.running(job), EndCause.USER_ERROR) is JobState.FAILED
    assert (world.job(job).failures, world.job(job).cause) == (2, EndCause.USER_ERROR)
    assert world.job(job).finished_at == world.now


def test_losses_are_free_and_go_back_to_the_queue_at_once(world: World) -> None:
    job = world.submit(max_retries=0)
    for _ in range(3):
        assert world.finish(world.running(job), EndCause.NODE_LOST) is JobState.QUEUED
    assert (world.job(job).losses, world.job(job).failures) == (3, 0)
    assert world.finish(world.running(job), EndCause.NODE_LOST) is JobState.BACKOFF


def test_what_was_told_to_stop_is_cancelled_however_it_went_down(world: World) -> None:
    attempt = world.running()
    world.cancel(attempt.job_id)
    assert world.finish(attempt, EndCause.NODE_LOST) is JobState.CANCELLED
    job = world.job(attempt.job_id)
    assert (job.cause, job.message, job.losses) == (EndCause.CANCELLED, "Stopped as ordered.", 0)


def test_what_had_succeeded_before_it_heard_is_not_cancelled(world: World) -> None:
    attempt = world.running()
    world.cancel(attempt.job_id)
    assert world.finish(attempt, EndCause.SUCCESS, result={"a": 1}) is JobState.SUCCEEDED


def test_the_first_start_is_the_one_that_is_kept(world: World) -> None:
    job = world.submit()
    world.finish(world.running(job), EndCause.NODE_LOST)
    world.wait(10)
    world.running(job)
    assert world.job(job).started_at == T0


def test_many_jobs_wake_at_once_and_only_those_that_are_due(world: World) -> None:
    early, late = world.running(), world.running()
    world.finish(early, EndCause.USER_ERROR)
    world.wait(30)
    world.finish(late, EndCause.USER_ERROR)
    world.wait(30)
    assert world.tick().started == {early.job_id}
    assert world.job(late.job_id).state is JobState.BACKOFF


def test_lost_attempts_are_counted_once(world: World) -> None:
    attempts = [world.running(), world.running()]
    ids = [a.id for a in attempts]
    lose: dict[str, Any] = {"why": "gone", "policy": world.policy, "now": world.now}
    assert world.store.transact(service.lose, ids, **lose) == 2
    assert world.store.transact(service.lose, ids, **lose) == 0
    assert world.job(attempts[0].job_id).message == "gone"


def test_signs_of_life_are_kept(world: World) -> None:
    attempt = world.running()
    world.wait(9)
    world.store.transact(service.seen, [attempt.id], now=world.now)
    assert world.attempts(attempt.job_id)[0].last_seen_at == world.now


def steps(world: World, job_id: int) -> list[int]:
    return [c.step for c in world.store.read(job_service.checkpoints, job_id, by=ANN)]


def test_checkpoints_are_kept_by_retention_and_the_rest_is_let_go(world: World) -> None:
    attempt = world.running()
    rewards = {1: 9.0, 2: 1.0, 3: 2.0, 4: 3.0}
    let_go = [world.save_checkpoint(attempt, step, metrics={"reward": r}) for step, r in rewards.items()]
    assert [[c.step for c in gone or []] for gone in let_go] == [[], [], [], [2]]
    assert steps(world, attempt.job_id) == [1, 3, 4]
    latest = world.store.read(checkpoint_store.latest, [attempt.job_id, 999_999])
    assert {job: c.step for job, c in latest.items()} == {attempt.job_id: 4}


def test_a_checkpoint_recorded_twice_is_one(world: World) -> None:
    attempt = world.running()
    for _ in range(2):
        assert world.save_checkpoint(attempt, 1) == []
    assert steps(world, attempt.job_id) == [1]


def test_the_points_that_led_to_a_checkpoint_come_with_it_once(world: World) -> None:
    attempt = world.running()
    points = [a_point(step, agent=world.job(attempt.job_id).agent_id, job=attempt.job_id) for step in (1, 2)]
    world.save_checkpoint(attempt, 2, points=points)
    world.save_checkpoint(attempt, 3, points=points)
    stored = world.store.read(metric_store.page, points[0].agent_id, limit=10)
    assert [p for _, p in stored] == points[::-1]


def test_the_checkpoint_of_an_attempt_that_has_ended_does_not_count(world: World) -> None:
    attempt = world.running()
    world.finish(attempt, EndCause.NODE_LOST)
    assert world.save_checkpoint(attempt, 1) is None
    assert steps(world, attempt.job_id) == []


def test_the_next_attempt_goes_on_from_the_last_checkpoint(world: World) -> None:
    attempt = world.running()
    world.save_checkpoint(attempt, 1)
    world.save_checkpoint(attempt, 2, metrics={"reward": 0.5})
    world.carry_out()
    world.finish(attempt, EndCause.NODE_LOST)
    world.tick()
    [order] = world.carry_out().launches
    assert order.resume_from is not None
    assert (order.number, order.resume_from.step, order.resume_from.metrics) == (2, 2, {"reward": 0.5})
    assert order.resume_from.uri.endswith("attempt-1/step-2")


def test_of_two_checkpoints_of_one_step_the_later_is_resumed_from(world: World, sql: Sql) -> None:
    attempt = world.running()
    world.save_checkpoint(attempt, 5, keep=Retention(latest=5))
    sql("UPDATE checkpoints SET uri = 'memory://first'")
    world.save_checkpoint(attempt, 5, keep=Retention(latest=5))
    latest = world.store.read(checkpoint_store.latest, [attempt.job_id])
    assert latest[attempt.job_id].uri != "memory://first"


#: id: (fields of an outcome that no column takes as they are, what is stored of them)
HOSTILE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an exit code past 32 bits": ({"exit_code": 2**31}, {"exit_code": None}),
    "an exit code past all bits": ({"exit_code": -(10**300)}, {"exit_code": None}),
    "memory past 64 bits": ({"peak_memory_bytes": 2**70}, {"peak_memory_bytes": None}),
    "a NUL in the message": ({"message": "a\x00b"}, {"message": "a\ufffdb"}),
    "half a character in the message": ({"message": "\ud800"}, {"message": "?"}),
    "a megabyte of message": ({"message": "x" * 10**6}, {"message": "x" * 1999 + "…"}),
}
#: id: (result, what is stored of it)
RESULTS: dict[str, tuple[Any, Any]] = {
    "a tuple as key": ({(1, 2): "x"}, {"(1, 2)": "x"}),
    "NaN, NUL and half a character": ({"a\x00": [float("nan"), "\udfff"]}, {"a\ufffd": [None, "?"]}),
    "endless numbers": ({"n": 10**5000}, {"n": "<whole number of 16610 bits>"}),
    "text instead of an object": ("notadict", {"returned": "notadict"}),
    "more than may be kept": ({"a": 1, "b": "x" * 2_000_000}, {"a": 1}),
    "objects": ({"o": object}, {"o": "<class 'object'>"}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_whatever_an_end_holds_it_is_stored(world: World, case: str) -> None:
    given, stored = HOSTILE[case]
    attempt = world.running(max_retries=0)
    assert world.finish(attempt, EndCause.USER_ERROR, **given) is JobState.FAILED
    [ended] = world.attempts(attempt.job_id)
    assert ended.ended_at is not None
    assert {name: getattr(ended, name) for name in stored} == stored


@pytest.mark.parametrize("case", RESULTS)
def test_whatever_a_job_answers_it_is_stored_and_read_back(world: World, case: str) -> None:
    given, stored = RESULTS[case]
    attempt = world.running()
    assert world.finish(attempt, EndCause.SUCCESS, result=given) is JobState.SUCCEEDED
    assert world.job(attempt.job_id).result == stored


def test_what_the_owner_should_know_of_an_end_is_on_the_job(world: World) -> None:
    attempt = world.running()
    notices = ("said once", "said once", "and \x00", *(f"{n} " + "x" * 1000 for n in range(20)))
    world.finish(attempt, EndCause.SUCCESS, result={}, notices=notices)
    told = world.job(attempt.job_id).notices
    assert told[:2] == ("said once", "and \ufffd")
    assert len(told) == 10
    assert max(map(len, told)) == 500


def lose(world: World, job_id: int, *, after_s: float = 1, claimed: bool = True, **outcome: Any) -> None:
    """The next attempt of a job is lost."""
    while not world.tick().started:
        world.wait(60)
    attempt = world.attempts(job_id)[-1]
    if claimed:
        assert world.claim(attempt)
    world.wait(after_s)
    world.finish(attempt, EndCause.NODE_LOST, **{"message": "Its Ray worker died."} | outcome)


@pytest.mark.parametrize("claimed", [True, False])
def test_a_job_that_takes_its_worker_down_at_once_is_given_up(world: World, claimed: bool) -> None:
    world.register()
    job = world.submit(max_retries=3)
    for number in range(world.policy.instant_cap):
        assert world.job(job).state in (JobState.QUEUED, JobState.BACKOFF), f"after {number} losses"
        lose(world, job.id, claimed=claimed, unexplained=True)
    ended = world.job(job)
    assert (ended.state, ended.cause) == (JobState.FAILED, EndCause.USER_ERROR)
    assert ended.message is not None
    assert ended.message.startswith("Its process or its worker was lost 5 times in a row within 30 s")
    assert ended.message.endswith("The last time: Its Ray worker died.")
    assert ended.losses == world.policy.instant_cap - 1


#: id: how attempts are lost that are no fault of the job's
REAL_LOSSES: dict[str, dict[str, Any]] = {
    "with their node": {"unexplained": False},
    "after a while": {"unexplained": True, "after_s": 31},
}


@pytest.mark.parametrize("case", REAL_LOSSES)
def test_attempts_lost_to_the_cluster_stay_free(world: World, case: str) -> None:
    world.register()
    job = world.submit(max_retries=0)
    for _ in range(2 * world.policy.instant_cap):
        lose(world, job.id, **REAL_LOSSES[case])
    assert world.job(job).state in (JobState.QUEUED, JobState.BACKOFF)
    assert world.job(job).failures == 0


def test_a_loss_that_the_cluster_explains_begins_the_count_anew(world: World) -> None:
    world.register()
    job = world.submit()
    for _ in range(world.policy.instant_cap - 1):
        lose(world, job.id, unexplained=True)
    lose(world, job.id)
    lose(world, job.id, unexplained=True)
    assert world.job(job).state in (JobState.QUEUED, JobState.BACKOFF)
    assert world.job(job).instant_losses == 1
