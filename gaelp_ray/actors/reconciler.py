"""Compares what the store says with what the launchers own, mends what is safe, and alarms for the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ray.exceptions import RayError

from gaelp_ray.actors import meters
from gaelp_ray.actors.duties import settle
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.domain.duties import RECONCILE, Failed, isolated
from gaelp_ray.domain.reconcile import Discrepancy, Finding, confirmed, counted
from gaelp_ray.observability.metrics import DISCREPANCIES
from gaelp_ray.services import reconcile
from gaelp_ray.services.reconcile import Mended

log = logging.getLogger(__name__)

#: A launcher that does not answer in time is left out, and so is judgement of its attempts.
ANSWER_S = 5.0


class Reconciler:
    """Acts on what it finds twice in a row: the store and the launchers cannot be asked at one moment."""

    def __init__(self, runtime: Runtime, launchers: Mapping[str, Any]) -> None:
        self._runtime = runtime
        self._launchers = launchers
        self._before: tuple[Finding, ...] = ()

    async def compare(self) -> Mended | None:
        """None: everything agrees."""
        store = self._runtime.store
        owned = await self._owned()
        found = await asyncio.to_thread(store.read, reconcile.find, owned)
        sure, self._before = confirmed(self._before, found), found
        for kind, count in counted(sure).items():
            meters.gauge(DISCREPANCIES, count, kind=str(kind))
        if not sure:
            return None
        mended = await asyncio.to_thread(self._mend, sure)
        for finding in sure:
            if finding.kind is Discrepancy.STRAY_TASK and finding.launcher is not None:
                self._launchers[finding.launcher].drop.remote(finding.attempt_id)
            log.warning("discrepancy", extra={"finding": str(finding), "mended": finding in mended.mended})
        return mended

    def _mend(self, sure: Sequence[Finding]) -> Mended:
        """What can be mended: one finding that cannot keeps no other from it."""
        store, policy = self._runtime.store, self._runtime.retry_policy
        done: list[Mended] = []

        def together(part: Sequence[Finding]) -> Sequence[Finding]:
            done.append(store.transact(reconcile.mend, part, policy=policy, now=utc_now()))
            return part

        results = zip(sure, isolated(sure, together), strict=True)
        failed = {finding: result.error for finding, result in results if isinstance(result, Failed)}
        if failed:
            settle(
                store,
                RECONCILE,
                (),
                {str(each): error for each, error in failed.items()},
                known={},
                again=False,
            )
        return Mended(
            tuple(each for some in done for each in some.mended),
            (*(each for some in done for each in some.left), *failed),
        )

    async def _owned(self) -> dict[str, frozenset[int]]:
        """The attempts of every launcher that answers."""
        names = list(self._launchers)
        answers = await asyncio.gather(*(self._ask(self._launchers[name]) for name in names))
        return {name: ids for name, ids in zip(names, answers, strict=True) if ids is not None}

    @staticmethod
    async def _ask(launcher: Any) -> frozenset[int] | None:
        try:
            owned: frozenset[int] = await asyncio.wait_for(launcher.owned.remote(), ANSWER_S)
        except (RayError, TimeoutError):
            return None
        return owned
