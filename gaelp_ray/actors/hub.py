"""The metrics hub: takes reports from workers, shows them live, stores them in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial

from gaelp_ray.actors import meters
from gaelp_ray.actors.duties import settle
from gaelp_ray.actors.loops import every, until_available
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.duties import POINTS, Failed, isolated
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.observability.metrics import POINTS_STORED, POINTS_WAITING
from gaelp_ray.services import metrics as metric_service

STORE_S = 0.5
BATCH = 2000
#: Points, and values of them, that a reader that fell behind may still get; older ones are in the database.
LIVE_POINTS, LIVE_VALUES = 10_000, 100_000
#: Of one push, which is what a job reported in a tenth of a second, the newest are shown live.
LIVE_OF_PUSH = 200


class MetricsHub:
    """One shard of the hub.

    When ``push`` answers, the points are in the database. A caller whose push was lost with the hub sends it
    again; points are unique by job, attempt and step, so twice is once.
    """

    async def __init__(self, settings: Settings, shard: int) -> None:  # type: ignore[misc]
        self._runtime = Runtime(settings)
        self._shard = str(shard)
        self._live: deque[tuple[int, MetricPoint]] = deque()
        self._sequence = self._live_values = 0
        self._arrived = asyncio.Condition()
        self._waiting: list[tuple[list[MetricPoint], asyncio.Future[None]]] = []
        self._store_loop = asyncio.create_task(every(STORE_S, POINTS, self._store))

    async def push(self, points: list[MetricPoint]) -> None:
        """Publish points at once; answers when they are stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((points, stored))
        await self.show(points)
        await stored

    async def show(self, points: list[MetricPoint]) -> None:
        """Publish points that the database has already."""
        async with self._arrived:
            for point in points[-LIVE_OF_PUSH:]:
                self._sequence += 1
                self._live.append((self._sequence, point))
                self._live_values += len(point.values)
            while len(self._live) > LIVE_POINTS or self._live_values > LIVE_VALUES:
                self._live_values -= len(self._live.popleft()[1].values)
            self._arrived.notify_all()

    async def listen(self, after: int, wait_s: float) -> tuple[int, list[MetricPoint]]:
        """Points after a sequence number, and the new number; waits for the first at most ``wait_s``.

        A number from an earlier life of the hub, or a negative one, starts from now.
        """
        if after < 0 or after > self._sequence:
            return self._sequence, []
        if after == self._sequence:
            async with self._arrived:
                try:
                    await asyncio.wait_for(self._arrived.wait(), wait_s)
                except TimeoutError:
                    return self._sequence, []
        return self._sequence, [point for number, point in self._live if number > after]

    async def _store(self) -> None:
        """Write what waits, in one transaction a batch, and answer those who wait for it.

        A point that cannot be stored is left out and noted; every other is stored.
        """
        while batch := self._next_batch():
            points = [point for pushed, _ in batch for point in pushed]
            results = await until_available(partial(isolated, points, self._write))
            failed = [(p, r.error) for p, r in zip(points, results, strict=True) if isinstance(r, Failed)]
            for _, stored in batch:
                if not stored.done():
                    stored.set_result(None)
            if failed:
                await asyncio.to_thread(self._note, failed)
            meters.count(POINTS_STORED, len(points) - len(failed), shard=self._shard)
        meters.gauge(POINTS_WAITING, len(self._waiting), shard=self._shard)

    def _write(self, points: Sequence[MetricPoint]) -> Sequence[MetricPoint]:
        self._runtime.store.transact(metric_service.store, points)
        return points

    def _note(self, failed: Sequence[tuple[MetricPoint, Exception]]) -> None:
        named = {f"job {point.job_id} step {point.step}": error for point, error in failed}
        settle(self._runtime.store, POINTS, (), named, known={}, again=False)

    def _next_batch(self) -> list[tuple[list[MetricPoint], asyncio.Future[None]]]:
        count = pushes = 0
        while pushes < len(self._waiting) and count < BATCH:
            count += len(self._waiting[pushes][0])
            pushes += 1
        batch, self._waiting = self._waiting[:pushes], self._waiting[pushes:]
        return batch
