"""What the scheduler says: why a job waits, and how the whole queue stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gaelp_ray.client.models import ComputeCost


@dataclass(frozen=True)
class Eta:
    """When a job may begin, and the interval of the estimate."""

    starts_at: datetime
    earliest: datetime
    latest: datetime


@dataclass(frozen=True)
class Place:
    """Where one worker goes."""

    node_id: str
    resources: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Where a job stands; what is unknown, or means nothing to a job that does not wait, is None."""

    message: str
    #: Why it waits; None: nothing keeps it waiting.
    code: str | None = None
    #: None in a dry run.
    job_id: int | None = None
    phase: str = ""
    #: What would let it start, each a sentence.
    unblock: tuple[str, ...] = ()
    #: Among all that wait; 1 is looked at next.
    position: int | None = None
    #: Of those, jobs of its agent that are like it.
    ahead_in_lane: int | None = None
    #: Jobs that wait in all.
    queued: int | None = None
    priority: int | None = None
    #: What its priority has become by waiting.
    effective_priority: int | None = None
    #: Its owner's dominant share of the cluster over his weight.
    share: float | None = None
    eta: Eta | None = None
    #: Where its workers go, now or once others have made room.
    placement: tuple[Place, ...] | None = None
    #: Jobs that make room for it.
    victims: tuple[int, ...] = ()
    #: Of a dry run.
    cost: ComputeCost | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Preemption:
    """A job was told to make room."""

    job_id: int
    reason: str
    message: str = ""
    attempt: int | None = None
    #: The job that takes its place; None for a drain.
    for_job_id: int | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Preemptions:
    """When a job had to make room, and which jobs had to make room for it; oldest first."""

    items: tuple[Preemption, ...] = ()
    victims: tuple[Preemption, ...] = ()


@dataclass(frozen=True)
class Head:
    """The first job of those that are alike, and why they wait."""

    job_id: int
    owner: str
    code: str
    message: str = ""
    team: str | None = None
    #: Jobs like it that wait for the same reason.
    waiting: int = 0
    priority: int | None = None
    effective_priority: int | None = None
    submitted_at: datetime | None = None


@dataclass(frozen=True)
class QueueReport:
    """The queue as the last plan left it."""

    at: datetime
    waiting: int
    #: Kinds of jobs: those alike are judged once.
    lanes: int = 0
    by_code: Mapping[str, int] = field(default_factory=dict)
    by_user: Mapping[str, int] = field(default_factory=dict)
    by_team: Mapping[str, int] = field(default_factory=dict)
    oldest: datetime | None = None
    #: In the order in which they are looked at.
    heads: tuple[Head, ...] = ()
    starting: tuple[int, ...] = ()
    making_room: tuple[int, ...] = ()
    #: Workers for which nodes were asked of the autoscaler.
    demanded: int = 0
