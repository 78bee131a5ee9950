"""Use cases of ad platforms: their reports are stored, held against the ledger, and booked."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import instants, names, periods
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.errors import Conflict, InvalidInput
from gaelp_ray.domain.ledger import HeldMoney, HoldState, Outcome, Receipt
from gaelp_ray.domain.money import MAX_AMOUNT_MICROS
from gaelp_ray.domain.platforms import DeliveryReport, Placements
from gaelp_ray.domain.reconciliation import Corrected, Mismatch, Repair, reconcile, repairs
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

    Needs the role of an operator. Raises ``InvalidInput`` for a cost that the ledger could not book. Of
    what people bring it refuses what is of the future, and raises ``Conflict`` for an order that another
    platform reported first; what a job's own platform says is never lost, and told as a difference.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    if by is not SYSTEM:
        _require_own_orders(tx, reports)
        for report in reports:
            instants.past(report.reported_at, now, field="reported_at")
    for report in reports:
        if report.cost_micros > MAX_AMOUNT_MICROS:
            raise InvalidInput(
                f"`cost_micros` of an order may be at most {MAX_AMOUNT_MICROS}; got {report.cost_micros} for "
                f"{report.order_key!r}."
            )
    return platform_store.add(tx, reports, now=now)


def _require_own_orders(connection: Connection, reports: Sequence[DeliveryReport]) -> None:
    owners = platform_store.owners(connection, {report.order_key for report in reports})
    for report in reports:
        # Of two platforms in one request, which both are new to the order, the first has it.
        owner = owners.setdefault(report.order_key, report.platform)
        if owner != report.platform:
            raise Conflict(
                f"Order {report.order_key!r} is of platform {owner!r}, which reported it first; an order is "
                f"of one platform. Report it there, or {report.platform!r}'s orders by their own keys.",
                order_key=report.order_key,
                platform=owner,
            )


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
    periods.check(since, until)
    return _compare(connection, platform, since, until, now, placed).mismatches


def book(
    tx: Connection,
    platform: str,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    by: Principal = SYSTEM,
) -> list[Outcome]:
    """Settle and correct the ledger to what a platform reports now; asked again it changes nothing.

    The period says which orders are looked at: those of which reports came in it. What counts of each is the
    report with the highest number, whenever it came, and everything that the ledger booked for the order, so
    an older or narrower period that is asked for later finds nothing to do. Reports that come while a period
    is asked for may be stored a little later; those of the last minutes before it are looked at as well.
    Needs the role of an operator.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    periods.check(since, until)
    since -= instants.LEEWAY
    holds = _compare(tx, platform, since, until, now).holds
    account_store.lock(tx, {i for held in holds.values() for i in held.account_ids})
    # Once more, now that nobody else can resolve these holds or correct them.
    repaired = _repair(tx, _compare(tx, platform, since, until, now), holds, now)
    for repair, outcome in repaired:
        if isinstance(outcome, Receipt):
            after = {"operation": outcome.operation, "amount_micros": outcome.amount_micros}
            audit.record(tx, "ledger.reconcile", f"order {repair.order_key}", by=by, now=now, after=after)
    return [outcome for _, outcome in repaired]


def settle_final(
    tx: Connection, platform: str, order_keys: Collection[str], *, now: datetime
) -> list[Outcome]:
    """Settle those of these orders whose last report is in, with what is left beside their corrections.

    The report that counts is the stored one with the highest number. What was resolved otherwise before is
    left to ``book``.
    """
    ordered = sorted(order_keys)
    holds = {key: held for key, held in ledger_store.get_holds(tx, ordered).items() if _is_open(held)}
    account_store.lock(tx, {i for held in holds.values() for i in held.account_ids})
    # As they stand now that nobody else can resolve or correct them.
    found = _compare_orders(tx, platform, platform_store.latest_of(tx, platform, ordered), ordered, now)
    final = {report.order_key for report in found.reports if report.final}
    left = {key for key in final & holds.keys() if _is_open(found.holds[key])}
    return [outcome for _, outcome in _repair(tx, found, left, now)]


def _is_open(held: HeldMoney) -> bool:
    """Nobody has said yet what was spent of it."""
    late = held.state is HoldState.EXPIRED and held.reported_micros is None
    return held.state is HoldState.PENDING or late


def _repair(
    tx: Connection, found: _Compared, locked: Collection[str], now: datetime
) -> list[tuple[Repair, Outcome]]:
    """Book what platforms say of the orders whose accounts the caller holds."""
    mismatches = [each for each in found.mismatches if each.order_key in locked]
    asked = repairs(mismatches, found.holds, found.corrected)
    outcomes = ledger.apply(tx, [repair.request for repair in asked], now=now)
    repaired = list(zip(asked, outcomes, strict=True))
    touched = [repair.order_key for repair, outcome in repaired if isinstance(outcome, Receipt)]
    for order_key, corrected in platform_store.corrected(tx, touched).items():
        platform_store.keep_correction(tx, order_key, corrected.micros)
    return repaired


@dataclass(frozen=True)
class _Compared:
    reports: list[DeliveryReport]
    mismatches: list[Mismatch]
    holds: dict[str, HeldMoney]
    corrected: dict[str, Corrected]


def _compare(
    connection: Connection,
    platform: str,
    since: datetime,
    until: datetime,
    now: datetime,
    placed: Sequence[str] = (),
) -> _Compared:
    reports = platform_store.latest(connection, platform, since=since, until=until, placed=placed)
    keys = {*placed, *(report.order_key for report in reports)}
    return _compare_orders(connection, platform, reports, keys, now)


def _compare_orders(
    connection: Connection,
    platform: str,
    reports: list[DeliveryReport],
    order_keys: Collection[str],
    now: datetime,
) -> _Compared:
    keys = sorted(order_keys)
    holds = ledger_store.get_holds(connection, keys)
    corrected = platform_store.corrected(connection, keys)
    others = {
        key
        for key, owner in platform_store.owners(connection, keys).items()
        if owner != names.canonical(platform)
    }
    found = reconcile(reports, holds, now, corrected=corrected, of_others=others)
    return _Compared(reports, found, holds, corrected)
