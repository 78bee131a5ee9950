"""The ledger in the database: locked, read and written in a handful of statements for a whole batch.

Locks are taken in one order: that of the kill switches, the rows of accounts by id, then keys of operations
by their text. Windows and holds are changed only by who holds the rows of all their accounts.

The windows of one account and period never overlap, and one that was opened stays as it is: an entry counts
in the window that is open around it, though a release of tzdata may have moved the clock of its zone since. A
window that would overlap is opened in the part that is free.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, CursorResult, TextClause, exists, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain.booking import Book, Changes, UsageKey, usages_needed
from gaelp_ray.domain.budgets import Alert, Usage
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import (
    Answer,
    AtExpiry,
    Correct,
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
from gaelp_ray.domain.money import MAX_MICROS
from gaelp_ray.domain.switches import Board
from gaelp_ray.domain.windows import Period, Window, gaps
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import switches as switch_store
from gaelp_ray.store.engine import LostRace
from gaelp_ray.store.tables import jobs, ledger_operations, money_holds, overdue_holds
from gaelp_ray.store.tables.ledger import WINDOW_PART

#: How long a hold that could not be ended is left alone, the first time and at most.
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
_PERIODS = {str(period): period for period in Period}
#: No window is longer, whatever a clock was set by.
_LONGEST = {
    Period.HOUR: timedelta(hours=2),
    Period.DAY: timedelta(days=3),
    Period.WEEK: timedelta(days=9),
    Period.MONTH: timedelta(days=33),
    Period.TOTAL: timedelta(days=1),
}


def lock_book(tx: Connection, requests: Sequence[Request], *, now: datetime) -> Book:
    """Everything that deciding the requests needs, under lock until the transaction ends."""
    hold_keys = {r.hold_key for r in requests if isinstance(r, Post | Void | Settle | Expire)}
    hold_keys |= {r.hold_key for r in requests if isinstance(r, Correct) and r.hold_key is not None}
    ids = {i for r in requests if not isinstance(r, Post | Void | Settle | Expire) for i in r.account_ids}
    asked = [r for r in requests if isinstance(r, Hold)]
    jobs_named = {r.job_id for r in asked if r.job_id is not None}
    if asked:
        switch_store.lock_shared(tx)
    ids |= _accounts_of(tx, hold_keys)
    accounts = account_store.lock(tx, ids)
    holds = _holds(tx, hold_keys)
    if not all(ids.issuperset(held.account_ids) for held in holds.values()):
        raise LostRace  # A hold was made after its accounts were looked for.
    keys = {r.key for r in requests}
    keys |= {r.follows for r in asked if r.follows is not None}
    answers = _answers(tx, keys)
    book = Book(
        accounts=accounts,
        limits=account_store.limits(tx, ids),
        holds=_holds(tx, {r.key for r in asked if r.key in answers}) | holds,
        answers=answers,
        jobs=_existing_jobs(tx, jobs_named),
        board=switch_store.board(tx, account_ids=ids, job_ids=jobs_named) if asked else Board(),
    )
    book.usages = windows(tx, usages_needed(book, requests, now).values())
    return book


def due(connection: Connection, *, now: datetime, limit: int) -> list[str]:
    """Keys of holds that are past their time, the longest overdue first; without those that are set aside."""
    aside = overdue_holds.c
    set_aside = exists().where(aside.hold_key == money_holds.c.key, aside.try_again_at > now)
    query = (
        select(money_holds.c.key)
        .where(money_holds.c.state == HoldState.PENDING, money_holds.c.expires_at <= now, ~set_aside)
        .order_by(money_holds.c.expires_at)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def lock_accounts_of(tx: Connection, hold_keys: Iterable[str]) -> None:
    """Hold the rows of every account of these holds until the end of the transaction."""
    account_store.lock(tx, _accounts_of(tx, hold_keys))


def set_aside(tx: Connection, hold_key: str, error: str, *, now: datetime) -> int:
    """Note that a hold could not be ended; it is due again later, and later each time. Returns the count."""
    columns = overdue_holds.c
    values = {"hold_key": hold_key, "tries": 1, "error": error[:1000], "at": now}
    tries = columns.tries + 1
    wait = func.least(_FIRST_WAIT * func.power(2, columns.tries), _LONGEST_WAIT)
    added = upsert(overdue_holds).values(values | {"try_again_at": now + _FIRST_WAIT})
    added = added.on_conflict_do_update(
        index_elements=["hold_key"],
        set_={"tries": tries, "error": error[:1000], "at": now, "try_again_at": literal(now) + wait},
    )
    return int(tx.execute(added.returning(columns.tries)).scalar_one())


def pending_holds(connection: Connection, account_id: int, *, limit: int) -> list[HeldMoney]:
    """What is held on an account, first what expires first."""
    query = (
        select(money_holds)
        .where(money_holds.c.state == HoldState.PENDING, money_holds.c.account_ids.contains([account_id]))
        .order_by(money_holds.c.expires_at, money_holds.c.key)
        .limit(limit)
    )
    return [_held(row) for row in connection.execute(query)]


def get_holds(connection: Connection, keys: Iterable[str]) -> dict[str, HeldMoney]:
    """By key; those that do not exist are left out."""
    return _holds(connection, keys)


def answers(connection: Connection, keys: Iterable[str]) -> dict[str, Answer]:
    """By key, of those under which something was answered."""
    return _answers(connection, keys)


def add_answer(tx: Connection, key: str, answer: Answer, *, now: datetime) -> None:
    """Keep an answer that changes nothing else. Raises ``LostRace`` as ``write`` does."""
    write(tx, Changes(now, answers={key: answer}))


def get_hold(connection: Connection, key: str) -> HeldMoney | None:
    return _holds(connection, {key}).get(key)


def windows(tx: Connection, needed: Iterable[Usage]) -> dict[UsageKey, Usage]:
    """The windows as booked that are open anywhere in those needed, and new ones where none is.

    A new one begins with what its entries add up to, for a limit can be set in the middle of its window. It
    is stored when something is booked in it.
    """
    asked = list(needed)
    found = read_windows(tx, asked)
    missing = _missing(asked, found.values())
    if missing:
        found |= _usages(_with_rows(tx, _ADD_UP, [_window_row(usage) for usage in missing]), missing)
    return found


def read_windows(connection: Connection, needed: Iterable[Usage]) -> dict[UsageKey, Usage]:
    """Those as booked that are open anywhere in windows needed."""
    asked = list(needed)
    if not asked:
        return {}
    return _usages(_with_rows(connection, _WINDOWS, [_window_row(usage) for usage in asked]), asked)


def _usages(rows: Iterable[Any], asked: Iterable[Usage]) -> dict[UsageKey, Usage]:
    limits = {(usage.account_id, usage.period): usage.limit_micros for usage in asked}
    found = {}
    for account_id, name, starts_at, ends_at, pending, posted, pending_parts, posted_parts, *told in rows:
        period = _PERIODS[name]
        span, limit = Window(starts_at, ends_at), limits[account_id, period]
        sums = _whole(pending, pending_parts), _whole(posted, posted_parts)
        found[account_id, period, starts_at] = Usage(account_id, period, span, limit, *sums, *told)
    return found


def _whole(micros: int, parts: int) -> int:
    """A sum as it is stored, in one number."""
    return int(micros) + parts * WINDOW_PART


def _parted(micros: int) -> tuple[int, int]:
    """A sum as it is stored: what its column holds of it, and the parts beyond."""
    if abs(micros) <= MAX_MICROS:
        return micros, 0
    parts, rest = divmod(micros, WINDOW_PART)
    return rest, parts


def present(connection: Connection, empty: Sequence[Usage], *, now: datetime) -> list[Usage]:
    """Each window as booked that is open around a moment; those that are not yet stay empty."""
    booked = {
        (usage.account_id, usage.period): usage
        for usage in read_windows(connection, empty).values()
        if now in usage.window
    }
    return [booked.get((usage.account_id, usage.period), usage) for usage in empty]


def _missing(needed: Iterable[Usage], found: Iterable[Usage]) -> list[Usage]:
    """What of the windows needed is not open."""
    taken: dict[tuple[int, Period], list[Window]] = defaultdict(list)
    for usage in found:
        taken[usage.account_id, usage.period].append(usage.window)
    return [
        replace(usage, window=gap)
        for usage in needed
        for gap in gaps(usage.window, taken[usage.account_id, usage.period])
    ]


def write(tx: Connection, changes: Changes) -> None:
    """Write all of it. Raises ``LostRace`` if another transaction answered one of the keys meanwhile."""
    answered = sorted(changes.answers.items())
    if answered:
        rows = [_operation_row(key, answer, changes.notes.get(key), changes.at) for key, answer in answered]
        if _with_rows(tx, _ADD_OPERATIONS, rows).rowcount < len(rows):
            raise LostRace
    if changes.opened:
        _with_rows(tx, _OPEN_HOLDS, [_hold_row(held) for held in changes.opened.values()])
    if changes.resolved:
        _with_rows(tx, _RESOLVE_HOLDS, [_resolution_row(held) for held in changes.resolved.values()])
    if changes.entries:
        _with_rows(tx, _ADD_ENTRIES, _entry_rows(changes.entries))
    write_usages(tx, list(changes.usages.values()), changes.alerts)


def write_usages(tx: Connection, usages: Sequence[Usage], alerts: Sequence[Alert]) -> None:
    if usages:
        _with_rows(tx, _SET_WINDOWS, [_usage_row(usage) for usage in usages])
    if alerts:
        _with_rows(tx, _ADD_ALERTS, [_alert_row(alert) for alert in alerts])


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
    return {row.key: _held(row) for row in connection.execute(query).all()}


def _answers(connection: Connection, keys: Iterable[str]) -> dict[str, Answer]:
    query = select(ledger_operations).where(ledger_operations.c.key == func.any(list(keys)))
    return {row.key: _answer(row) for row in connection.execute(query).all()}


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
    return Answer(row.digest, kind, outcome)


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


def _rows(statement: str, columns: str) -> TextClause:
    """A statement over ``:rows``, a list of objects with these columns.

    One text for all of them: PostgreSQL reads it several times faster than thousands of parameters.
    """
    return text(statement.replace(":rows", f"json_to_recordset(:rows) AS rows ({columns})"))


def _with_rows(tx: Connection, statement: TextClause, rows: Sequence[Mapping[str, Any]]) -> CursorResult[Any]:
    return tx.execute(statement, {"rows": json.dumps(rows, default=datetime.isoformat)})


_WINDOW_KEY = "account_id bigint, period text, starts_at timestamptz"
_WINDOW = f"{_WINDOW_KEY}, ends_at timestamptz, since timestamptz"
# The bound ``since`` is for the index; the others are exact.
_WINDOWS = _rows(
    """
    SELECT w.account_id, w.period, w.starts_at, w.ends_at, w.pending_micros, w.posted_micros,
           w.pending_parts, w.posted_parts, w.told_percent, w.breached_at, w.told_limit_micros
    FROM :rows
    JOIN account_windows w ON w.account_id = rows.account_id AND w.period = rows.period
        AND w.starts_at > rows.since AND w.starts_at < rows.ends_at AND w.ends_at > rows.starts_at
    """,
    _WINDOW,
)
_ADD_UP = _rows(
    """
    SELECT rows.account_id, rows.period, rows.starts_at, rows.ends_at,
           coalesce(sum(e.pending_micros), 0), coalesce(sum(e.posted_micros), 0), 0, 0
    FROM :rows
    LEFT JOIN ledger_entries e ON e.account_id = rows.account_id
        AND e.counted_at >= rows.starts_at AND e.counted_at < rows.ends_at
    GROUP BY rows.account_id, rows.period, rows.starts_at, rows.ends_at
    """,
    _WINDOW,
)
_SET_WINDOWS = _rows(
    """
    INSERT INTO account_windows (account_id, period, starts_at, ends_at, pending_micros, posted_micros,
                                 pending_parts, posted_parts, told_percent, breached_at, told_limit_micros)
    SELECT account_id, period, starts_at, ends_at, pending, posted, pending_parts, posted_parts, told,
           breached_at, told_limit
    FROM :rows
    ON CONFLICT (account_id, period, starts_at) DO UPDATE
    SET pending_micros = excluded.pending_micros, posted_micros = excluded.posted_micros,
        pending_parts = excluded.pending_parts, posted_parts = excluded.posted_parts,
        told_percent = excluded.told_percent, breached_at = excluded.breached_at,
        told_limit_micros = excluded.told_limit_micros
    """,
    f"{_WINDOW_KEY}, ends_at timestamptz, pending bigint, posted bigint, pending_parts bigint, "
    "posted_parts bigint, told int, breached_at timestamptz, told_limit bigint",
)
_ADD_ALERTS = _rows(
    """
    INSERT INTO budget_alerts (account_id, period, starts_at, percent, limit_micros, pending_micros,
                               posted_micros, at)
    SELECT * FROM :rows
    -- Told before: the limit is what it was once.
    ON CONFLICT (account_id, period, starts_at, percent, limit_micros) DO NOTHING
    """,
    f"{_WINDOW_KEY}, percent int, limit_micros bigint, pending bigint, posted bigint, at timestamptz",
)
_ADD_OPERATIONS = _rows(
    """
    INSERT INTO ledger_operations (key, operation, digest, refusal, message, details, hold_key,
                                   amount_micros, expires_at, breached, note, at)
    SELECT * FROM :rows
    ON CONFLICT (key) DO NOTHING
    """,
    """key text, operation text, digest text, refusal text, message text, details jsonb, hold_key text,
       amount_micros bigint, expires_at timestamptz, breached boolean, note text, at timestamptz""",
)
_OPEN_HOLDS = _rows(
    """
    INSERT INTO money_holds (key, account_ids, currency, amount_micros, margin_micros, at_expiry, job_id,
                             state, posted_micros, created_at, expires_at, resolved_at)
    SELECT * FROM :rows
    """,
    """key text, account_ids bigint[], currency text, amount_micros bigint, margin_micros bigint,
       at_expiry text, job_id bigint, state text, posted_micros bigint, created_at timestamptz,
       expires_at timestamptz, resolved_at timestamptz""",
)
_RESOLVE_HOLDS = _rows(
    """
    UPDATE money_holds h
    SET state = rows.state, posted_micros = rows.posted, resolved_at = rows.resolved_at,
        reported_micros = rows.reported
    FROM :rows WHERE h.key = rows.key
    """,
    "key text, state text, posted bigint, resolved_at timestamptz, reported bigint",
)
_ADD_ENTRIES = _rows(
    """
    INSERT INTO ledger_entries (account_id, operation, key, hold_key, pending_micros, posted_micros,
                                counted_at, at)
    SELECT account_id, operation, key, hold_key, pending, posted, counted_at, at
    FROM :rows CROSS JOIN LATERAL unnest(account_ids) AS account_id
    """,
    """account_ids bigint[], operation text, key text, hold_key text, pending bigint, posted bigint,
       counted_at timestamptz, at timestamptz""",
)


def _operation_row(key: str, answer: Answer, note: str | None, at: datetime) -> dict[str, Any]:
    row = {"key": key, "operation": answer.operation, "digest": answer.digest, "note": note, "at": at}
    outcome = answer.outcome
    if isinstance(outcome, GaelpError):
        refused = {"refusal": outcome.code, "message": outcome.message, "details": outcome.details}
        return row | refused | {"breached": False}
    return row | {
        "hold_key": outcome.hold_key,
        "amount_micros": outcome.amount_micros,
        "expires_at": outcome.expires_at,
        "breached": outcome.breached,
    }


def _hold_row(held: HeldMoney) -> dict[str, Any]:
    return {
        "key": held.key,
        "account_ids": held.account_ids,
        "currency": held.currency,
        "amount_micros": held.amount_micros,
        "margin_micros": held.margin_micros,
        "at_expiry": held.at_expiry,
        "job_id": held.job_id,
        "state": held.state,
        "posted_micros": held.posted_micros,
        "created_at": held.created_at,
        "expires_at": held.expires_at,
        "resolved_at": held.resolved_at,
    }


def _resolution_row(held: HeldMoney) -> dict[str, Any]:
    return {
        "key": held.key,
        "state": held.state,
        "posted": held.posted_micros,
        "resolved_at": held.resolved_at,
        "reported": held.reported_micros,
    }


def _entry_rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """One for each operation: its entries differ in nothing but the account."""
    return [_entry_row(list(booked)) for _, booked in groupby(entries, key=attrgetter("key"))]


def _entry_row(booked: Sequence[Entry]) -> dict[str, Any]:
    entry = booked[0]
    return {
        "account_ids": [each.account_id for each in booked],
        "operation": entry.operation,
        "key": entry.key,
        "hold_key": entry.hold_key,
        "pending": entry.pending_micros,
        "posted": entry.posted_micros,
        "counted_at": entry.counted_at,
        "at": entry.at,
    }


def _window_key(usage: Usage) -> dict[str, Any]:
    return {
        "account_id": usage.account_id,
        "period": usage.period,
        "starts_at": usage.window.starts_at,
    }


def _window_row(usage: Usage) -> dict[str, Any]:
    span = usage.window
    reach = {"ends_at": span.ends_at, "since": span.starts_at - _LONGEST[usage.period]}
    return _window_key(usage) | reach


def _usage_row(usage: Usage) -> dict[str, Any]:
    pending, pending_parts = _parted(usage.pending_micros)
    posted, posted_parts = _parted(usage.posted_micros)
    return _window_key(usage) | {
        "ends_at": usage.window.ends_at,
        "pending": pending,
        "posted": posted,
        "pending_parts": pending_parts,
        "posted_parts": posted_parts,
        "told": usage.told_percent,
        "breached_at": usage.breached_at,
        "told_limit": usage.told_limit_micros,
    }


def _alert_row(alert: Alert) -> dict[str, Any]:
    usage = alert.usage
    return _usage_row(usage) | {
        "percent": alert.percent,
        "limit_micros": usage.limit_micros,
        # As much as a row of an alert can say; the window itself says all.
        "pending": min(usage.pending_micros, MAX_MICROS),
        "posted": min(usage.posted_micros, MAX_MICROS),
        "at": alert.at,
    }
