"""Reports of ad platforms in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, select, text, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain import names
from gaelp_ray.domain.platforms import DeliveryReport, Placement
from gaelp_ray.domain.reconciliation import Corrected
from gaelp_ray.store.tables import money_holds, platform_corrections, platform_reports, reviewed_actions


def add(tx: Connection, reports: Sequence[DeliveryReport], *, now: datetime) -> int:
    """Store those that are new; returns how many were."""
    if not reports:
        return 0
    rows = [
        {
            "platform": report.platform,
            "order_key": report.order_key,
            "number": report.number,
            "campaign": report.campaign,
            "currency": report.currency,
            "cost_micros": report.cost_micros,
            "final": report.final,
            "reported_at": report.reported_at,
            "received_at": now,
        }
        for report in reports
    ]
    return tx.execute(upsert(platform_reports).values(rows).on_conflict_do_nothing()).rowcount


def latest(
    connection: Connection, platform: str, *, since: datetime, until: datetime, placed: Sequence[str] = ()
) -> list[DeliveryReport]:
    """The report that counts of each order of which any report came in the period, and of those placed.

    That is the one with the highest number, whenever it came: what a platform said later is what it says. Of
    two with one number, as an older release took them in, it is the one that came first.
    """
    columns = platform_reports.c
    own = columns.platform.in_(_spellings(connection, platform))
    touched = select(columns.order_key).where(own, columns.received_at >= since, columns.received_at < until)
    return _latest(
        connection, platform, or_(columns.order_key.in_(touched), columns.order_key.in_(list(placed)))
    )


def latest_of(connection: Connection, platform: str, order_keys: Sequence[str]) -> list[DeliveryReport]:
    """The report that counts of each of these orders."""
    return _latest(connection, platform, platform_reports.c.order_key.in_(list(order_keys)))


def _latest(connection: Connection, platform: str, meant: ColumnElement[bool]) -> list[DeliveryReport]:
    columns = platform_reports.c
    query = (
        select(platform_reports)
        .ext(distinct_on(columns.order_key))
        .where(columns.platform.in_(_spellings(connection, platform)), meant)
        .order_by(columns.order_key, columns.number.desc(), columns.received_at, columns.platform)
    )
    return [_report(row) for row in connection.execute(query)]


def owners(connection: Connection, order_keys: Collection[str]) -> dict[str, str]:
    """The platform of each of these orders, by its canonical name: the one that reported it first."""
    columns = platform_reports.c
    query = (
        select(columns.order_key, columns.platform)
        .ext(distinct_on(columns.order_key))
        # With every platform named, the rows are found by their key.
        .where(columns.platform.in_(_platforms(connection)), columns.order_key.in_(list(order_keys)))
        .order_by(columns.order_key, columns.received_at, columns.platform)
    )
    return {row.order_key: names.canonical(row.platform) for row in connection.execute(query)}


def _spellings(connection: Connection, platform: str) -> list[str]:
    """How the name of a platform is written in reports: older ones have it as it was given."""
    wanted = names.canonical(platform)
    return [name for name in _platforms(connection) if names.canonical(name) == wanted]


def _platforms(connection: Connection) -> Sequence[str]:
    """Every platform that reported, each found from the one before instead of in all rows."""
    found: Sequence[str] = connection.execute(_PLATFORMS).scalars().all()
    return found


_PLATFORMS = text(
    """
    WITH RECURSIVE found (platform) AS (
        SELECT min(platform) FROM platform_reports
        UNION ALL
        SELECT (SELECT min(r.platform) FROM platform_reports r WHERE r.platform > found.platform)
        FROM found WHERE found.platform IS NOT NULL
    )
    SELECT platform FROM found WHERE platform IS NOT NULL
    """
)


def placements(connection: Connection, platform: str, agent_id: int, *, prefix: str) -> list[Placement]:
    """Orders of an agent for which money was held, those whose keys begin so, oldest first."""
    reviewed, said = reviewed_actions.c, platform_reports.c
    newest = (
        select(said.number, said.cost_micros, said.final)
        .where(said.platform.in_(_spellings(connection, platform)), said.order_key == reviewed.key)
        .order_by(said.number.desc(), said.received_at, said.platform)
        .limit(1)
        .lateral("newest")
    )
    query = (
        select(reviewed.key, newest.c.number, newest.c.cost_micros, newest.c.final)
        .join(money_holds, money_holds.c.key == reviewed.key)
        .outerjoin(newest, true())
        .where(reviewed.agent_id == agent_id, reviewed.key.startswith(prefix, autoescape=True))
        .order_by(reviewed.id)
    )
    return [
        Placement(
            order_key=row.key,
            number=row.number or 0,
            spent_micros=row.cost_micros or 0,
            final=bool(row.final),
        )
        for row in connection.execute(query)
    ]


def corrected(connection: Connection, order_keys: Sequence[str]) -> dict[str, Corrected]:
    """What the ledger booked beside the holds of these orders, by reports and by hand."""
    # Corrections of reports did not always name their hold; their keys begin with a hash of its.
    hashes = {sha256(key.encode()).hexdigest(): key for key in order_keys}
    found: dict[str, Corrected] = defaultdict(Corrected)
    for hold_key, order_hash, micros, times in connection.execute(
        _CORRECTED, {"keys": list(order_keys), "hashes": list(hashes)}
    ):
        key = hashes[order_hash] if hold_key is None else hold_key
        found[key] = Corrected(found[key].micros + int(micros), found[key].times + times)
    return dict(found)


def keep_correction(tx: Connection, order_key: str, micros: int) -> None:
    """Note what is corrected of an order in all, for processes that still read it here."""
    noted = upsert(platform_corrections).values(order_key=order_key, corrected_micros=micros)
    tx.execute(noted.on_conflict_do_update(index_elements=["order_key"], set_={"corrected_micros": micros}))


_CORRECTED = text(
    """
    SELECT hold_key, NULL AS order_hash, sum(amount_micros) AS micros, count(*) AS times
    FROM ledger_operations
    WHERE operation = 'correct' AND hold_key = ANY(:keys) AND refusal IS NULL
    GROUP BY hold_key
    UNION ALL
    SELECT NULL, split_part(key, ':', 2), sum(amount_micros), count(*)
    FROM ledger_operations
    WHERE operation = 'correct' AND key LIKE 'report:%' AND split_part(key, ':', 2) = ANY(:hashes)
        AND hold_key IS NULL AND refusal IS NULL
    GROUP BY 2
    """
)


def _report(row: Any) -> DeliveryReport:
    return DeliveryReport(
        platform=row.platform,
        order_key=row.order_key,
        number=row.number,
        campaign=row.campaign,
        currency=row.currency,
        cost_micros=row.cost_micros,
        final=row.final,
        reported_at=row.reported_at,
    )
