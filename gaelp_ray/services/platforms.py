"""Use cases of ad platforms: their reports are stored, held against the ledger, and booked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.ledger import Correct, HeldMoney, Outcome, Receipt
from gaelp_ray.domain.platforms import DeliveryReport, Placements
from gaelp_ray.domain.reconciliation import Mismatch, reconcile, repairs
from gaelp_ray.domain.roles import Role
from gaelp_ray.services import audit, ledger, roles
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store import platforms as platform_store
from gaelp_ray.store import reviews as review_store


def receive(
    tx: Connection, reports: Sequence[DeliveryReport], *, by: Principal = SYSTEM, now: datetime
) -> int:
    """Store reports as they come; those that were received before are left. Returns how many are new.

    Needs the role of an operator.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    return platform_store.add(tx, reports, now=now)


def placements(connection: Connection, platform: str, agent_id: int, *, prefix: str) -> Placements:
    """Orders of an agent whose keys begin so, with what was reported of each."""
    orders = platform_store.placements(connection, platform, agent_id, prefix=prefix)
    return Placements(tuple(orders), review_store.peak_profit(connection, agent_id))


def differences(
    connection: Connection,
    platform: str,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    placed: Sequence[str] = (),
    by: Principal = SYSTEM,
) -> list[Mismatch]:
    """On which orders a platform and the ledger differ: those of which reports came in the period.

    ``placed`` names orders that were placed there, to find those of which it said nothing. Needs the role of
    an operator or auditor.
    """
    roles.require(connection, Role.OPERATOR, Role.AUDITOR, by=by)
    return _compare(connection, platform, since, until, now, placed)[0]


def book(
    tx: Connection,
    platform: str,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    by: Principal = SYSTEM,
) -> list[Outcome]:
    """Settle and correct the ledger to what a platform reports; asked again it changes nothing.

    Needs the role of an operator.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    _, holds = _compare(tx, platform, since, until, now)
    account_store.lock(tx, {i for held in holds.values() for i in held.account_ids})
    # Once more, now that nobody else can resolve these holds.
    found, holds = _compare(tx, platform, since, until, now)
    asked = repairs(found, holds)
    outcomes = ledger.apply(tx, [repair.request for repair in asked], now=now)
    booked = [
        (repair, outcome)
        for repair, outcome in zip(asked, outcomes, strict=True)
        if isinstance(outcome, Receipt)
    ]
    for repair, _ in booked:
        if isinstance(repair.request, Correct):
            platform_store.add_correction(tx, repair.order_key, repair.request.delta_micros)
    for repair, receipt in booked:
        after = {"operation": receipt.operation, "amount_micros": receipt.amount_micros}
        audit.record(tx, "ledger.reconcile", f"order {repair.order_key}", by=by, now=now, after=after)
    return outcomes


def _compare(
    connection: Connection,
    platform: str,
    since: datetime,
    until: datetime,
    now: datetime,
    placed: Sequence[str] = (),
) -> tuple[list[Mismatch], dict[str, HeldMoney]]:
    reports = platform_store.latest(connection, platform, since=since, until=until)
    keys = sorted({*placed, *(report.order_key for report in reports)})
    holds = ledger_store.get_holds(connection, keys)
    corrected = platform_store.corrected(connection, keys)
    return reconcile(reports, holds, now, corrected=corrected), holds
