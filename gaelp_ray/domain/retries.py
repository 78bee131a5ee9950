"""What happens to a job when an attempt of it ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gaelp_ray.domain.attempts import Outcome
from gaelp_ray.domain.jobs import EndCause, JobEvent, JobState

#: The cluster's doing; never the job's.
INFRASTRUCTURE = frozenset({EndCause.NODE_LOST, EndCause.SUPERSEDED})
#: The job's own failures, worth another try.
RETRYABLE = frozenset({EndCause.USER_ERROR, EndCause.OOM})


#: What the service itself found; true whatever else the process was told.
_FOUND = frozenset(
    {
        EndCause.SUCCESS,
        EndCause.MISCONFIGURED,
        EndCause.TIMEOUT,
        EndCause.DEADLINE,
        EndCause.BUDGET,
        EndCause.IDLE,
    }
)


@dataclass(frozen=True)
class RetryPolicy:
    """Backoff is ``base_s * 2**failures`` up to ``cap_s``, as Kueue requeues (60 s doubling to one hour)."""

    base_s: float = 60.0
    cap_s: float = 3600.0
    #: Infrastructure losses are free, but a job that loses this many attempts is given up.
    loss_cap: int = 100
    #: And so is one that loses this many in a row right after their start, without anything of the cluster
    #: that was seen to fail: then it is the job that takes its worker down.
    instant_cap: int = 5


@dataclass(frozen=True)
class Verdict:
    """The event the job takes, and when it may run again if it may."""

    event: JobEvent
    not_before: datetime | None = None


#: An attempt that is lost so soon after its claim, or before it, is lost at once.
INSTANT = timedelta(seconds=30)
#: Losses in a row that go back to the queue at once; later ones wait a little, lest a broken node spins.
QUICK_LOSSES = 3


def _after_loss(losses: int, policy: RetryPolicy, now: datetime) -> Verdict:
    if losses >= policy.loss_cap:
        return Verdict(JobEvent.FAIL)
    if losses < QUICK_LOSSES:
        return Verdict(JobEvent.REQUEUE)
    delay_s = min(policy.base_s, 2.0 ** (losses - QUICK_LOSSES))
    return Verdict(JobEvent.RETRY, now + timedelta(seconds=delay_s))


def is_instant(
    outcome: Outcome, *, claimed_at: datetime | None, saved_at: datetime | None, now: datetime
) -> bool:
    """Whether an attempt was lost at once, for no reason that the cluster knows of."""
    if outcome.cause is not EndCause.NODE_LOST or not outcome.unexplained or saved_at is not None:
        return False
    return claimed_at is None or now - claimed_at < INSTANT


def given_up(outcome: Outcome, losses: int) -> Outcome:
    """What a job has come to that was lost at once so often in a row."""
    words = (
        f"Its process or its worker was lost {losses} times in a row within {INSTANT.seconds} s of the start"
        f" while nothing of the cluster was seen to fail. It is not tried again: look for what the job does"
        f" to its worker. The last time: {outcome.message}"
    )
    return replace(outcome, cause=EndCause.USER_ERROR, message=words[:2000])


def as_ordered(state: JobState, cause: EndCause) -> EndCause:
    """Why an attempt ended, given what it had been told.

    ============  =====================================  =========
    told to       it ended as                            counts as
    ============  =====================================  =========
    stop          success                                success
    stop          anything else                          cancelled
    make room     success, misconfigured, timeout,       itself
                  deadline, budget, idle
    make room     anything else, user errors too         preempted
    nothing       anything                               itself
    ============  =====================================  =========

    How a process goes down when it is asked to leave says nothing about it: many scripts answer SIGTERM with
    an error. One that failed by itself just before it heard gets one more attempt, and fails again in that.
    """
    if state is JobState.STOPPING and cause is not EndCause.SUCCESS:
        return EndCause.CANCELLED
    if state is JobState.PREEMPTING and cause not in _FOUND:
        return EndCause.PREEMPTED
    return cause


def judge(
    state: JobState,
    cause: EndCause,
    *,
    failures: int,
    losses: int,
    instant_losses: int = 0,
    max_retries: int,
    policy: RetryPolicy,
    now: datetime,
) -> Verdict:
    """Decide what a job does after an attempt of it ended for ``cause``.

    ``failures`` and ``losses`` count earlier attempts, without this one; ``instant_losses`` those in a row
    that were lost at once, this one among them. A job that was told to stop is cancelled whatever ended it,
    unless it had succeeded. Making room costs a job nothing but time.
    """
    if cause is EndCause.SUCCESS:
        return Verdict(JobEvent.SUCCEED)
    if state is JobState.STOPPING:
        return Verdict(JobEvent.CANCEL)
    if cause is EndCause.PREEMPTED:
        return Verdict(JobEvent.REQUEUE)
    if cause in INFRASTRUCTURE:
        return _after_loss(losses, policy, now)
    if cause in RETRYABLE and failures < max_retries and instant_losses < policy.instant_cap:
        delay_s = min(policy.cap_s, policy.base_s * 2.0 ** min(failures, 60))
        return Verdict(JobEvent.RETRY, now + timedelta(seconds=delay_s))
    return Verdict(JobEvent.FAIL)
