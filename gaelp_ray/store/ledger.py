"""The ledger in the database: locked, read and written in a handful of statements for a whole batch.

Locks are taken in one order: the rows of accounts by id, then keys of operations by their text. Windows and
holds are changed only by who holds the rows of all their accounts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, TextClause, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Boolean, DateTime, Integer, LargeBinary, Text, TypeEngine

from gaelp_ray.domain.booking import Book, Changes, UsageKey, usages_needed
from gaelp_ray.domain.budgets import Alert, Usage
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import (
    Answer,
    AtExpiry,
    Entry,
    Expire,
    HeldMoney,
    Hold,
    HoldState,
    Operation,
    Outcome,
    Post,
    Receipt,
    Request,
    Settle,
    Void,
    refusal,
)
from gaelp_ray.domain.windows import Period
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store.engine import LostRace
from gaelp_ray.store.tables import jobs, ledger_operations, money_holds

_MOMENT = DateTime(timezone=True)


def lock_book(tx: Connection, requests: Sequence[Request], *, now: datetime) -> Book:
    """Everything that deciding the requests needs, under lock until the transaction ends."""
    hold_keys = {r.hold_key for r in requests if isinstance(r, Post | Void | Settle | Expire)}
    ids = {i for r in requests if not isinstance(r, Post | Void | Settle | Expire) for i in r.account_ids}
    ids |= _accounts_of(tx, hold_keys)
    accounts = account_store.lock(tx, ids)
    holds = _holds(tx, hold_keys)
    if not all(ids.issuperset(held.account_ids) for held in holds.values()):
        raise LostRace  # A hold was made after its accounts were looked for.
    keys = {r.key for r in requests}
    asked = [r for r in requests if isinstance(r, Hold)]
    keys |= {r.follows for r in asked if r.follows is not None}
    book = Book(
        accounts=accounts,
        limits=account_store.limits(tx, ids),
        holds=holds,
        answers=_answers(tx, keys),
        jobs=_existing_jobs(tx, {r.job_id for r in asked if r.job_id is not None}),
    )
    book.usages = ensure_windows(tx, usages_needed(book, requests, now))
    return book


def due(connection: Connection, *, now: datetime, limit: int) -> list[str]:
    """Keys of holds that are past their time, the longest overdue first."""
    query = (
        select(money_holds.c.key)
        .where(money_holds.c.state == HoldState.PENDING, money_holds.c.expires_at <= now)
        .order_by(money_holds.c.expires_at)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def pending_holds(connection: Connection, account_id: int, *, limit: int) -> list[HeldMoney]:
    """What is held on an account, first what expires first."""
    query = (
        select(money_holds)
        .where(money_holds.c.state == HoldState.PENDING, money_holds.c.account_ids.contains([account_id]))
        .order_by(money_holds.c.expires_at, money_holds.c.key)
        .limit(limit)
    )
    return [_held(row) for row in connection.execute(query)]


def get_hold(connection: Connection, key: str) -> HeldMoney | None:
    return _holds(connection, {key}).get(key)


def ensure_windows(tx: Connection, needed: dict[UsageKey, Usage]) -> dict[UsageKey, Usage]:
    """The windows as booked; one that is new begins with what its entries add up to.

    It may have some: a limit can be set in the middle of its window.
    """
    found = read_windows(tx, needed)
    missing = {key: usage for key, usage in needed.items() if key not in found}
    if missing:
        tx.execute(_OPEN_WINDOWS, _keys(missing))
        found |= read_windows(tx, missing)
    return found


def read_windows(connection: Connection, needed: dict[UsageKey, Usage]) -> dict[UsageKey, Usage]:
    """Those that are booked."""
    found = {}
    for row in connection.execute(_WINDOWS, _keys(needed)):
        key = (row.account_id, Period(row.period), row.starts_at)
        found[key] = replace(
            needed[key],
            pending_micros=row.pending_micros,
            posted_micros=row.posted_micros,
            told_percent=row.told_percent,
            breached_at=row.breached_at,
        )
    return found


def write(tx: Connection, changes: Changes) -> None:
    """Write all of it. Raises ``LostRace`` if another transaction answered one of the keys meanwhile."""
    if changes.answers:
        _write_operations(tx, changes)
    if changes.opened:
        tx.execute(_OPEN_HOLDS, _hold_columns(list(changes.opened.values())))
    if changes.resolved:
        tx.execute(_RESOLVE_HOLDS, _resolution_columns(list(changes.resolved.values())))
    if changes.entries:
        tx.execute(_ADD_ENTRIES, _entry_columns(changes.entries))
    write_usages(tx, list(changes.usages.values()), changes.alerts)


def write_usages(tx: Connection, usages: Sequence[Usage], alerts: Sequence[Alert]) -> None:
    if usages:
        tx.execute(_SET_WINDOWS, _usage_columns(usages))
    if alerts:
        tx.execute(_ADD_ALERTS, _alert_columns(alerts))


def _accounts_of(tx: Connection, hold_keys: Iterable[str]) -> set[int]:
    keys = list(hold_keys)
    if not keys:
        return set()
    query = select(money_holds.c.account_ids).where(money_holds.c.key == func.any(keys))
    return {account_id for ids in tx.execute(query).scalars() for account_id in ids}


def _holds(connection: Connection, keys: Iterable[str]) -> dict[str, HeldMoney]:
    wanted = list(keys)
    if not wanted:
        return {}
    query = select(money_holds).where(money_holds.c.key == func.any(wanted))
    return {row.key: _held(row) for row in connection.execute(query)}


def _answers(tx: Connection, keys: Iterable[str]) -> dict[str, Answer]:
    query = select(ledger_operations).where(ledger_operations.c.key == func.any(list(keys)))
    return {row.key: _answer(row) for row in tx.execute(query)}


def _existing_jobs(tx: Connection, job_ids: set[int]) -> frozenset[int]:
    if not job_ids:
        return frozenset()
    return frozenset(tx.execute(select(jobs.c.id).where(jobs.c.id == func.any(list(job_ids)))).scalars())


def _answer(row: Any) -> Answer:
    kind = Operation(row.operation)
    outcome: Outcome
    if row.refusal is not None:
        outcome = refusal(row.refusal, row.message, row.details)
    else:
        outcome = Receipt(
            row.key, kind, row.amount_micros, row.at, row.hold_key, row.expires_at, row.breached
        )
    return Answer(bytes(row.digest), kind, outcome)


def _held(row: Any) -> HeldMoney:
    return HeldMoney(
        key=row.key,
        account_ids=tuple(row.account_ids),
        currency=row.currency,
        amount_micros=row.amount_micros,
        margin_micros=row.margin_micros,
        at_expiry=AtExpiry(row.at_expiry),
        job_id=row.job_id,
        created_at=row.created_at,
        expires_at=row.expires_at,
        state=HoldState(row.state),
        posted_micros=row.posted_micros,
        resolved_at=row.resolved_at,
        reported_micros=row.reported_micros,
    )


def _rows(statement: str, **columns: TypeEngine[Any]) -> TextClause:
    """A statement over ``:rows``, which stands for columns given as arrays of one length."""
    arrays = f"unnest({', '.join(f':{name}' for name in columns)}) AS rows ({', '.join(columns)})"
    typed = [bindparam(name, type_=ARRAY(kind)) for name, kind in columns.items()]
    return text(statement.replace(":rows", arrays)).bindparams(*typed)


_WINDOW_KEY: dict[str, TypeEngine[Any]] = {
    "account_id": BigInteger(),
    "period": Text(),
    "starts_at": _MOMENT,
}
_WINDOWS = _rows(
    "SELECT w.* FROM :rows JOIN account_windows w USING (account_id, period, starts_at)",
    **_WINDOW_KEY,
    ends_at=_MOMENT,
)
_OPEN_WINDOWS = _rows(
    """
    INSERT INTO account_windows (account_id, period, starts_at, ends_at, pending_micros, posted_micros)
    SELECT rows.account_id, rows.period, rows.starts_at, rows.ends_at,
           coalesce(sum(e.pending_micros), 0), coalesce(sum(e.posted_micros), 0)
    FROM :rows
    LEFT JOIN ledger_entries e ON e.account_id = rows.account_id
        AND e.counted_at >= rows.starts_at AND e.counted_at < rows.ends_at
    GROUP BY rows.account_id, rows.period, rows.starts_at, rows.ends_at
    """,
    **_WINDOW_KEY,
    ends_at=_MOMENT,
)
_SET_WINDOWS = _rows(
    """
    UPDATE account_windows w
    SET pending_micros = rows.pending, posted_micros = rows.posted, told_percent = rows.told,
        breached_at = rows.breached_at
    FROM :rows
    WHERE (w.account_id, w.period, w.starts_at) = (rows.account_id, rows.period, rows.starts_at)
    """,
    **_WINDOW_KEY,
    pending=BigInteger(),
    posted=BigInteger(),
    told=Integer(),
    breached_at=_MOMENT,
)
_ADD_ALERTS = _rows(
    """
    INSERT INTO budget_alerts (account_id, period, starts_at, percent, limit_micros, pending_micros,
                               posted_micros, at)
    SELECT * FROM :rows
    """,
    **_WINDOW_KEY,
    percent=Integer(),
    limit_micros=BigInteger(),
    pending=BigInteger(),
    posted=BigInteger(),
    at=_MOMENT,
)
_ADD_OPERATIONS = _rows(
    """
    INSERT INTO ledger_operations (key, operation, digest, refusal, message, details, hold_key,
                                   amount_micros, expires_at, breached, note, at)
    SELECT key, operation, digest, refusal, message, details::jsonb, hold_key,
           amount_micros, expires_at, breached, note, at
    FROM :rows
    ON CONFLICT (key) DO NOTHING
    """,
    key=Text(),
    operation=Text(),
    digest=LargeBinary(),
    refusal=Text(),
    message=Text(),
    details=Text(),
    hold_key=Text(),
    amount_micros=BigInteger(),
    expires_at=_MOMENT,
    breached=Boolean(),
    note=Text(),
    at=_MOMENT,
)
_OPEN_HOLDS = _rows(
    """
    INSERT INTO money_holds (key, account_ids, currency, amount_micros, margin_micros, at_expiry, job_id,
                             state, posted_micros, created_at, expires_at, resolved_at)
    SELECT key, account_ids::bigint[], currency, amount_micros, margin_micros, at_expiry, job_id,
           state, posted_micros, created_at, expires_at, resolved_at
    FROM :rows
    """,
    key=Text(),
    # An array of arrays would have to be a rectangle.
    account_ids=Text(),
    currency=Text(),
    amount_micros=BigInteger(),
    margin_micros=BigInteger(),
    at_expiry=Text(),
    job_id=BigInteger(),
    state=Text(),
    posted_micros=BigInteger(),
    created_at=_MOMENT,
    expires_at=_MOMENT,
    resolved_at=_MOMENT,
)
_RESOLVE_HOLDS = _rows(
    """
    UPDATE money_holds h
    SET state = rows.state, posted_micros = rows.posted, resolved_at = rows.resolved_at,
        reported_micros = rows.reported
    FROM :rows WHERE h.key = rows.key
    """,
    key=Text(),
    state=Text(),
    posted=BigInteger(),
    resolved_at=_MOMENT,
    reported=BigInteger(),
)
_ADD_ENTRIES = _rows(
    """
    INSERT INTO ledger_entries (account_id, operation, key, hold_key, pending_micros, posted_micros,
                                counted_at, at)
    SELECT * FROM :rows
    """,
    account_id=BigInteger(),
    operation=Text(),
    key=Text(),
    hold_key=Text(),
    pending=BigInteger(),
    posted=BigInteger(),
    counted_at=_MOMENT,
    at=_MOMENT,
)


def _write_operations(tx: Connection, changes: Changes) -> None:
    answered = sorted(changes.answers.items())
    outcomes = [answer.outcome for _, answer in answered]
    columns = {
        "key": [key for key, _ in answered],
        "operation": [str(answer.operation) for _, answer in answered],
        "digest": [answer.digest for _, answer in answered],
        "note": [changes.notes.get(key) for key, _ in answered],
        "at": [changes.at] * len(answered),
    }
    added = tx.execute(_ADD_OPERATIONS, columns | _outcome_columns(outcomes))
    if added.rowcount < len(answered):
        raise LostRace


def _outcome_columns(outcomes: Sequence[Outcome]) -> dict[str, list[Any]]:
    refused = [o if isinstance(o, GaelpError) else None for o in outcomes]
    done = [o if isinstance(o, Receipt) else None for o in outcomes]
    return {
        "refusal": [o and o.code for o in refused],
        "message": [o and o.message for o in refused],
        "details": [None if o is None else json.dumps(o.details) for o in refused],
        "hold_key": [o and o.hold_key for o in done],
        "amount_micros": [None if o is None else o.amount_micros for o in done],
        "expires_at": [o and o.expires_at for o in done],
        "breached": [o is not None and o.breached for o in done],
    }


def _hold_columns(opened: Sequence[HeldMoney]) -> dict[str, list[Any]]:
    return {
        "key": [h.key for h in opened],
        "account_ids": [f"{{{','.join(map(str, h.account_ids))}}}" for h in opened],
        "currency": [h.currency for h in opened],
        "amount_micros": [h.amount_micros for h in opened],
        "margin_micros": [h.margin_micros for h in opened],
        "at_expiry": [str(h.at_expiry) for h in opened],
        "job_id": [h.job_id for h in opened],
        "state": [str(h.state) for h in opened],
        "posted_micros": [h.posted_micros for h in opened],
        "created_at": [h.created_at for h in opened],
        "expires_at": [h.expires_at for h in opened],
        "resolved_at": [h.resolved_at for h in opened],
    }


def _resolution_columns(resolved: Sequence[HeldMoney]) -> dict[str, list[Any]]:
    return {
        "key": [h.key for h in resolved],
        "state": [str(h.state) for h in resolved],
        "posted": [h.posted_micros for h in resolved],
        "resolved_at": [h.resolved_at for h in resolved],
        "reported": [h.reported_micros for h in resolved],
    }


def _entry_columns(entries: Sequence[Entry]) -> dict[str, list[Any]]:
    return {
        "account_id": [e.account_id for e in entries],
        "operation": [str(e.operation) for e in entries],
        "key": [e.key for e in entries],
        "hold_key": [e.hold_key for e in entries],
        "pending": [e.pending_micros for e in entries],
        "posted": [e.posted_micros for e in entries],
        "counted_at": [e.counted_at for e in entries],
        "at": [e.at for e in entries],
    }


def _keys(usages: dict[UsageKey, Usage]) -> dict[str, list[Any]]:
    each = list(usages.values())
    return _window_columns(each) | {"ends_at": [u.window.ends_at for u in each]}


def _window_columns(usages: Sequence[Usage]) -> dict[str, list[Any]]:
    return {
        "account_id": [u.account_id for u in usages],
        "period": [str(u.period) for u in usages],
        "starts_at": [u.window.starts_at for u in usages],
    }


def _usage_columns(usages: Sequence[Usage]) -> dict[str, list[Any]]:
    return _window_columns(usages) | {
        "pending": [u.pending_micros for u in usages],
        "posted": [u.posted_micros for u in usages],
        "told": [u.told_percent for u in usages],
        "breached_at": [u.breached_at for u in usages],
    }


def _alert_columns(alerts: Sequence[Alert]) -> dict[str, list[Any]]:
    return _window_columns([a.usage for a in alerts]) | {
        "percent": [a.percent for a in alerts],
        "limit_micros": [a.usage.limit_micros for a in alerts],
        "pending": [a.usage.pending_micros for a in alerts],
        "posted": [a.usage.posted_micros for a in alerts],
        "at": [a.at for a in alerts],
    }
