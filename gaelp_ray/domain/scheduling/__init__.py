"""Scheduling: what waits, what is free, who goes next. ``plan`` is pure: values in, values out."""

from gaelp_ray.domain.scheduling.decisions import (
    Blocked,
    Demand,
    Placed,
    Plan,
    Preemption,
    PreemptionReason,
    Reserve,
    Start,
    Wait,
    WaitCode,
)
from gaelp_ray.domain.scheduling.nodes import Node, NodeShape
from gaelp_ray.domain.scheduling.outside import OutsideUse
from gaelp_ray.domain.scheduling.planning import plan
from gaelp_ray.domain.scheduling.queue import Queue, QueuedJob, lane_of, real_version
from gaelp_ray.domain.scheduling.snapshot import (
    Claim,
    Part,
    PreemptionMode,
    Reservation,
    SchedulingPolicy,
    Snapshot,
)

__all__ = [
    "Blocked",
    "Claim",
    "Demand",
    "Node",
    "NodeShape",
    "OutsideUse",
    "Part",
    "Placed",
    "Plan",
    "Preemption",
    "PreemptionMode",
    "PreemptionReason",
    "Queue",
    "QueuedJob",
    "Reservation",
    "Reserve",
    "SchedulingPolicy",
    "Snapshot",
    "Start",
    "Wait",
    "WaitCode",
    "lane_of",
    "plan",
    "real_version",
]
