"""The scheduler: one numbered tick, again and again."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from typing import Any

from gaelp_ray.actors import meters
from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.actors.loops import every, utc_now
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.scheduling import Node, plan
from gaelp_ray.observability.metrics import (
    AGENTS,
    JOBS,
    JOBS_STARTED,
    SCHEDULER_EPOCH,
    STARTS_DROPPED,
    TICK_SECONDS,
)
from gaelp_ray.services import launching, scheduling
from gaelp_ray.services import status as status_service
from gaelp_ray.services.scheduling import Applied
from gaelp_ray.store.leases import Lease

log = logging.getLogger(__name__)

UPKEEP_S = 5.0


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
        self._lease: Lease | None = None
        self._hinted = asyncio.Event()
        self._loops = [
            asyncio.create_task(every(settings.tick.total_seconds(), self._tick, wake=self._hinted)),
            asyncio.create_task(every(UPKEEP_S, self._upkeep)),
        ]

    async def hint(self) -> None:
        """Something changed that a tick should look at. Losing a hint costs at most one tick."""
        self._hinted.set()

    async def pid(self) -> int:
        return os.getpid()

    async def nodes(self) -> tuple[Node, ...]:
        return await asyncio.to_thread(live_nodes)

    async def _tick(self) -> None:
        started = time.perf_counter()
        applied = await asyncio.to_thread(self._tick_once)
        if applied is None:
            return
        for name in applied.launchers:
            self._launchers[name].wake.remote()
        meters.observe(TICK_SECONDS, time.perf_counter() - started)
        meters.count(JOBS_STARTED, len(applied.started))
        meters.count(STARTS_DROPPED, len(applied.dropped))

    def _tick_once(self) -> Applied | None:
        store, now = self._runtime.store, utc_now()
        # 1. Lead, or leave it to the one who does.
        lease = self._lead()
        if lease is None:
            return None
        # 2. Wake jobs whose backoff is over.
        store.transact(scheduling.wake_due, now=now)
        # 3. Look: nodes, claims, the queue's heads.
        snapshot = store.read(scheduling.look, live_nodes())
        if not snapshot.queue:
            return None
        # Taken after the look: an attempt never begins before the end of the one it follows.
        now = utc_now()
        # 4. Decide.
        decided = plan(snapshot, now)
        # 5. Apply what still holds: state, claim, launch order and event together.
        loads = store.read(scheduling.launcher_loads, self._cluster)
        # 6. Commit; the launchers are woken after it, and find their orders by themselves if that is lost.
        return store.transact(
            scheduling.apply,
            decided,
            holder=lease.holder,
            epoch=lease.epoch,
            loads=loads,
            make_token=uuid.uuid4,
            now=now,
        )

    def _lead(self) -> Lease | None:
        self._lease = self._runtime.store.transact(
            scheduling.lead,
            self._holder,
            epoch=self._lease.epoch if self._lease else None,
            ttl=self._settings.lease,
            now=utc_now(),
        )
        return self._lease

    async def _upkeep(self) -> None:
        await asyncio.to_thread(self._take_over_and_count)

    def _take_over_and_count(self) -> None:
        store, now = self._runtime.store, utc_now()
        if self._lease is None:
            return
        store.transact(
            launching.retire_silent,
            cluster=self._cluster,
            silence=self._settings.launcher_silence,
            policy=self._runtime.retry_policy,
            now=now,
        )
        counted = store.read(status_service.status)
        for phase, count in counted.phases.items():
            meters.gauge(JOBS, count, phase=phase)
        for kind, count in counted.agents_by_type.items():
            meters.gauge(AGENTS, count, type=kind)
        meters.gauge(SCHEDULER_EPOCH, self._lease.epoch)
