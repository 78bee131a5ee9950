"""The audit chain in the database."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, update

from gaelp_ray.domain.audit import Record, Seal, Sealed, seal
from gaelp_ray.store.tables import audit_head, audit_records

_PAGE = 1000


def add(tx: Connection, record: Record) -> Seal:
    """Seal a record behind the last. The end of the chain stays locked until the transaction ends."""
    query = select(audit_head.c.seq, audit_head.c.hash).with_for_update()
    sealed = seal(Seal(*tx.execute(query).one()), record)
    tx.execute(
        insert(audit_records).values(
            seq=sealed.seq,
            at=record.at,
            actor=record.actor,
            action=record.action,
            subject=record.subject,
            before=record.before,
            after=record.after,
            request_id=record.request_id,
            hash=sealed.hash,
        )
    )
    tx.execute(update(audit_head).values(seq=sealed.seq, hash=sealed.hash))
    return sealed


def lock(tx: Connection) -> None:
    """Hold the end of the chain until the transaction ends: who records after this waits for its commit.

    So ids that are drawn from here on, by who records what they are of, are in the order of the commits.
    """
    tx.execute(select(audit_head.c.seq).with_for_update())


def see_one_moment(tx: Connection) -> None:
    """All that this transaction reads from now on is of one moment. Must be the first thing it does."""
    tx.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def head(connection: Connection) -> Seal | None:
    """None where somebody took it away."""
    row = connection.execute(select(audit_head.c.seq, audit_head.c.hash)).one_or_none()
    return Seal(*row) if row else None


def chain(connection: Connection) -> Iterator[Sealed]:
    """Every record in the order of its number, read in pages."""
    after, full = 0, True
    while full:
        found = page(connection, after=after, limit=_PAGE)
        yield from found
        full = len(found) == _PAGE
        after = found[-1].seal.seq if found else after


def page(
    connection: Connection,
    *,
    subjects: Collection[str] | None = None,
    actors: Collection[str] | None = None,
    action: str | None = None,
    after: int,
    limit: int,
) -> list[Sealed]:
    """Those with numbers above ``after``, in order."""
    columns = audit_records.c
    query = select(audit_records).where(columns.seq > after).order_by(columns.seq).limit(limit)
    if subjects is not None:
        query = query.where(columns.subject.in_(subjects))
    if actors is not None:
        query = query.where(columns.actor.in_(actors))
    if action is not None:
        query = query.where(columns.action == action)
    return [_sealed(row) for row in connection.execute(query)]


def last(connection: Connection, *, subject: str, actions: Collection[str] = ()) -> int:
    """The number of the last record of a subject, of one of these actions; 0 where there is none."""
    columns = audit_records.c
    query = select(func.coalesce(func.max(columns.seq), 0)).where(columns.subject == subject)
    if actions:
        query = query.where(columns.action.in_(actions))
    return int(connection.execute(query).scalar_one())


def told(
    connection: Connection, *, subject: str, actions: Collection[str], after: int
) -> list[dict[str, Any]]:
    """The state after these actions on a subject, by records with numbers above ``after``."""
    columns = audit_records.c
    query = (
        select(columns.after)
        .where(columns.subject == subject, columns.seq > after, columns.action.in_(actions))
        .order_by(columns.seq)
    )
    return [json.loads(text) for text in connection.execute(query).scalars() if text is not None]


def between(connection: Connection, *, since: datetime, until: datetime) -> list[Sealed]:
    columns = audit_records.c
    query = select(audit_records).where(columns.at >= since, columns.at < until).order_by(columns.seq)
    return [_sealed(row) for row in connection.execute(query)]


def _sealed(row: Any) -> Sealed:
    record = Record(row.at, row.actor, row.action, row.subject, row.before, row.after, row.request_id)
    return Sealed(Seal(row.seq, row.hash), record)
