"""Everything a plan is made from, frozen at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property

from gaelp_ray.domain.holds import Holds
from gaelp_ray.domain.jobs import PRIORITY_MAX
from gaelp_ray.domain.quotas import Amounts, QuotaBook
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.decisions import Blocked
from gaelp_ray.domain.scheduling.funds import Funds
from gaelp_ray.domain.scheduling.nodes import Node, NodeShape
from gaelp_ray.domain.scheduling.queue import Queue
from gaelp_ray.domain.switches import Switch


@dataclass(frozen=True, slots=True)
class Part:
    """What one worker of a live attempt holds."""

    #: None when it was placed on a node that has gone.
    node_id: str | None
    resources: Resources
    #: Numbers of the GPUs on its node, where they are known.
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Claim:
    """What a live attempt holds, and what it would cost to take it away."""

    job_id: int
    owner: str
    team: str | None
    agent_id: int
    priority: int
    preemptible: bool
    parts: tuple[Part, ...]
    started_at: datetime
    #: When its work was last safe; None before the first checkpoint.
    saved_at: datetime | None = None
    #: Predicted end, median and 90th percentile; None where nothing is known.
    expected_end: datetime | None = None
    latest_end: datetime | None = None
    #: How often its job made room for others already.
    preemptions: int = 0
    #: It was told to stop or to make room.
    ending: bool = False

    @cached_property
    def total(self) -> Resources:
        if len(self.parts) == 1:
            return self.parts[0].resources
        return sum((part.resources for part in self.parts), Resources())

    @cached_property
    def amounts(self) -> Amounts:
        return Amounts.of(self.total)

    def lasted_s(self, now: datetime) -> float:
        """Seconds since it began."""
        return max(0.0, (now - self.started_at).total_seconds())

    def lost_s(self, now: datetime) -> float:
        """Seconds of work that would have to be done again if it stopped without saving."""
        return max(0.0, (now - (self.saved_at or self.started_at)).total_seconds())


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room that is kept for a job: others made it by stopping."""

    job_id: int
    parts: tuple[Part, ...]
    until: datetime


class PreemptionMode(StrEnum):
    NEVER = "never"
    #: Only jobs that said they may be interrupted.
    PREEMPTIBLE = "preemptible"
    #: These, and any job of lower priority.
    LOWER_PRIORITY = "lower_priority"


@dataclass(frozen=True)
class SchedulingPolicy:
    """The operator's choices."""

    #: Waiting so long raises a job's effective priority by one ...
    aging_step: timedelta = timedelta(hours=6)
    #: ... at most so often, and never above the highest priority.
    aging_most: int = PRIORITY_MAX - 1
    fair_share: bool = True
    #: Usage of so long ago counts half.
    half_life: timedelta = timedelta(hours=6)
    #: Of jobs that are equal otherwise, those with shorter predicted run times go first.
    short_first: bool = True
    preemption: PreemptionMode = PreemptionMode.PREEMPTIBLE
    #: A job that made room so often is left alone for good.
    preemption_budget: int = 50
    #: An attempt younger than this is left alone, doubled for each time that its job made room ...
    preempt_after: timedelta = timedelta(seconds=60)
    #: ... up to so long: it makes more progress between interruptions the more it had of them.
    preempt_after_most: timedelta = timedelta(minutes=5)
    #: Waiting jobs in one plan for which others are asked to make room.
    preemptors: int = 8
    #: How long freed room is kept for the job it was freed for.
    reservation: timedelta = timedelta(minutes=2)
    #: Heads that backfill may not delay ...
    protected_heads: int = 1
    #: ... once they have waited so long.
    protect_after: timedelta = timedelta(minutes=30)
    #: ... and only if their time comes within this share of the time they have waited.
    protect_horizon: float = 0.5
    #: How long a job that prefers spot nodes waits for one.
    spot_wait: timedelta = timedelta(minutes=5)
    starts: int = 1000


@dataclass(frozen=True)
class Snapshot:
    nodes: tuple[Node, ...]
    claims: tuple[Claim, ...]
    queue: Queue
    shapes: tuple[NodeShape, ...] = ()
    quotas: QuotaBook = field(default_factory=QuotaBook)
    holds: Holds = field(default_factory=Holds)
    reservations: tuple[Reservation, ...] = ()
    #: Usage of each user in the past, as the average over the half-life of what he held.
    history: Mapping[str, Resources] = field(default_factory=dict)
    #: Agents whose jobs wait whatever is free, and why.
    blocked: Mapping[int, Blocked] = field(default_factory=dict)
    #: Versions that may not spend real money now, and why.
    unready: Mapping[int, Blocked] = field(default_factory=dict)
    #: Kill switches that are engaged.
    switches: tuple[Switch, ...] = ()
    funds: Funds = field(default_factory=Funds)
    #: Jobs that could not be decided about before, and why; they wait, and those behind them do not for them.
    aside: Mapping[int, str] = field(default_factory=dict)
    #: Who may use nodes outside the queue, e.g. ``Ray job raysubmit_x``, where it is known.
    outsiders: tuple[str, ...] = ()
    policy: SchedulingPolicy = field(default_factory=SchedulingPolicy)
    #: Of quotas, holds and paused agents; a plan made on an older one is void.
    revision: int = 0
