"""What happens to a job when an attempt of it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

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


@dataclass(frozen=True)
class Verdict:
    """The event the job takes, and when it may run again if it may."""

    event: JobEvent
    not_before: datetime | None = None


#: Losses in a row that go back to the queue at once; later ones wait a little, lest a broken node spins.
QUICK_LOSSES = 3


def _after_loss(losses: int, policy: RetryPolicy, now: datetime) -> Verdict:
    if losses >= policy.loss_cap:
        return Verdict(JobEvent.FAIL)
    if losses < QUICK_LOSSES:
        return Verdict(JobEvent.REQUEUE)
    delay_s = min(policy.base_s, 2.0 ** (losses - QUICK_LOSSES))
    return Verdict(JobEvent.RETRY, now + timedelta(seconds=delay_s))


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
    max_retries: int,
    policy: RetryPolicy,
    now: datetime,
) -> Verdict:
    """Decide what a job does after an attempt of it ended for ``cause``.

    ``failures`` and ``losses`` count earlier attempts, without this one. A job that was told to stop is
    cancelled whatever ended it, unless it had succeeded. Making room costs a job nothing but time.
    """
    if cause is EndCause.SUCCESS:
        return Verdict(JobEvent.SUCCEED)
    if state is JobState.STOPPING:
        return Verdict(JobEvent.CANCEL)
    if cause is EndCause.PREEMPTED:
        return Verdict(JobEvent.REQUEUE)
    if cause in INFRASTRUCTURE:
        return _after_loss(losses, policy, now)
    if cause in RETRYABLE and failures < max_retries:
        delay_s = min(policy.cap_s, policy.base_s * 2.0 ** min(failures, 60))
        return Verdict(JobEvent.RETRY, now + timedelta(seconds=delay_s))
    return Verdict(JobEvent.FAIL)
