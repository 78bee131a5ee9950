"""Policies to compare: the service's own, and what others do."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from gaelp_ray.domain.forecast import RunTimes
from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    Part,
    Placed,
    Queue,
    QueuedJob,
    Reservation,
    SchedulingPolicy,
    Snapshot,
    lane_of,
    plan,
)
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.replay.simulator import Choice, Run, moment
from gaelp_ray.replay.trace import Task

#: How the trace's service classes are submitted.
PRIORITY = {"Guaranteed": 8, "LS": 8, "Burstable": 6, "BE": 4}
#: Kubernetes evicts best effort before burstable work, and neither before guaranteed.
INTERRUPTIBLE = frozenset({"BE", "Burstable"})


def claim_of(run: Run, *, owner: str | None = None) -> Claim:
    task = run.task
    return Claim(
        job_id=task.id,
        owner=owner or task.user,
        team=None,
        agent_id=0,
        priority=PRIORITY.get(task.qos, 5),
        preemptible=task.qos in INTERRUPTIBLE,
        parts=tuple(Part(p.node_id, p.resources, p.gpus) for p in run.placement),
        started_at=moment(run.begun_s),
        preemptions=run.number - 1,
        ending=run.stopping,
    )


class Ours:
    """The service's own ``plan``. It knows run times of tasks that have ended, never of those to come."""

    name = "gaelp"
    ticks = True

    def __init__(self, nodes: Sequence[Node], policy: SchedulingPolicy | None = None) -> None:
        self._nodes = tuple(nodes)
        self._policy = policy or SchedulingPolicy()
        self._queue = Queue()
        self._tasks: dict[int, Task] = {}
        self._times = RunTimes()
        self._reserved: dict[int, Reservation] = {}
        self._history: dict[str, tuple[float, Any]] = {}

    def arrived(self, task: Task, now_s: float, *, preempted: int) -> None:
        self._tasks[task.id] = task
        self._queue.put(self._job(task, now_s, preempted))

    def ended(self, run: Run, now_s: float) -> None:
        self._times.learn(self._kinds(run.task), run.task.length_s)

    def decide(self, running: Sequence[Run], now_s: float) -> Choice:
        if not len(self._queue):
            return Choice()
        now = moment(now_s)
        snapshot = Snapshot(
            nodes=self._nodes,
            claims=tuple(self._claim(run) for run in running),
            queue=self._queue,
            reservations=tuple(self._reserved.values()),
            policy=self._policy,
        )
        made = plan(snapshot, now)
        for reserve in made.reserves:
            parts = tuple(Part(p.node_id, p.resources, p.gpus) for p in reserve.placement)
            until = now + self._policy.reservation
            self._reserved[reserve.job.id] = Reservation(reserve.job.id, parts, until)
        for start in made.starts:
            self._queue.remove(start.job.id)
            self._reserved.pop(start.job.id, None)
        return Choice(
            starts=[(self._tasks[start.job.id], start.placement) for start in made.starts],
            preemptions=[preemption.job_id for preemption in made.preemptions],
        )

    def _job(self, task: Task, now_s: float, preempted: int) -> QueuedJob:
        known = self._times.predict(self._kinds(task))
        priority, preemptible = PRIORITY.get(task.qos, 5), task.qos in INTERRUPTIBLE
        expected_s = known.median_s if known else None
        return QueuedJob(
            id=task.id,
            row_version=1,
            lane=lane_of(
                owner=task.user,
                team=None,
                agent_id=0,
                priority=priority,
                request=task.request,
                preemptible=preemptible,
                expected_s=expected_s,
            ),
            owner=task.user,
            team=None,
            agent_id=0,
            priority=priority,
            submitted_at=moment(task.arrival_s),
            queued_at=moment(now_s),
            request=task.request,
            preemptible=preemptible,
            expected_s=expected_s,
            expected_p90_s=known.p90_s if known else None,
            preemptions=preempted,
        )

    def _claim(self, run: Run) -> Claim:
        claim = claim_of(run)
        known = self._times.predict(self._kinds(run.task))
        if known is None:
            return claim
        begun = claim.started_at
        return replace(
            claim,
            expected_end=begun + timedelta(seconds=known.median_s),
            latest_end=begun + timedelta(seconds=known.p90_s),
        )

    @staticmethod
    def _kinds(task: Task) -> Sequence[Hashable]:
        """What asks for the same in the same class; else what asks for the same GPUs."""
        return (task.qos, task.resources), (task.qos, task.resources.gpu_milli)


class InOrder:
    """Starts tasks in a fixed order; what does not fit blocks those behind it, or lets them pass."""

    ticks = False

    def __init__(
        self, name: str, nodes: Sequence[Node], order: Callable[[Task], Any], *, passing: bool
    ) -> None:
        self.name = name
        self._nodes = nodes
        self._order = order
        self._passing = passing
        self._waiting: list[Task] = []
        #: How many of each kind wait.
        self._kinds: Counter[Request] = Counter()

    def arrived(self, task: Task, now_s: float, *, preempted: int) -> None:
        insort(self._waiting, task, key=self._order)
        self._kinds[task.request] += 1

    def ended(self, run: Run, now_s: float) -> None:
        pass

    def decide(self, running: Sequence[Run], now_s: float) -> Choice:
        pool = Pool(self._nodes, [claim_of(run) for run in running])
        starts: list[tuple[Task, tuple[Placed, ...]]] = []
        left: list[Task] = []
        full: set[Request] = set()
        for place, task in enumerate(self._waiting):
            if len(full) == len(self._kinds):
                # Within a decision room only shrinks: nothing that waits fits any more.
                left += self._waiting[place:]
                break
            placement = None if task.request in full else pool.place(task.request)
            if placement is None:
                full |= {task.request} if self._passing else self._kinds.keys()
                left.append(task)
                continue
            pool.take(placement)
            starts.append((task, placement))
        self._waiting = left
        self._kinds.subtract(task.request for task, _ in starts)
        self._kinds = +self._kinds
        return Choice(starts)


@dataclass
class _Promise:
    """The head's time and node, and what else that node will hold then."""

    at_s: float
    placement: tuple[Placed, ...]
    future: Pool


class Easy:
    """First in, first out with EASY backfill, told the true run times: as good as it can be."""

    name = "fifo+easy"
    ticks = False

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._waiting: list[Task] = []
        #: How many of each kind wait.
        self._kinds: Counter[Request] = Counter()

    def arrived(self, task: Task, now_s: float, *, preempted: int) -> None:
        insort(self._waiting, task, key=lambda each: (each.arrival_s, each.id))
        self._kinds[task.request] += 1

    def ended(self, run: Run, now_s: float) -> None:
        pass

    def decide(self, running: Sequence[Run], now_s: float) -> Choice:
        pool = Pool(self._nodes, [claim_of(run) for run in running])
        starts: list[tuple[Task, tuple[Placed, ...]]] = []
        left: list[Task] = []
        ends = [(run.end_s, run.placement) for run in running]
        promise: _Promise | None = None
        full: set[Request] = set()
        for place, task in enumerate(self._waiting):
            if promise is not None and len(full) == len(self._kinds):
                left += self._waiting[place:]
                break
            request = task.request
            # Within a decision room only shrinks: what did not fit once does not fit later.
            if request not in full and pool.place(request) is None:
                full.add(request)
            placement = None if request in full else self._place(task, request, pool, promise, now_s)
            if placement is None:
                left.append(task)
                if promise is None:
                    promise = self._promise(request, pool, ends)
                continue
            pool.take(placement)
            ends.append((now_s + task.length_s, placement))
            starts.append((task, placement))
        self._waiting = left
        self._kinds.subtract(task.request for task, _ in starts)
        self._kinds = +self._kinds
        return Choice(starts)

    @staticmethod
    def _place(
        task: Task, request: Request, pool: Pool, promise: _Promise | None, now_s: float
    ) -> tuple[Placed, ...] | None:
        if promise is None or now_s + task.length_s <= promise.at_s:
            return pool.place(request)
        kept = {placed.node_id for placed in promise.placement}
        elsewhere = pool.place(request, without=kept)
        if elsewhere is not None:
            return elsewhere
        beside = pool.place(request)
        if beside is None:
            return None
        spot = promise.future.place_on(beside[0].node_id, task.resources)
        if spot is None:
            return None
        promise.future.take((spot,))
        return beside

    @staticmethod
    def _promise(
        request: Request, pool: Pool, ends: Sequence[tuple[float, tuple[Placed, ...]]]
    ) -> _Promise | None:
        future = pool.clone()
        for end_s, placement in sorted(ends, key=lambda each: each[0]):
            future.give(placement)
            found = future.place(request)
            if found is not None:
                future.take(found)
                return _Promise(end_s, found, future)
        return None


def fifo(nodes: Sequence[Node]) -> InOrder:
    return InOrder("fifo", nodes, lambda task: (task.arrival_s, task.id), passing=False)


def shortest_first(nodes: Sequence[Node]) -> InOrder:
    """The oracle: it knows how long each task will run."""
    return InOrder("sjf-oracle", nodes, lambda task: (task.length_s, task.id), passing=True)


def best_effort_fifo(nodes: Sequence[Node]) -> InOrder:
    """As Kueue's BestEffortFIFO: by priority, then by time; what does not fit is set aside."""
    order = lambda task: (-PRIORITY.get(task.qos, 5), task.arrival_s, task.id)  # noqa: E731
    return InOrder("kueue-besteffort", nodes, order, passing=True)


def by_name(name: str, nodes: Sequence[Node], policy: SchedulingPolicy) -> Any:
    """A policy by its name on the command line."""
    makers: dict[str, Callable[[], Any]] = {
        "gaelp": lambda: Ours(nodes, policy),
        "fifo": lambda: fifo(nodes),
        "fifo+easy": lambda: Easy(nodes),
        "sjf-oracle": lambda: shortest_first(nodes),
        "kueue-besteffort": lambda: best_effort_fifo(nodes),
    }
    return makers[name]()


POLICIES = ("gaelp", "fifo", "fifo+easy", "sjf-oracle", "kueue-besteffort")
