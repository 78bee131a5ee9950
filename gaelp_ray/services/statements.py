"""Reads of the ledger: statements, balances of the past, projections, and the proof that all adds up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain.budgets import Alert, Projection, Usage, project
from gaelp_ray.domain.ledger import Balance, Difference, Line
from gaelp_ray.services import accounts as account_service
from gaelp_ray.store import statements
from gaelp_ray.store.positions import Position

#: What the pace of a projection is measured over.
RECENT = timedelta(hours=24)
_PAGE = 1000

#: Columns of an exported row, in order.
COLUMNS = (
    "id",
    "at",
    "account_id",
    "operation",
    "key",
    "hold_key",
    "pending_micros",
    "posted_micros",
    "counted_at",
    "balance_pending_micros",
    "balance_posted_micros",
    "note",
)


def balance(connection: Connection, account_id: int, *, at: datetime) -> Balance:
    """What was pending and posted at any moment of the past."""
    account_service.account(connection, account_id)
    return statements.balance(connection, account_id, at=at)


def statement(
    connection: Connection,
    account_id: int,
    *,
    since: datetime,
    until: datetime | None,
    after: int | None = None,
    opening: Balance | None = None,
    limit: int,
) -> list[Line]:
    """Entries from ``since`` on and before ``until``, in the order in which they were booked, each with the
    balance of the account then.

    ``after`` is the id of the last line of the page before, ``opening`` its balance, for who knows it.
    Without ``until``, who goes on page by page while others book misses nothing.
    """
    account_service.account(connection, account_id)
    return statements.lines(
        connection, account_id, since=since, until=until, after=after, opening=opening, limit=limit
    )


def export(
    connection: Connection, account_id: int, *, since: datetime, until: datetime
) -> Iterator[dict[str, Any]]:
    """Every line of a statement as a flat row of ``COLUMNS``, for CSV and JSON; read in pages."""
    account_service.account(connection, account_id)
    after: int | None = None
    opening: Balance | None = None
    page: list[Line] = []
    while after is None or len(page) == _PAGE:
        page = statements.lines(
            connection, account_id, since=since, until=until, after=after, opening=opening, limit=_PAGE
        )
        yield from map(row, page)
        if not page:
            return
        last = page[-1]
        after, opening = last.id, Balance(last.pending_micros, last.posted_micros)


def alerts(connection: Connection, account_id: int, *, after: int = 0, limit: int) -> list[tuple[int, Alert]]:
    """``(id, alert)`` of an account in the order in which they were raised, ids above ``after``."""
    return statements.alerts(connection, account_id, after=after, limit=limit)


def all_alerts(
    connection: Connection, *, after: Position | None = None, limit: int
) -> list[tuple[Position, Alert]]:
    """Of every account, each with its place in the list; who goes on from one misses none."""
    return statements.all_alerts(connection, after=after, limit=limit)


def projections(connection: Connection, account_id: int, *, now: datetime) -> list[tuple[Usage, Projection]]:
    """Each present window with where it leads at the pace of the last day."""
    spent = statements.posted_since(connection, account_id, since=now - RECENT, until=now)
    return [
        (usage, project(usage, recent_micros=spent, recent=RECENT, now=now))
        for usage in account_service.usages(connection, account_id, now=now)
    ]


def reconcile(connection: Connection, *, now: datetime) -> list[Difference]:
    """Prove that windows and holds are the sums of their entries and that no ended job holds money.

    Returns what is otherwise. Each proof sees the database at one moment.
    """
    return statements.differences(connection, now=now)


def row(line: Line) -> dict[str, Any]:
    """A line as a flat row of ``COLUMNS``."""
    entry = line.entry
    values = (
        line.id,
        entry.at.isoformat(),
        entry.account_id,
        str(entry.operation),
        entry.key,
        entry.hold_key,
        entry.pending_micros,
        entry.posted_micros,
        entry.counted_at.isoformat(),
        line.pending_micros,
        line.posted_micros,
        line.note,
    )
    return dict(zip(COLUMNS, values, strict=True))
