"""What the entries of the ledger add up to: balances, statements, alerts, and proofs that all is right."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, text

from gaelp_ray.domain.budgets import Alert, Usage
from gaelp_ray.domain.jobs import TERMINAL
from gaelp_ray.domain.ledger import Balance, Difference, Entry, Line, Operation
from gaelp_ray.domain.windows import Period, Window
from gaelp_ray.store.positions import Position, feed
from gaelp_ray.store.tables import account_windows, budget_alerts, ledger_entries, ledger_operations


def balance(connection: Connection, account_id: int, *, at: datetime) -> Balance:
    """With everything booked up to a moment, that moment included."""
    return _sum(connection, account_id, ledger_entries.c.at <= at)


def posted_since(connection: Connection, account_id: int, *, since: datetime, until: datetime) -> int:
    """Micros that were posted from ``since`` on and before ``until``."""
    columns = ledger_entries.c
    return _sum(connection, account_id, columns.at >= since, columns.at < until).posted_micros


def used_between(connection: Connection, account_id: int, *, since: datetime, until: datetime) -> int:
    """Micros that were held from ``since`` on and before ``until``, less what of them returned.

    As in a window, what was given back of other money makes no room.
    """
    columns = ledger_entries.c
    counted = _sum(connection, account_id, columns.counted_at >= since, columns.counted_at < until)
    return counted.pending_micros + max(0, counted.posted_micros)


def lines(
    connection: Connection,
    account_id: int,
    *,
    since: datetime,
    until: datetime | None,
    after: int | None = None,
    opening: Balance | None = None,
    limit: int,
) -> list[Line]:
    """Entries from ``since`` on and before ``until`` in the order in which they were booked, each with the
    balance of the account then.

    The entries of an account are numbered under its lock, so their ids are the order of their commits, and
    nobody who goes on after the last id that was seen misses one. The moments that they are of need not be
    in this order. ``opening`` is the balance after the entry ``after``, for who knows it.
    """
    columns = ledger_entries.c
    own = columns.account_id == account_id
    meant = columns.at >= since if until is None else (columns.at >= since) & (columns.at < until)
    query = (
        select(ledger_entries, ledger_operations.c.note, ledger_operations.c.hold_key.label("of_hold"))
        .join(ledger_operations, ledger_operations.c.key == columns.key)
        .where(own, meant)
        .order_by(columns.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(columns.id > after)
    rows = connection.execute(query).all()
    if not rows:
        return []
    before = after if after is not None and opening is not None else rows[0].id - 1
    balance = opening or _sum(connection, account_id, columns.id <= before)
    others = (
        select(columns.id, columns.pending_micros, columns.posted_micros)
        .where(own, columns.id > before, columns.id < rows[-1].id, ~meant)
        .order_by(columns.id)
    )
    return _lines(rows, connection.execute(others).all(), balance)


def _lines(rows: Sequence[Any], others: Sequence[Any], balance: Balance) -> list[Line]:
    """Rows as lines. ``others`` were booked in between, and count in the balance."""
    pending, posted = balance.pending_micros, balance.posted_micros
    found, unshown = [], deque(others)
    for row in rows:
        while unshown and unshown[0].id < row.id:
            other = unshown.popleft()
            pending, posted = pending + other.pending_micros, posted + other.posted_micros
        pending, posted = pending + row.pending_micros, posted + row.posted_micros
        found.append(Line(row.id, _entry(row), pending, posted, row.note))
    return found


def alerts(connection: Connection, account_id: int, *, after: int, limit: int) -> list[tuple[int, Alert]]:
    """``(id, alert)`` of an account in the order in which they were raised, ids above ``after``.

    They are numbered under its lock.
    """
    columns = budget_alerts.c
    query = _alerts().where(columns.account_id == account_id, columns.id > after)
    rows = connection.execute(query.order_by(columns.id).limit(limit))
    return [(row.id, _alert(row)) for row in rows]


def all_alerts(connection: Connection, *, after: Position | None, limit: int) -> list[tuple[Position, Alert]]:
    """Of every account, each with its place, in an order that skips none."""
    rows = connection.execute(feed(_alerts(), budget_alerts, after, limit=limit))
    return [(Position(row.position_xid, row.id), _alert(row)) for row in rows]


def _alerts() -> Select[Any]:
    columns, windows = budget_alerts.c, account_windows.c
    same = (columns.account_id == windows.account_id) & (columns.period == windows.period)
    return select(budget_alerts, windows.ends_at).join(
        account_windows, same & (columns.starts_at == windows.starts_at)
    )


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
               format('pending %s, posted %s', w.pending, w.posted) AS found
        FROM (
            SELECT account_id, period, starts_at, ends_at,
                   pending_micros + pending_parts * 4611686018427387904::numeric AS pending,
                   posted_micros + posted_parts * 4611686018427387904::numeric AS posted
            FROM account_windows
        ) w CROSS JOIN LATERAL (
            SELECT coalesce(sum(pending_micros), 0) AS pending, coalesce(sum(posted_micros), 0) AS posted
            FROM ledger_entries e
            WHERE e.account_id = w.account_id AND e.counted_at >= w.starts_at AND e.counted_at < w.ends_at
        ) s
        WHERE (w.pending, w.posted) <> (s.pending, s.posted)
        ORDER BY w.account_id, w.starts_at""",
    "hold": """
        SELECT h.key AS subject, format('pending %s, posted %s', h.pending, h.posted) AS expected,
               format('account %s: pending %s, posted %s', h.account_id, h.sum_pending, h.sum_posted) AS found
        FROM (
            SELECT m.key, part.account_id,
                   CASE m.state WHEN 'pending' THEN m.amount_micros::numeric + m.margin_micros ELSE 0 END
                       AS pending,
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
               format('%s micros', h.amount_micros::numeric + h.margin_micros) AS found
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
        # A correction is of no hold's own sum; its operation names what it corrects.
        row.hold_key or row.of_hold,
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
