"""Collects checkpoint folders that nobody refers to: saves that a crash cut off, deletions that failed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from datetime import UTC, datetime, timedelta
from functools import partial

from gaelp_ray.actors import meters
from gaelp_ray.actors.duties import settle
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.domain.checkpoints import folder_of
from gaelp_ray.domain.duties import COLLECT
from gaelp_ray.observability.metrics import CHECKPOINTS_COLLECTED
from gaelp_ray.services import checkpoints as service
from gaelp_ray.store.checkpoints import EndedAttempt
from gaelp_ray.training import checkpoints

log = logging.getLogger(__name__)

#: An attempt must have ended so long ago, lest a process that outlived its end still writes.
AGE = timedelta(hours=1)
#: Attempts that are looked at in one round.
BATCH = 200


class OrphanCollector:
    """Goes through the attempts in the order of their ends, a batch a round; from the first after a start.

    PostgreSQL decides: only folders of attempts that it knows and that have ended are looked into.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._after = (datetime.min.replace(tzinfo=UTC), 0)

    async def collect(self) -> int:
        """One round; returns how many folders were removed."""
        batch = await asyncio.to_thread(
            self._runtime.store.read, service.ended, after=self._after, before=utc_now() - AGE, limit=BATCH
        )
        removed = 0
        for attempt in batch.attempts:
            try:
                removed += await asyncio.to_thread(partial(self._clean, attempt, batch.kept))
            except Exception as error:
                # Storage that fails for one attempt must not keep the others from being cleaned. After a new
                # start all are looked at again.
                failed = {f"attempt {attempt.id}": error}
                await asyncio.to_thread(
                    settle, self._runtime.store, COLLECT, (), failed, known={}, again=False
                )
            self._after = (attempt.ended_at, attempt.id)
        meters.count(CHECKPOINTS_COLLECTED, removed)
        return removed

    def _clean(self, attempt: EndedAttempt, kept: Set[str]) -> int:
        folder = folder_of(attempt.job_id, attempt.number)
        root = self._runtime.settings.storage_uri
        orphans = [
            address
            for name in checkpoints.names(checkpoints.under(root, folder))
            if name.startswith("step-") and (address := f"{folder}/{name}") not in kept
        ]
        for address in orphans:
            checkpoints.delete(checkpoints.under(root, address))
            log.warning("removed a checkpoint that nobody refers to", extra={"address": address})
        return len(orphans)
