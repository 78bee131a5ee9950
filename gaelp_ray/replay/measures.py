"""What a replay says about a policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gaelp_ray.domain.forecast import quantile
from gaelp_ray.replay.simulator import History


@dataclass(frozen=True)
class Spread:
    """Of a number of values, in seconds."""

    mean: float
    p50: float
    p95: float
    p99: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        if not values:
            return Spread(0.0, 0.0, 0.0, 0.0, 0.0)
        ordered = sorted(values)
        p50, p95, p99 = (quantile(ordered, share) for share in (0.5, 0.95, 0.99))
        return Spread(sum(ordered) / len(ordered), p50, p95, p99, ordered[-1])


@dataclass(frozen=True)
class Measures:
    policy: str
    #: That some node could hold, and that none ever can; the latter are in no other figure.
    tasks: int
    never: int
    #: That the policy did not bring to an end.
    unfinished: int
    #: From arrival to the first start.
    wait_s: Spread
    #: From arrival to the end.
    completion_s: Spread
    #: By class of service.
    wait_by_qos_s: dict[str, Spread]
    #: GPU-seconds in use over GPU-seconds there were, from the first arrival to the last.
    gpu_allocation: float
    #: GPUs that stood free while a task that wants GPUs waited, as a share of all: too small a piece, in the
    #: wrong place, or kept.
    fragmentation: float
    preemptions: int
    #: GPU-hours of work that interruptions cost.
    lost_gpu_h: float
    #: Jain's index over users of the share of their tasks' lives that they spent running; 1 is even
    #: (Jain, Chiu, Hawe, 1984).
    fairness: float
    #: One decision, measured on this machine.
    decision_s: Spread
    decisions: int

    def row(self) -> dict[str, Any]:
        """The figures as JSON has them."""
        return {
            "policy": self.policy,
            "tasks": self.tasks,
            "never": self.never,
            "unfinished": self.unfinished,
            "wait_s": vars(self.wait_s),
            "completion_s": vars(self.completion_s),
            "wait_by_qos_s": {qos: vars(spread) for qos, spread in self.wait_by_qos_s.items()},
            "gpu_allocation": self.gpu_allocation,
            "fragmentation": self.fragmentation,
            "preemptions": self.preemptions,
            "lost_gpu_h": self.lost_gpu_h,
            "fairness": self.fairness,
            "decision_ms": {name: value * 1000 for name, value in vars(self.decision_s).items()},
            "decisions": self.decisions,
        }


def measure(history: History) -> Measures:
    """Sum a finished replay up. What never started is in no wait, what did not end in no completion."""
    tasks = history.tasks
    waits = {task.id: history.waited_s[task.id] for task in tasks if task.id in history.waited_s}
    by_qos: dict[str, list[float]] = defaultdict(list)
    for task in tasks:
        if task.id in waits:
            by_qos[task.qos or "none"].append(waits[task.id])
    allocation, fragmentation = _use(history)
    return Measures(
        policy=history.policy,
        tasks=len(tasks),
        never=len(history.never),
        unfinished=len(tasks) - len(history.completed_s),
        wait_s=Spread.of(list(waits.values())),
        completion_s=Spread.of(list(history.completed_s.values())),
        wait_by_qos_s={qos: Spread.of(values) for qos, values in sorted(by_qos.items())},
        gpu_allocation=allocation,
        fragmentation=fragmentation,
        preemptions=history.preemptions,
        lost_gpu_h=history.lost_gpu_s / 3600,
        fairness=jain(_running_shares(history)),
        decision_s=Spread.of(history.decision_s),
        decisions=len(history.decision_s),
    )


def jain(values: Sequence[float]) -> float:
    """1 when all are equal, 1/n when one has everything."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _running_shares(history: History) -> list[float]:
    by_user: dict[str, list[float]] = defaultdict(list)
    for task in history.tasks:
        completed_s = history.completed_s.get(task.id)
        if completed_s is not None:
            by_user[task.user].append(task.length_s / max(task.length_s, completed_s))
    return [sum(shares) / len(shares) for shares in by_user.values()]


def _use(history: History) -> tuple[float, float]:
    """Time-weighted GPU use, and free GPUs beside waiting GPU work, until the last arrival."""
    total = sum(node.total.gpu_milli for node in history.nodes) / 1000
    end = max((task.arrival_s for task in history.tasks), default=0.0)
    used_s = idle_s = 0.0
    span_s = end - history.use[0][0] if history.use else 0.0
    for (at, used, wanted), (until, _, _) in zip(history.use, history.use[1:], strict=False):
        length = max(0.0, min(until, end) - at)
        used_s += used * length
        idle_s += (total - used) * length if wanted else 0.0
    capacity = total * span_s
    return (used_s / capacity, idle_s / capacity) if capacity else (0.0, 0.0)
