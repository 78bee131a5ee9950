"""What the entries of the ledger add up to: balances, statements, alerts, and proofs that all is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select, text

from gaelp_ray.domain.budgets import Alert, Usage
from gaelp_ray.domain.jobs import TERMINAL
from gaelp_ray.domain.ledger import Balance, Difference, Entry, Line, Operation
from gaelp_ray.domain.windows import Period, Window
from gaelp_ray.store.tables import account_windows, budget_alerts, ledger_entries, ledger_operations


def balance(connection: Connection, account_id: int, *, at: datetime) -> Balance:
    """With everything booked up to a moment, that moment included."""
    return _sum(connection, account_id, ledger_entries.c.at <= at)


def posted_since(connection: Connection, account_id: int, *, since: datetime, until: datetime) -> int:
    """Micros that were posted from ``since`` on and before ``until``."""
    columns = ledger_entries.c
    return _sum(connection, account_id, columns.at >= since, columns.at < until).posted_micros


def used_between(connection: Connection, account_id: int, *, since: datetime, until: datetime) -> int:
    """Micros that were held from ``since`` on and before ``until``, less what of them returned."""
    columns = ledger_entries.c
    counted = _sum(connection, account_id, columns.counted_at >= since, columns.counted_at < until)
    return counted.pending_micros + counted.posted_micros


@dataclass(frozen=True, slots=True)
class After:
    """Where a page of a statement ended."""

    at: datetime
    id: int


def lines(
    connection: Connection,
    account_id: int,
    *,
    since: datetime,
    until: datetime,
    after: After | None = None,
    opening: Balance | None = None,
    limit: int,
) -> list[Line]:
    """Entries from ``since`` on and before ``until``, oldest first, each with the balance after it.

    ``opening`` is the balance before the page, for who knows it; else it is added up.
    """
    columns = ledger_entries.c
    place = func.row(columns.at, columns.id)
    first = columns.at >= since if after is None else place > func.row(after.at, after.id)
    earlier = columns.at < since if after is None else place <= func.row(after.at, after.id)
    query = (
        select(ledger_entries, ledger_operations.c.note)
        .join(ledger_operations, ledger_operations.c.key == columns.key)
        .where(columns.account_id == account_id, first, columns.at < until)
        .order_by(columns.at, columns.id)
        .limit(limit)
    )
    opening = opening or _sum(connection, account_id, earlier)
    pending, posted = opening.pending_micros, opening.posted_micros
    found = []
    for row in connection.execute(query):
        pending, posted = pending + row.pending_micros, posted + row.posted_micros
        found.append(Line(row.id, _entry(row), pending, posted, row.note))
    return found


def alerts(
    connection: Connection, *, account_id: int | None, after: int, limit: int
) -> list[tuple[int, Alert]]:
    """``(id, alert)`` in the order in which they were raised, ids above ``after``."""
    columns, windows = budget_alerts.c, account_windows.c
    same = (columns.account_id == windows.account_id) & (columns.period == windows.period)
    query = (
        select(budget_alerts, windows.ends_at)
        .join(account_windows, same & (columns.starts_at == windows.starts_at))
        .where(columns.id > after)
        .order_by(columns.id)
        .limit(limit)
    )
    if account_id is not None:
        query = query.where(columns.account_id == account_id)
    return [(row.id, _alert(row)) for row in connection.execute(query)]


def differences(connection: Connection, *, now: datetime) -> list[Difference]:
    """Everything in the ledger that is not as it must be; empty when all is right.

    One statement a proof, and so one view of the database each.
    """
    ended = [str(state) for state in TERMINAL]
    given: Mapping[str, Any] = {"now": now, "ended": ended}
    return [
        Difference(kind, str(row.subject), row.expected, row.found)
        for kind, proof in _PROOFS.items()
        for row in connection.execute(text(proof), given)
    ]


_PROOFS = {
    "entry": """
        SELECT format('entry %s', e.id) AS subject,
               format('operation %s, hold %s', e.key, e.hold_key) AS expected,
               format('operation %s, hold %s', o.key, h.key) AS found
        FROM ledger_entries e
        LEFT JOIN ledger_operations o ON o.key = e.key
        LEFT JOIN money_holds h ON h.key = e.hold_key
        WHERE o.key IS NULL OR (e.hold_key IS NOT NULL AND h.key IS NULL)
        ORDER BY e.id""",
    "window": """
        SELECT format('account %s, %s from %s', w.account_id, w.period, w.starts_at) AS subject,
               format('pending %s, posted %s', s.pending, s.posted) AS expected,
               format('pending %s, posted %s', w.pending_micros, w.posted_micros) AS found
        FROM account_windows w CROSS JOIN LATERAL (
            SELECT coalesce(sum(pending_micros), 0) AS pending, coalesce(sum(posted_micros), 0) AS posted
            FROM ledger_entries e
            WHERE e.account_id = w.account_id AND e.counted_at >= w.starts_at AND e.counted_at < w.ends_at
        ) s
        WHERE (w.pending_micros, w.posted_micros) <> (s.pending, s.posted)
        ORDER BY w.account_id, w.starts_at""",
    "hold": """
        SELECT h.key AS subject, format('pending %s, posted %s', h.pending, h.posted) AS expected,
               format('account %s: pending %s, posted %s', h.account_id, h.sum_pending, h.sum_posted) AS found
        FROM (
            SELECT m.key, part.account_id,
                   CASE m.state WHEN 'pending' THEN m.amount_micros + m.margin_micros ELSE 0 END AS pending,
                   coalesce(m.reported_micros, m.posted_micros) AS posted,
                   coalesce(sum(e.pending_micros), 0) AS sum_pending,
                   coalesce(sum(e.posted_micros), 0) AS sum_posted
            FROM money_holds m CROSS JOIN unnest(m.account_ids) AS part (account_id)
            LEFT JOIN ledger_entries e ON e.hold_key = m.key AND e.account_id = part.account_id
            GROUP BY m.key, part.account_id
        ) h
        WHERE (h.pending, h.posted) <> (h.sum_pending, h.sum_posted)
        ORDER BY h.key, h.account_id""",
    "job": """
        SELECT h.key AS subject, format('no money held for job %s, which is %s', j.id, j.state) AS expected,
               format('%s micros', h.amount_micros + h.margin_micros) AS found
        FROM money_holds h JOIN jobs j ON j.id = h.job_id
        WHERE h.state = 'pending' AND j.state = ANY(:ended) AND h.expires_at > :now
        ORDER BY h.key""",
    "attempt": """
        SELECT a.id AS subject, format('money held for slice %s', a.slices) AS expected,
               coalesce(h.state, 'none') AS found
        FROM attempts a
        LEFT JOIN money_holds h ON h.key = format('attempt %s slice %s', a.token, a.slices)
        WHERE a.ended_at IS NULL AND a.slices > 0 AND (h.key IS NULL OR h.state IN ('posted', 'voided'))
        ORDER BY a.id""",
    "overdue": """
        SELECT key AS subject, format('ended at %s', expires_at) AS expected, 'pending' AS found
        FROM money_holds WHERE state = 'pending' AND expires_at <= :now - interval '1 minute'
        ORDER BY key""",
}


def _sum(connection: Connection, account_id: int, *conditions: Any) -> Balance:
    columns = ledger_entries.c
    query = select(
        func.coalesce(func.sum(columns.pending_micros), 0), func.coalesce(func.sum(columns.posted_micros), 0)
    ).where(columns.account_id == account_id, *conditions)
    pending, posted = connection.execute(query).one()
    return Balance(int(pending), int(posted))


def _entry(row: Any) -> Entry:
    return Entry(
        row.account_id,
        Operation(row.operation),
        row.key,
        row.hold_key,
        row.pending_micros,
        row.posted_micros,
        row.counted_at,
        row.at,
    )


def _alert(row: Any) -> Alert:
    usage = Usage(
        row.account_id,
        Period(row.period),
        Window(row.starts_at, row.ends_at),
        row.limit_micros,
        row.pending_micros,
        row.posted_micros,
        row.percent,
    )
    return Alert(usage, row.percent, row.at)
