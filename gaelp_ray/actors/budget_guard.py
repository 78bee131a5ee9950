"""Budget guards: the door to the ledger for whatever runs in the cluster."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.actors import meters
from gaelp_ray.actors.duties import each_of, round_of
from gaelp_ray.actors.group_commit import GroupCommit
from gaelp_ray.actors.loops import every, utc_now
from gaelp_ray.actors.switch_watch import SwitchWatch
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.duties import (
    EXPIRE_APPROVALS,
    EXPIRE_HOLDS,
    PROVE_AUDIT,
    PROVE_LEDGER,
    RAMPS,
    SAFETY,
)
from gaelp_ray.domain.errors import Conflict, GaelpError
from gaelp_ray.domain.ledger import Expire, Hold, HoldState, Outcome, Request
from gaelp_ray.domain.safety.verdicts import Action, Severity
from gaelp_ray.observability.metrics import (
    AUDIT_BREAKS,
    HOLDS_EXPIRED,
    KILL_SWITCHES,
    LEDGER_COMMIT_SECONDS,
    LEDGER_DIFFERENCES,
    LEDGER_OPERATIONS,
    VIOLATIONS,
    Metric,
)
from gaelp_ray.services import approvals, audit, ledger, ramps, reviews, statements, switches
from gaelp_ray.services.reviews import Admission, Reported
from gaelp_ray.store import ledger as ledger_store

log = logging.getLogger(__name__)

EXPIRE_S = 1.0
RECONCILE_S = 300.0
SAFETY_S = 10.0
RAMPS_S = 10.0
#: How far back violations are counted, for alerts.
VIOLATIONS_OF = timedelta(hours=1)
#: Holds that are ended in one transaction.
EXPIRE_BATCH = 500


def guard_of(guards: Sequence[Any], account_ids: Iterable[int]) -> Any:
    """The guard that gathers the operations of these accounts.

    The lowest id decides: what widely shared accounts, which are opened first, have in common is their row
    lock, and behind one guard its waiters share a transaction.
    """
    return guards[min(account_ids) % len(guards)]


class BudgetGuard:
    """One shard of the guards. Holds no truth; the first also ends holds, proves the books and moves ramps.

    It never admits what the database has not confirmed: unreachable means refused, with ``Unavailable``.
    """

    async def __init__(self, settings: Settings, shard: int) -> None:  # type: ignore[misc]
        self._runtime = Runtime(settings)
        self._shard = str(shard)
        self._commits = GroupCommit(self._runtime.store, committed=self._measure)
        self._switches = SwitchWatch(self._runtime.store)
        #: What the last proofs found. Ray forgets a gauge that is not set again within 20 s.
        self._proved: dict[Metric, int] = {}
        # What was imported stays for good. To look through all of it for garbage takes tens of milliseconds,
        # in which nobody is answered.
        gc.freeze()
        self._loops = [
            asyncio.create_task(self._commits.run()),
            asyncio.create_task(self._switches.run()),
        ]
        if shard == 0:
            duties = (
                (EXPIRE_S, EXPIRE_HOLDS, self._expire),
                (RECONCILE_S, PROVE_LEDGER, self._prove_ledger),
                (RECONCILE_S, PROVE_AUDIT, self._prove_audit),
                (SAFETY_S, EXPIRE_APPROVALS, self._expire_approvals),
                (SAFETY_S, SAFETY, self._measure_safety),
                (RAMPS_S, RAMPS, self._advance_ramps),
            )
            self._loops += [asyncio.create_task(every(*duty)) for duty in duties]

    async def submit(self, requests: list[Request]) -> list[Outcome]:
        """As ``GroupCommit.submit``. Safe to call twice: every request has a key.

        What a kill switch stops is refused at once, and not remembered under its key; what was answered
        before is answered again.
        """
        if not self._switches.stops(requests):
            return await self._commits.submit(requests)
        asked, refusals = await asyncio.to_thread(self._switches.split, requests)
        outcomes = iter(await self._commits.submit(asked))
        return [next(outcomes) if refusal is None else refusal for refusal in refusals]

    async def admit(
        self, action: Action, hold: Hold, reported: Reported, by: Principal = SYSTEM
    ) -> Admission | GaelpError:
        """Have an action reviewed and its real money held; see ``services.reviews.admit``.

        A refusal is returned, as those of ``submit`` are. Safe to call twice: the hold has a key.
        """
        try:
            return await asyncio.to_thread(self._through_gate, action, hold, reported, by)
        except GaelpError as refusal:
            return refusal

    def _through_gate(
        self, action: Action, hold: Hold, reported: Reported, by: Principal
    ) -> Admission | GaelpError:
        _, [refusal] = self._switches.split([hold])
        if isinstance(refusal, GaelpError):
            return refusal
        return self._runtime.store.transact(
            reviews.admit, action, hold, reported=reported, by=by, now=utc_now()
        )

    def _measure(self, count: int, seconds: float) -> None:
        meters.count(LEDGER_OPERATIONS, count, shard=self._shard)
        meters.observe(LEDGER_COMMIT_SECONDS, seconds)

    async def _expire(self) -> None:
        end = partial(_end_holds, now=utc_now())
        store = self._runtime.store
        ended = await asyncio.to_thread(
            round_of, store, EXPIRE_HOLDS, ledger_store.due, end, limit=EXPIRE_BATCH
        )
        meters.count(HOLDS_EXPIRED, ended)

    async def _expire_approvals(self) -> None:
        end = partial(self._runtime.store.transact, approvals.expire_due, now=utc_now())
        await asyncio.to_thread(end)

    async def _measure_safety(self) -> None:
        for metric, count in self._proved.items():
            meters.gauge(metric, count)
        read, now = self._runtime.store.read, utc_now()
        meters.gauge(KILL_SWITCHES, len(await asyncio.to_thread(read, switches.engaged)))
        found = await asyncio.to_thread(partial(read, reviews.violation_counts, since=now - VIOLATIONS_OF))
        for severity in Severity:
            count = sum(n for (kind, _), n in found.items() if kind == severity)
            meters.gauge(VIOLATIONS, count, severity=severity)

    async def _advance_ramps(self) -> None:
        step = partial(ramps.advance, now=utc_now())
        await asyncio.to_thread(each_of, self._runtime.store, RAMPS, ramps.live_ids, step)

    async def _prove_ledger(self) -> None:
        prove = partial(self._runtime.store.transact, statements.reconcile, now=utc_now())
        differences = await asyncio.to_thread(prove)
        self._prove(LEDGER_DIFFERENCES, len(differences))
        for difference in differences[:10]:
            log.error("the ledger does not add up", extra={"difference": str(difference)})

    async def _prove_audit(self) -> None:
        proof = await asyncio.to_thread(self._runtime.store.transact, audit.verify)
        self._prove(AUDIT_BREAKS, len(proof.breaks))
        for each in proof.breaks[:10]:
            log.error("the audit was changed", extra={"break": each.message})

    def _prove(self, metric: Metric, count: int) -> None:
        self._proved[metric] = count
        meters.gauge(metric, count)


def _end_holds(tx: Connection, keys: Sequence[str], *, now: datetime) -> None:
    """End holds that are past their time, all or nothing; raises if one stays pending.

    A refusal that says that somebody has resolved the hold meanwhile is as good.
    """
    outcomes = ledger.apply(tx, [Expire(hold_key=key) for key in keys], now=now)
    held = ledger_store.get_holds(tx, keys)
    for key, outcome in zip(keys, outcomes, strict=True):
        if key in held and held[key].state is HoldState.PENDING:
            raise outcome if isinstance(outcome, GaelpError) else Conflict(f"Hold {key!r} stays pending.")
