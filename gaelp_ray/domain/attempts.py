"""One try of a job: its order to launch, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gaelp_ray.domain.errors import BudgetExceeded, GaelpError
from gaelp_ray.domain.forecast import after, bounded
from gaelp_ray.domain.jobs import EndCause, Progress, eta_seconds
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Selector, Spot
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.safety.rewards import RewardClip


@dataclass(frozen=True)
class Seat:
    """Where one worker of an attempt runs."""

    node_id: str
    #: Numbers of its GPUs on that node, where they are known.
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Attempt:
    id: int
    job_id: int
    number: int
    #: The first worker's.
    node_id: str | None
    workers: int
    #: One for each worker, first one first.
    placement: tuple[Seat, ...]
    #: A node of it is one that its owner may take back.
    spot: bool
    launcher: str | None
    cause: EndCause | None
    message: str | None
    exit_code: int | None
    resumed_from_step: int | None
    peak_memory_bytes: int | None
    #: What an hour of all its workers costs, as of its admission; 0 for what is free.
    hour_micros: int
    #: Booked so far, and for how many slices of running time money was held, one after the other.
    cost_micros: int
    slices: int
    created_at: datetime
    claimed_at: datetime | None
    last_seen_at: datetime | None
    #: When it saved its newest checkpoint.
    saved_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint as a worker finds and checks it."""

    #: Where it was saved.
    uri: str
    digest: str
    step: int
    metrics: Mapping[str, float]
    #: Where it lies under the storage's root.
    address: str = ""
    id: int = 0


@dataclass(frozen=True)
class ResumePoints:
    """Checkpoints that an attempt may begin with, each list from the last saved to the first."""

    own: tuple[ResumePoint, ...] = ()
    #: Of the job that its ``from_job`` names.
    inputs: tuple[ResumePoint, ...] = ()


@dataclass(frozen=True)
class LaunchOrder:
    """Everything a worker needs to run one attempt. Holds no credential but the attempt's own token."""

    attempt_id: int
    #: Proves that a message about the attempt comes from the process that runs it.
    token: str
    job_id: int
    agent_id: int
    number: int
    entrypoint: str
    config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    seed: int
    #: Of each worker.
    resources: Resources
    node_id: str | None
    workers: int = 1
    #: Where the planner put each worker.
    placement: tuple[Seat, ...] = ()
    #: What a node must meet if a worker lands elsewhere.
    selector: Selector = ()
    spot: Spot = Spot.AVOID
    requirements: tuple[str, ...] = ()
    docker_image: str | None = None
    working_dir: str | None = None
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    #: Why it ends when ``timeout_s`` is over: its time limit, or its job's deadline if that is sooner.
    timeout_cause: EndCause = EndCause.TIMEOUT
    stop_grace_s: float = 10.0
    #: Until the job's deadline, as of this order; None without one.
    left_s: float | None = None
    resume_from: ResumePoint | None = None
    #: Another job's checkpoint to work on, e.g. to evaluate it, and that job.
    input_checkpoint: ResumePoint | None = None
    from_job: int | None = None
    #: What it spends itself: the kind of money, and every account that binds it.
    money: Money = Money.SIMULATED
    currency: str = ""
    account_ids: tuple[int, ...] = ()
    #: What its rewards are cut to, by the policies of its agent.
    reward_clips: tuple[RewardClip, ...] = ()
    #: Money is held for its running time until then; None for what is free.
    paid_until: datetime | None = None

    def prepared_in(self, seconds: float) -> LaunchOrder:
        """The order when preparing took so long: that is not running time, but no deadline waits for it."""
        if self.left_s is None:
            return self
        left_s = max(0.0, self.left_s - seconds)
        if self.timeout_cause is EndCause.TIMEOUT and self.timeout_s is not None and self.timeout_s <= left_s:
            return self
        return replace(self, timeout_s=left_s, timeout_cause=EndCause.DEADLINE)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, as seen by whoever saw it end."""

    cause: EndCause
    message: str = ""
    exit_code: int | None = None
    result: Mapping[str, Any] | None = None
    peak_memory_bytes: int | None = None
    #: What the job's owner should know of it.
    notices: tuple[str, ...] = ()
    #: A loss that nothing of the cluster was seen to cause: the job may have done it to itself.
    unexplained: bool = False


@dataclass(frozen=True)
class Directive:
    """What a running attempt is told when it shows a sign of life."""

    #: None to go on; else why to stop.
    stop: EndCause | None = None
    message: str = ""


def unpaid(refusal: GaelpError) -> Directive:
    """What an attempt is told whose next slice of running time was refused.

    Without money it has come to its end. Under a kill switch, or without a ledger that answers, it did
    nothing wrong: it makes way, and goes on from its checkpoint once it may.
    """
    over = isinstance(refusal, BudgetExceeded)
    return Directive(EndCause.BUDGET if over else EndCause.PREEMPTED, refusal.message)


def expected_ends(
    *,
    started_at: datetime,
    now: datetime,
    progress: Progress,
    resumed_from_step: int | None,
    expected_s: float | None,
    expected_p90_s: float | None,
    timeout_s: float | None,
) -> tuple[datetime | None, datetime | None]:
    """When an attempt will end: median and 90th percentile, as far as they are known.

    The pace of its own steps says more than what was predicted before it began; its time limit ends it in
    any case.
    """
    expected_s, expected_p90_s, timeout_s = map(bounded, (expected_s, expected_p90_s, timeout_s))
    end = None if expected_s is None else after(started_at, expected_s)
    latest = None if expected_p90_s is None else after(started_at, expected_p90_s)
    left_s = eta_seconds(progress, started_at, now, from_step=resumed_from_step or 0)
    if left_s is not None:
        end = after(now, left_s)
        latest = max(end, latest or end)
    if timeout_s is not None:
        limit = after(started_at, timeout_s)
        end, latest = min(end, limit) if end else None, min(latest or limit, limit)
    return end, latest
