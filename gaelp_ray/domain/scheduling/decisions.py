"""What a plan decides: who starts where, who makes room for whom, who waits and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.queue import QueuedJob

#: How the reason of a job begins that the scheduler has set aside.
ASIDE_WORDS = "The scheduler cannot decide about it and has set it aside; it tries again later. "


class WaitCode(StrEnum):
    """Why a job waits. One code at a time; the highest in this list wins."""

    #: Its agent is paused.
    DEACTIVATED = "Deactivated"
    ON_HOLD = "OnHold"
    MISCONFIGURED = "Misconfigured"
    NO_MATCHING_SHAPE = "NoMatchingShape"
    APPROVAL_REQUIRED = "ApprovalRequired"
    BUDGET_EXCEEDED = "BudgetExceeded"
    BUDGET_UNVERIFIABLE = "BudgetUnverifiable"
    EXCEEDS_MAX_QUOTA = "ExceedsMaxQuota"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    WAITING_FOR_PREEMPTION = "WaitingForPreemption"
    AUTOSCALER_WAITING = "AutoscalerWaiting"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    BACKING_OFF = "BackingOff"
    PENDING_EVALUATION = "PendingEvaluation"


@dataclass(frozen=True, slots=True)
class Blocked:
    code: WaitCode
    message: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one worker goes; ``gpus`` are the numbers of the GPUs the planner counts on."""

    node_id: str
    resources: Resources
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    job: QueuedJob
    #: One of each worker.
    placement: tuple[Placed, ...]
    #: How many of its first slices of running time make a whole one; see ``domain.costs``.
    share: int = 1


class PreemptionReason(StrEnum):
    #: A job of higher rank needs the nodes.
    PRIORITY = "priority"
    #: A teammate wants his own quota back.
    RECLAIMED = "reclaimed"
    #: The user's own more important job needs his quota.
    OWN_QUOTA = "own_quota"
    #: A hold drains it.
    DRAINED = "drained"


@dataclass(frozen=True, slots=True)
class Preemption:
    job_id: int
    reason: PreemptionReason
    #: The job that takes its place; None for a drain.
    for_job_id: int | None
    #: What its owner is told.
    message: str


@dataclass(frozen=True, slots=True)
class Reserve:
    """Room to be kept for a job until those who hold it have stopped."""

    job: QueuedJob
    placement: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Why the jobs of a lane wait; ``job`` is the first of those that do."""

    lane: str
    job: QueuedJob
    code: WaitCode
    message: str


@dataclass(frozen=True, slots=True)
class Demand:
    """Nodes that the autoscaler should have ready: ``count`` workers of a request."""

    request: Request
    count: int


@dataclass(frozen=True, slots=True)
class Broken:
    """A job that the planner could not decide about; all others are planned without it."""

    job_id: int
    error: Exception


@dataclass(frozen=True)
class Plan:
    starts: tuple[Start, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    reserves: tuple[Reserve, ...] = ()
    waits: tuple[Wait, ...] = ()
    demands: tuple[Demand, ...] = ()
    broken: tuple[Broken, ...] = ()

    def parts(self) -> tuple[Plan, ...]:
        """Each start alone, and the rest: what may be written one without the other."""
        rest = replace(self, starts=(), broken=())
        return (*(Plan(starts=(start,)) for start in self.starts), rest)
