"""What a job does after an attempt: the whole table of states and causes, and the delays."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaelp_ray.domain.jobs import LIVE, TRANSITIONS, EndCause, JobEvent, JobState
from gaelp_ray.domain.retries import QUICK_LOSSES, RetryPolicy, Verdict, as_ordered, judge
from tests.builders import T0

POLICY = RetryPolicy(base_s=60, cap_s=3600, loss_cap=100)


def verdict(
    cause: EndCause,
    state: JobState = JobState.RUNNING,
    *,
    failures: int = 0,
    losses: int = 0,
    max_retries: int = 3,
) -> Verdict:
    return judge(
        state, cause, failures=failures, losses=losses, max_retries=max_retries, policy=POLICY, now=T0
    )


AFTER_A_FIRST_ATTEMPT = {
    EndCause.SUCCESS: JobEvent.SUCCEED,
    EndCause.USER_ERROR: JobEvent.RETRY,
    EndCause.OOM: JobEvent.RETRY,
    EndCause.MISCONFIGURED: JobEvent.FAIL,
    EndCause.TIMEOUT: JobEvent.FAIL,
    EndCause.BUDGET: JobEvent.FAIL,
    EndCause.DEADLINE: JobEvent.FAIL,
    EndCause.IDLE: JobEvent.FAIL,
    EndCause.CANCELLED: JobEvent.FAIL,
    EndCause.PREEMPTED: JobEvent.REQUEUE,
    EndCause.NODE_LOST: JobEvent.REQUEUE,
    EndCause.SUPERSEDED: JobEvent.REQUEUE,
}


@pytest.mark.parametrize("cause", EndCause)
def test_a_running_job_goes_on_by_the_cause_of_its_end(cause: EndCause) -> None:
    assert verdict(cause).event is AFTER_A_FIRST_ATTEMPT[cause]


#: What is true of a process whatever else it was told.
FOUND = ["success", "misconfigured", "timeout", "deadline", "budget", "idle"]


@pytest.mark.parametrize("cause", EndCause)
def test_a_process_told_to_make_room_did_so_however_it_went_down(cause: EndCause) -> None:
    expected = cause if cause in FOUND else EndCause.PREEMPTED
    assert as_ordered(JobState.PREEMPTING, cause) is expected


@pytest.mark.parametrize("cause", EndCause)
def test_a_process_told_to_stop_is_cancelled_unless_it_had_succeeded(cause: EndCause) -> None:
    expected = cause if cause is EndCause.SUCCESS else EndCause.CANCELLED
    assert as_ordered(JobState.STOPPING, cause) is expected


@pytest.mark.parametrize("cause", EndCause)
@pytest.mark.parametrize("state", [JobState.ADMITTED, JobState.STARTING, JobState.RUNNING])
def test_a_process_that_was_told_nothing_ended_as_it_did(state: JobState, cause: EndCause) -> None:
    assert as_ordered(state, cause) is cause


@pytest.mark.parametrize("cause", EndCause)
def test_a_job_that_was_told_to_stop_is_cancelled_unless_it_had_succeeded(cause: EndCause) -> None:
    expected = JobEvent.SUCCEED if cause is EndCause.SUCCESS else JobEvent.CANCEL
    assert verdict(cause, JobState.STOPPING).event is expected


#: A process succeeds only after it claimed its attempt.
POSSIBLE = [
    (state, cause)
    for state in sorted(LIVE)
    for cause in EndCause
    if cause is not EndCause.SUCCESS or state not in (JobState.ADMITTED, JobState.STARTING)
]


@pytest.mark.parametrize(("failures", "losses"), [(0, 0), (3, 0), (0, 5), (0, 100)])
@pytest.mark.parametrize(("state", "cause"), POSSIBLE)
def test_every_verdict_has_a_row_in_the_table_of_states(
    state: JobState, cause: EndCause, failures: int, losses: int
) -> None:
    counted = as_ordered(state, cause)
    assert (state, verdict(counted, state, failures=failures, losses=losses).event) in TRANSITIONS


#: failures before -> seconds until the next attempt; None when there is none
BACKOFF = {0: 60, 1: 120, 2: 240, 5: 1920, 6: 3600, 50: 3600, 5000: 3600}


@pytest.mark.parametrize("failures", BACKOFF)
def test_the_delay_doubles_with_each_failure_up_to_the_cap(failures: int) -> None:
    found = verdict(EndCause.USER_ERROR, failures=failures, max_retries=10_000)
    assert found == Verdict(JobEvent.RETRY, T0 + timedelta(seconds=BACKOFF[failures]))


@pytest.mark.parametrize("cause", [EndCause.USER_ERROR, EndCause.OOM])
@pytest.mark.parametrize(
    ("failures", "max_retries", "event"),
    [(0, 0, JobEvent.FAIL), (2, 3, JobEvent.RETRY), (3, 3, JobEvent.FAIL), (4, 3, JobEvent.FAIL)],
)
def test_failures_of_its_own_are_retried_up_to_max_retries(
    cause: EndCause, failures: int, max_retries: int, event: JobEvent
) -> None:
    assert verdict(cause, failures=failures, max_retries=max_retries).event is event


@pytest.mark.parametrize("cause", [EndCause.NODE_LOST, EndCause.PREEMPTED, EndCause.SUPERSEDED])
def test_a_loss_is_free_even_when_all_retries_are_used_up(cause: EndCause) -> None:
    assert verdict(cause, failures=3, max_retries=3) == Verdict(JobEvent.REQUEUE)
    assert verdict(cause, max_retries=0) == Verdict(JobEvent.REQUEUE)


@pytest.mark.parametrize("losses", range(QUICK_LOSSES))
def test_the_first_losses_go_back_to_the_queue_at_once(losses: int) -> None:
    assert verdict(EndCause.NODE_LOST, losses=losses) == Verdict(JobEvent.REQUEUE)


@pytest.mark.parametrize(("losses", "seconds"), [(3, 1), (4, 2), (8, 32), (9, 60), (99, 60)])
def test_many_losses_wait_longer_and_longer_up_to_the_base(losses: int, seconds: int) -> None:
    expected = Verdict(JobEvent.RETRY, T0 + timedelta(seconds=seconds))
    assert verdict(EndCause.NODE_LOST, losses=losses) == expected


@pytest.mark.parametrize("losses", [100, 101])
def test_a_job_that_loses_a_hundred_attempts_is_given_up(losses: int) -> None:
    assert verdict(EndCause.NODE_LOST, losses=losses) == Verdict(JobEvent.FAIL)


def test_making_room_is_free_however_often_it_happens() -> None:
    assert verdict(EndCause.PREEMPTED, losses=1000, failures=9, max_retries=0) == Verdict(JobEvent.REQUEUE)
