"""The scheduler: one numbered tick, again and again."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from gaelp_ray.actors import meters
from gaelp_ray.actors.autoscaler import Autoscaler, floor
from gaelp_ray.actors.cluster import live_nodes, other_jobs, used_resources
from gaelp_ray.actors.duties import round_of, settle
from gaelp_ray.actors.loops import attempt, every, utc_now
from gaelp_ray.actors.reconciler import Reconciler
from gaelp_ray.actors.shapes import node_shapes
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.duties import (
    AUTOSCALER,
    DUTIES,
    EXPIRE_JOBS,
    LOOK,
    PLAN,
    QUEUE,
    RECONCILE,
    START,
    TAKE_OVER,
    TICK,
    UPKEEP,
    WAKE,
    Troubles,
    words_of,
)
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.scheduling import Node, NodeShape, OutsideUse, Plan, QueuedJob, Snapshot, WaitCode, plan
from gaelp_ray.domain.scheduling.explain import Explanation, QueueReport, explain, report
from gaelp_ray.observability.metrics import (
    AGENTS,
    AUTOSCALER_DEMAND,
    JOBS,
    JOBS_STARTED,
    MIRROR_LAG,
    PLAN_SECONDS,
    PREEMPTIONS,
    QUEUE_DEPTH,
    SCHEDULER_EPOCH,
    SET_ASIDE,
    STARTS_DROPPED,
    TICK_SECONDS,
)
from gaelp_ray.services import duties, launching, mirror, scheduling
from gaelp_ray.services import status as status_service
from gaelp_ray.services.duties import Waiting
from gaelp_ray.services.mirror import Mirror
from gaelp_ray.services.scheduling import Applied, Outside
from gaelp_ray.store.leases import Lease

log = logging.getLogger(__name__)
R = TypeVar("R")

UPKEEP_S = 5.0
RECONCILE_S = 30.0


@dataclass(frozen=True)
class Tick:
    """One decision and what came of it."""

    snapshot: Snapshot
    plan: Plan
    applied: Applied
    at: datetime
    #: The age of the view of the queue, and how long the decision took.
    lag_s: float
    plan_s: float

    @property
    def unfinished(self) -> bool:
        """More may start at once: the plan was full, and what it held was started."""
        capped = any(wait.code is WaitCode.PENDING_EVALUATION for wait in self.plan.waits)
        return capped and bool(self.applied.started)


@dataclass
class Reign:
    """What a scheduler remembers while it leads. The next one begins with none of it."""

    lease: Lease
    mirror: Mirror
    autoscaler: Autoscaler = field(default_factory=Autoscaler)
    outside: OutsideUse = field(default_factory=OutsideUse)
    last: Tick | None = None


class Scheduler:
    """Plans and applies. Holds no truth: killed at any line, its next life goes on from the database.

    It leads while it holds the lease; every plan is applied under the lease's epoch, so two schedulers never
    both write.
    """

    async def __init__(self, settings: Settings, cluster: str, launchers: dict[str, Any]) -> None:  # type: ignore[misc]
        self._runtime = Runtime(settings)
        self._settings = settings
        self._cluster = cluster
        self._launchers = launchers
        # Every life of this actor holds the lease by the same name, so a restart need not wait for the old
        # lease to run out; it does begin a new epoch.
        self._holder = f"scheduler of {cluster}"
        self._reign: Reign | None = None
        self._reconciler = Reconciler(self._runtime, launchers)
        #: The queue in memory is one tick's, or one question's, at a time.
        self._turn = asyncio.Lock()
        self._hinted = asyncio.Event()
        self._loops = [
            asyncio.create_task(every(settings.tick.total_seconds(), TICK, self._tick, wake=self._hinted)),
            asyncio.create_task(every(UPKEEP_S, TAKE_OVER, self._take_over)),
            asyncio.create_task(every(UPKEEP_S, UPKEEP, self._upkeep)),
            asyncio.create_task(every(RECONCILE_S, RECONCILE, self._reconcile)),
        ]

    async def hint(self) -> None:
        """Something changed that a tick should look at. Losing a hint costs at most one tick."""
        self._hinted.set()

    async def pid(self) -> int:
        return os.getpid()

    async def nodes(self) -> tuple[Node, ...]:
        return await asyncio.to_thread(live_nodes)

    async def shapes(self) -> tuple[NodeShape, ...]:
        """What the autoscaler may still add."""
        return node_shapes(self._settings.node_groups, await self.nodes())

    async def why(self, job_id: int) -> Explanation | None:
        """Why a job waits, by the last plan; None when it did not wait then."""

        def ask() -> Explanation | None:
            last = self._last()
            return explain(last.snapshot, last.plan, job_id, last.at)

        return await self._in_turn(ask)

    async def dry_run(self, job: QueuedJob) -> Explanation:
        """What would become of a job that is not stored."""

        def ask() -> Explanation:
            snapshot, now = self._last().snapshot, utc_now()
            snapshot.queue.put(job)
            try:
                explained = explain(snapshot, plan(snapshot, now), job.id, now)
            finally:
                snapshot.queue.remove(job.id)
            assert explained is not None
            return explained

        return await self._in_turn(ask)

    async def queue_report(self, limit: int) -> QueueReport:
        """The queue as the last plan left it."""

        def ask() -> QueueReport:
            last = self._last()
            return report(last.snapshot, last.plan, last.at, limit=limit)

        return await self._in_turn(ask)

    async def _in_turn(self, ask: Callable[[], R]) -> R:
        async with self._turn:
            return await asyncio.to_thread(ask)

    async def _tick(self) -> None:
        started = time.perf_counter()
        async with self._turn:
            tick = await asyncio.to_thread(self._tick_once)
            if tick is None:
                return
            _measure(tick)
        for name in tick.applied.launchers & self._launchers.keys():
            self._launchers[name].wake.remote()
        if tick.unfinished:
            self._hinted.set()
        await attempt(AUTOSCALER, lambda: asyncio.to_thread(self._ask_for_nodes, tick))
        meters.observe(TICK_SECONDS, time.perf_counter() - started)

    def _tick_once(self) -> Tick | None:
        store, now = self._runtime.store, utc_now()
        # 1. Lead, or leave it to the one who does.
        reign = self._reign = self._lead(now)
        if reign is None:
            return None
        # 2. Wake jobs whose backoff is over, and fail those whose deadline is.
        aside = store.read(duties.waiting, now=now)
        wake, expire = partial(scheduling.wake, now=now), partial(scheduling.expire, now=now)
        round_of(store, WAKE, scheduling.due, wake, known=aside.of(WAKE))
        round_of(store, EXPIRE_JOBS, scheduling.past_deadline, expire, known=aside.of(EXPIRE_JOBS))
        # 3. Catch up with the queue.
        looked_at = time.monotonic()
        changed = self._catch_up(reign, aside)
        # 4. Look: nodes, claims, rules, reservations.
        snapshot = self._look(reign, aside, changed)
        # Taken after the look: an attempt never begins before the end of the one it follows.
        now = utc_now()
        # 5. Decide.
        lag_s, began = time.monotonic() - looked_at, time.perf_counter()
        decided = plan(snapshot, now)
        plan_s = time.perf_counter() - began
        # 6. Apply what still holds, in one transaction. After it the launchers are woken, who find their
        #    orders by themselves if that is lost, and the autoscaler is asked for what is still missing.
        applied = self._apply(reign, snapshot, decided, now)
        reign.last = Tick(snapshot, decided, applied, now, lag_s, plan_s)
        self._set_aside(aside, decided, applied)
        return reign.last

    def _catch_up(self, reign: Reign, aside: Waiting) -> frozenset[int]:
        """Bring the queue up to date; returns the jobs that were looked at."""
        store = self._runtime.store
        again = {int(item) for item in aside.due(QUEUE)}
        looked = store.read(mirror.refresh, reign.mirror, again=again)
        unreadable = {str(job_id): error for job_id, error in reign.mirror.unreadable.items()}
        tried = {str(job_id) for job_id in looked}
        settle(store, QUEUE, tried, unreadable, known=aside.of(QUEUE))
        return looked

    def _set_aside(self, aside: Waiting, decided: Plan, applied: Applied) -> None:
        """Note what could not be decided about or started, and forget what went well this time."""
        store = self._runtime.store
        broken = {str(each.job_id): each.error for each in decided.broken}
        failed = {str(job_id): error for job_id, error in applied.failed.items()}
        for duty, errors in ((PLAN, broken), (START, failed)):
            settle(store, duty, aside.due(duty) | errors.keys(), errors, known=aside.of(duty))

    def _lead(self, now: datetime) -> Reign | None:
        """Renew the lease. A new epoch begins with the whole queue, read after the lease was taken."""
        before = self._reign
        lease = self._runtime.store.transact(
            scheduling.lead,
            self._holder,
            epoch=before.lease.epoch if before else None,
            ttl=self._settings.lease,
            now=now,
        )
        if lease is None:
            return None
        if before is not None and before.lease.epoch == lease.epoch:
            before.lease = lease
            return before
        self._reign = None
        return Reign(lease, self._runtime.store.transact(mirror.load))

    def _look(self, reign: Reign, aside: Waiting, changed: Collection[int]) -> Snapshot:
        """``changed``: jobs that may fare better than when they were set aside."""
        nodes, outside = live_nodes(), self._outside(reign)
        now, store = utc_now(), self._runtime.store
        paused = {int(item): error for item, error in aside.paused(PLAN, START).items()}
        troubles = Troubles[str]()
        seen = store.read(
            scheduling.look,
            reign.mirror,
            nodes=nodes,
            shapes=node_shapes(self._settings.node_groups, nodes),
            policy=self._runtime.scheduling_policy,
            terms=self._runtime.terms,
            now=now,
            aside={job_id: error for job_id, error in paused.items() if job_id not in changed},
            troubles=troubles,
            outside=outside,
        )
        known = aside.of(LOOK)
        settle(store, LOOK, known.keys() | troubles.found.keys(), troubles.found, known=known)
        return seen

    def _outside(self, reign: Reign) -> Outside | None:
        """Who else uses the nodes; where Ray does not say, nobody is taken to."""
        try:
            used = used_resources()
            return Outside(reign.outside, used, other_jobs())
        except Exception as error:
            log.warning("use outside the queue is not known", extra={"reason": words_of(error)})
            return None

    def _apply(self, reign: Reign, snapshot: Snapshot, decided: Plan, now: datetime) -> Applied:
        store = self._runtime.store
        loads = store.read(scheduling.launcher_loads, self._cluster)

        def write(some: Plan) -> Applied:
            return store.transact(
                scheduling.apply,
                some,
                snapshot,
                reign.mirror,
                holder=reign.lease.holder,
                epoch=reign.lease.epoch,
                loads=loads,
                make_token=uuid.uuid4,
                now=now,
            )

        applied = scheduling.apply_in_parts(decided, write)
        scheduling.remember(reign.mirror, applied)
        return applied

    def _ask_for_nodes(self, tick: Tick) -> None:
        if self._reign is not None:
            self._reign.autoscaler.ask(floor(tick.snapshot, tick.plan))

    def _last(self) -> Tick:
        """Raises ``Unavailable`` before the first plan of a scheduler that leads."""
        last = self._reign.last if self._reign is not None else None
        if last is None:
            raise Unavailable("The scheduler has made no plan yet; ask again in a second.")
        return last

    async def _take_over(self) -> None:
        """Declare attempts lost whose launchers, of other clusters, fell silent."""
        if self._reign is None:
            return
        store, cluster = self._runtime.store, self._cluster
        silence, policy = self._settings.launcher_silence, self._runtime.retry_policy
        retire = partial(
            launching.retire_silent, cluster=cluster, silence=silence, policy=policy, now=utc_now()
        )
        await asyncio.to_thread(store.transact, retire)
        look = partial(launching.of_retired, cluster=cluster)
        lose = partial(launching.lose_cluster, policy=policy, now=utc_now())
        await asyncio.to_thread(round_of, store, TAKE_OVER, look, lose)

    async def _upkeep(self) -> None:
        await asyncio.to_thread(self._count)

    def _count(self) -> None:
        store, reign = self._runtime.store, self._reign
        if reign is None:
            return
        aside = store.read(duties.counts)
        for name in DUTIES.keys() | aside.keys():
            meters.gauge(SET_ASIDE, aside.get(name, 0), duty=name)
        store.transact(duties.prune, now=utc_now())
        counted = store.read(status_service.status)
        for phase, count in counted.phases.items():
            meters.gauge(JOBS, count, phase=phase)
        for kind, count in counted.agents_by_type.items():
            meters.gauge(AGENTS, count, type=kind)
        meters.gauge(SCHEDULER_EPOCH, reign.lease.epoch)

    async def _reconcile(self) -> None:
        if self._reign is not None:
            await self._reconciler.compare()


def _measure(tick: Tick) -> None:
    meters.observe(PLAN_SECONDS, tick.plan_s)
    meters.gauge(MIRROR_LAG, tick.lag_s)
    meters.count(JOBS_STARTED, len(tick.applied.started))
    meters.count(STARTS_DROPPED, len(tick.applied.dropped))
    for each in tick.plan.preemptions:
        if each.job_id in tick.applied.preempted:
            meters.count(PREEMPTIONS, reason=str(each.reason))
    for code, depth in _depths(tick).items():
        meters.gauge(QUEUE_DEPTH, depth, code=str(code))
    meters.gauge(AUTOSCALER_DEMAND, sum(demand.count for demand in tick.plan.demands))


def _depths(tick: Tick) -> Mapping[WaitCode, int]:
    """How many wait for each reason: the first of a lane that waits, and all behind it."""
    depths: Counter[WaitCode] = Counter(dict.fromkeys(WaitCode, 0))
    queue = tick.snapshot.queue
    for wait in tick.plan.waits:
        depths[wait.code] += len(queue.lane(wait.lane)) - queue.ahead_in_lane(wait.job)
    return depths
