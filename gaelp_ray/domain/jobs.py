"""Training jobs: their states, the events that move them, and why an attempt ends.

The chart in ``docs/job-states.md`` is generated from ``TRANSITIONS``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from gaelp_ray.domain.errors import IllegalTransition, InvalidInput
from gaelp_ray.domain.forecast import LONGEST_S
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Request, Selector, Spot
from gaelp_ray.domain.resources import Resources

PRIORITY_MIN, PRIORITY_DEFAULT, PRIORITY_MAX = 1, 5, 10
MAX_RETRIES = 1000


class JobState(StrEnum):
    """Where a job stands; the ``phase`` of the API."""

    QUEUED = "queued"
    #: Chosen by the scheduler: an attempt exists, its resources are claimed, its launch order is written.
    ADMITTED = "admitted"
    #: Handed to Ray; its process has not claimed the attempt yet.
    STARTING = "starting"
    RUNNING = "running"
    #: Told to make room; goes back to the queue when it has stopped.
    PREEMPTING = "preempting"
    #: Told to stop for good.
    STOPPING = "stopping"
    #: Waits out the delay before its next attempt.
    BACKOFF = "backoff"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    """What happened to a job."""

    SUBMIT = "submit"
    ADMIT = "admit"
    LAUNCH = "launch"
    CLAIM = "claim"
    PREEMPT = "preempt"
    STOP = "stop"
    #: The attempt ended through no fault of the job; it goes back to the queue at once.
    REQUEUE = "requeue"
    #: The attempt failed and another is allowed after a delay.
    RETRY = "retry"
    WAKE = "wake"
    #: Its priority, deadline or such was changed while it waits.
    EDIT = "edit"
    #: Its deadline passed while it waited.
    EXPIRE = "expire"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


_S, _E = JobState, JobEvent

TRANSITIONS: Mapping[tuple[JobState, JobEvent], JobState] = {
    (_S.QUEUED, _E.ADMIT): _S.ADMITTED,
    (_S.QUEUED, _E.EDIT): _S.QUEUED,
    (_S.QUEUED, _E.EXPIRE): _S.FAILED,
    (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
    (_S.ADMITTED, _E.LAUNCH): _S.STARTING,
    # The process may claim its attempt before the launcher has noted that it handed the task to Ray.
    (_S.ADMITTED, _E.CLAIM): _S.RUNNING,
    (_S.ADMITTED, _E.REQUEUE): _S.QUEUED,
    (_S.ADMITTED, _E.RETRY): _S.BACKOFF,
    (_S.ADMITTED, _E.FAIL): _S.FAILED,
    (_S.ADMITTED, _E.STOP): _S.STOPPING,
    (_S.ADMITTED, _E.PREEMPT): _S.PREEMPTING,
    (_S.STARTING, _E.CLAIM): _S.RUNNING,
    (_S.STARTING, _E.REQUEUE): _S.QUEUED,
    (_S.STARTING, _E.RETRY): _S.BACKOFF,
    (_S.STARTING, _E.FAIL): _S.FAILED,
    (_S.STARTING, _E.STOP): _S.STOPPING,
    (_S.STARTING, _E.PREEMPT): _S.PREEMPTING,
    (_S.RUNNING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.RUNNING, _E.FAIL): _S.FAILED,
    (_S.RUNNING, _E.RETRY): _S.BACKOFF,
    (_S.RUNNING, _E.REQUEUE): _S.QUEUED,
    (_S.RUNNING, _E.STOP): _S.STOPPING,
    (_S.RUNNING, _E.PREEMPT): _S.PREEMPTING,
    (_S.PREEMPTING, _E.REQUEUE): _S.QUEUED,
    (_S.PREEMPTING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.PREEMPTING, _E.FAIL): _S.FAILED,
    (_S.PREEMPTING, _E.STOP): _S.STOPPING,
    # It had finished before it heard that it should stop.
    (_S.STOPPING, _E.SUCCEED): _S.SUCCEEDED,
    (_S.STOPPING, _E.CANCEL): _S.CANCELLED,
    (_S.BACKOFF, _E.WAKE): _S.QUEUED,
    (_S.BACKOFF, _E.EDIT): _S.BACKOFF,
    (_S.BACKOFF, _E.EXPIRE): _S.FAILED,
    (_S.BACKOFF, _E.CANCEL): _S.CANCELLED,
}

TERMINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})
#: States in which a job has a live attempt and holds resources.
LIVE = frozenset({_S.ADMITTED, _S.STARTING, _S.RUNNING, _S.PREEMPTING, _S.STOPPING})


def next_state(state: JobState, event: JobEvent) -> JobState:
    """The state after ``event``; raises ``IllegalTransition`` where the table has no row."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        allowed = ", ".join(sorted(e for s, e in TRANSITIONS if s == state)) or "nothing more"
        raise IllegalTransition(
            f"A job that is {state} does not take '{event}'; it takes {allowed}.",
            state=str(state),
        ) from None


class JobStatus(StrEnum):
    """The five words of the public API; ``JobState`` is the finer ``phase``."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATUS = {
    _S.SUCCEEDED: JobStatus.COMPLETED,
    _S.FAILED: JobStatus.FAILED,
    _S.CANCELLED: JobStatus.CANCELLED,
    _S.RUNNING: JobStatus.RUNNING,
    _S.PREEMPTING: JobStatus.RUNNING,
    _S.STOPPING: JobStatus.RUNNING,
}


def public_status(state: JobState) -> JobStatus:
    """Work that has begun is ``running``; everything before it, and between attempts, is ``queued``."""
    return _STATUS.get(state, JobStatus.QUEUED)


def states_of(status: JobStatus) -> list[JobState]:
    return [s for s in JobState if public_status(s) is status]


class EndCause(StrEnum):
    """Why an attempt ended."""

    SUCCESS = "success"
    USER_ERROR = "user_error"
    #: The entry point, its requirements or its configuration can never work; not retried.
    MISCONFIGURED = "misconfigured"
    PREEMPTED = "preempted"
    NODE_LOST = "node_lost"
    OOM = "oom"
    TIMEOUT = "timeout"
    #: The time by which the job had to be done has passed.
    DEADLINE = "deadline"
    #: It held GPUs and did not use them.
    IDLE = "idle"
    BUDGET = "budget"
    CANCELLED = "cancelled"
    #: Another attempt of the job took its place.
    SUPERSEDED = "superseded"


@dataclass(frozen=True)
class NewJob:
    """A submission. None means: as the agent's version says, or the service's default."""

    agent_id: int
    name: str
    priority: int = PRIORITY_DEFAULT
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    training_config: Mapping[str, Any] = field(default_factory=dict)
    entrypoint: str | None = None
    resources: Mapping[str, Any] | None = None
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    timeout_s: float | None = None
    max_retries: int | None = None
    #: Placed all or not at all, each with ``resources``.
    workers: int = 1
    #: Label -> condition, as Ray writes them.
    label_selector: Mapping[str, str] = field(default_factory=dict)
    #: None: spot nodes first for a preemptible job, none for another.
    spot: Spot | None = None
    preemptible: bool = False
    #: When it has to be done; then it fails, waiting or running.
    deadline: datetime | None = None
    #: The user's own guess; without it the agent's past runs tell.
    expected_duration_s: float | None = None
    #: What its own spending is; real money passes the gate, whatever is simulated is only counted.
    money: Money = Money.SIMULATED


@dataclass(frozen=True)
class Progress:
    """The last thing a job reported about itself."""

    step: int | None = None
    total_steps: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    id: int
    agent_id: int
    version_id: int
    owner: str
    name: str
    state: JobState
    priority: int
    #: Of each worker.
    resources: Resources
    workers: int
    selector: Selector
    spot: Spot
    preemptible: bool
    entrypoint: str
    hyperparameters: Mapping[str, Any]
    training_config: Mapping[str, Any]
    environment_vars: Mapping[str, str]
    seed: int
    timeout_s: float | None
    max_retries: int
    #: Attempts used up by the job's own failures.
    failures: int
    #: Attempts lost to the infrastructure; free, bounded by a large cap.
    losses: int
    #: Of those, the last in a row that came right after the start for no reason that the cluster knows of.
    instant_losses: int
    #: How often it made room for others; free.
    preemptions: int
    attempt_number: int
    progress: Progress
    wait_code: str | None
    wait_message: str | None
    cause: EndCause | None
    message: str | None
    result: Mapping[str, Any] | None
    #: Predicted run time, median and 90th percentile.
    expected_s: float | None
    expected_p90_s: float | None
    deadline: datetime | None
    submitted_at: datetime
    #: When it last joined the queue.
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    #: Plain statements about how the job runs that the user should know.
    notices: tuple[str, ...] = ()
    money: Money = Money.SIMULATED
    #: What it spends from.
    account_id: int | None = None
    #: Of its compute: booked so far, and expected, median and 90th percentile.
    cost_micros: int = 0
    expected_cost_micros: int | None = None
    expected_p90_cost_micros: int | None = None
    #: The user's own guess of its run time; None where past runs tell.
    guess_s: float | None = None
    #: Since when its present attempt runs, and the step that this began from; None while none runs.
    runs_since: datetime | None = None
    runs_from_step: int = 0
    #: What of it a list left out, by the names of its fields: results, and what is large.
    left_out: frozenset[str] = frozenset()

    @property
    def status(self) -> JobStatus:
        return public_status(self.state)

    @property
    def request(self) -> Request:
        return Request(self.resources, self.workers, self.selector, self.spot)


@dataclass(frozen=True)
class JobEdit:
    """A change of a waiting job; None leaves a thing as it is, unless it is to be cleared."""

    priority: int | None = None
    preemptible: bool | None = None
    deadline: datetime | None = None
    timeout_s: float | None = None
    max_retries: int | None = None
    expected_duration_s: float | None = None
    #: Names of those that become what a submission gets that leaves them open.
    cleared: frozenset[str] = frozenset()


def check_priority(priority: int) -> int:
    if not PRIORITY_MIN <= priority <= PRIORITY_MAX:
        raise InvalidInput(
            f"`priority` must be {PRIORITY_MIN} (lowest) to {PRIORITY_MAX} (highest); got {priority}."
        )
    return priority


def check_deadline(deadline: datetime, now: datetime) -> datetime:
    if deadline.tzinfo is None:
        raise InvalidInput("`deadline` needs a time zone, e.g. 2030-01-31T18:00:00Z.")
    if deadline <= now:
        raise InvalidInput(f"`deadline` must be in the future; got {deadline.isoformat()}.")
    return deadline


def check_seconds(seconds: float, *, field_name: str) -> float:
    if not 0 < seconds < math.inf:
        raise InvalidInput(f"`{field_name}` must be a number of seconds above 0; got {seconds}.")
    if seconds > LONGEST_S:
        raise InvalidInput(f"`{field_name}` must be at most {LONGEST_S} seconds, ten years; got {seconds:g}.")
    return seconds


def check_retries(retries: int) -> int:
    if not 0 <= retries <= MAX_RETRIES:
        raise InvalidInput(f"`max_retries` must be 0 to {MAX_RETRIES}; got {retries}.")
    return retries


def eta_seconds(
    progress: Progress, since: datetime | None, now: datetime, *, from_step: int = 0
) -> float | None:
    """Seconds until the last step at the mean pace since a moment at which ``from_step`` was done.

    None before a step since then is known. Time in which a job did not run, on hold say, must not be counted:
    ``since`` is when its present attempt began.
    """
    if since is None or not progress.step or not progress.total_steps or progress.step <= from_step:
        return None
    pace_s = max(0.0, (now - since).total_seconds()) / (progress.step - from_step)
    return min(LONGEST_S, max(0.0, (progress.total_steps - progress.step) * pace_s))
