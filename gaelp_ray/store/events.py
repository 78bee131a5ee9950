"""The history of jobs, and the feed of it in an order that never skips a late commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    func,
    insert,
    literal_column,
    select,
    text,
    tuple_,
)

from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import JobEvent, JobState
from gaelp_ray.store import rows
from gaelp_ray.store.tables import job_events


def add(
    tx: Connection,
    *,
    job_id: int,
    agent_id: int,
    event: JobEvent,
    from_state: JobState | None,
    to_state: JobState,
    actor: str,
    now: datetime,
    attempt: int | None = None,
    message: str = "",
    data: Mapping[str, Any] | None = None,
) -> None:
    tx.execute(
        insert(job_events).values(
            job_id=job_id,
            agent_id=agent_id,
            attempt=attempt,
            event=event,
            from_state=from_state,
            to_state=to_state,
            actor=actor,
            message=message,
            data=dict(data or {}),
            at=now,
        )
    )


def of_job(connection: Connection, job_id: int, *, after: int, limit: int) -> list[JobEventRecord]:
    """Oldest first, ids above ``after``."""
    query = (
        select(job_events)
        .where(job_events.c.job_id == job_id, job_events.c.id > after)
        .order_by(job_events.c.id)
        .limit(limit)
    )
    return [rows.event(row) for row in connection.execute(query)]


@dataclass(frozen=True, order=True)
class Cursor:
    """A place in the feed: everything at or before it has been read."""

    xid: int
    id: int


def preemptions(
    connection: Connection, *, of_job: int | None = None, for_job: int | None = None
) -> list[JobEventRecord]:
    """When a job was told to make room, or all that were told to make room for one; oldest first."""
    query = select(job_events).where(job_events.c.event == JobEvent.PREEMPT).order_by(job_events.c.id)
    if of_job is not None:
        query = query.where(job_events.c.job_id == of_job)
    if for_job is not None:
        query = query.where(job_events.c.data.contains({"for_job": for_job}))
    return [rows.event(row) for row in connection.execute(query)]


@dataclass(frozen=True)
class Touched:
    """Events that moved jobs in or out of the queue, or in it."""

    #: Event id -> transaction id and job.
    events: Mapping[int, tuple[int, int]]
    #: Every transaction with a smaller id is over: its events are among these, or were read before.
    safe_xid: int


_TOUCHED = text(
    """
    WITH moment AS (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS safe_xid)
    SELECT moment.safe_xid, touched.id, touched.xid::text::bigint AS xid, touched.job_id
    FROM moment
    LEFT JOIN job_events AS touched
        ON touched.xid >= CAST(CAST(:from_xid AS text) AS xid8)
        AND (touched.to_state = 'queued' OR touched.from_state = 'queued')
    """
)


def touched(connection: Connection, from_xid: int) -> Touched:
    """What happened to the queue in transactions from ``from_xid`` on, also in those above the watermark.

    The feed stops at the first transaction under way, since its readers must hear things in order. Whoever
    only wants to know which jobs to look at again need not wait: he reads everything that is there, and goes
    on from ``safe_xid``, so that what commits late is read then.
    """
    found = connection.execute(_TOUCHED, {"from_xid": from_xid}).all()
    events = {row.id: (row.xid, row.job_id) for row in found if row.id is not None}
    return Touched(events, found[0].safe_xid)


def safe_xid(connection: Connection) -> int:
    """The transaction id below which everything is over."""
    query = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return int(connection.execute(query).scalar_one())


def feed_end(connection: Connection) -> Cursor:
    """The place from which only events of transactions not yet finished will follow."""
    return Cursor(xid=safe_xid(connection) - 1, id=2**62)


def feed(connection: Connection, after: Cursor, *, limit: int) -> tuple[list[JobEventRecord], Cursor]:
    """Events after the cursor whose every earlier transaction has finished, oldest first, and the new cursor.

    An id is drawn before its transaction commits, so ``id > last`` would skip a slow one. Transaction ids
    below ``pg_snapshot_xmin`` are all finished; stopping there never skips.
    """
    xid: ColumnElement[int] = literal_column("xid::text::bigint", BigInteger)
    query = _following(select(job_events, xid.label("feed_xid")), xid, after).limit(limit)
    found = connection.execute(query).all()
    cursor = Cursor(found[-1].feed_xid, found[-1].id) if found else after
    return [rows.event(row) for row in found], cursor


def feed_places(connection: Connection, after: Cursor, *, limit: int) -> list[Cursor]:
    """The places of the events that ``feed`` would read, whatever is in them."""
    xid: ColumnElement[int] = literal_column("xid::text::bigint", BigInteger)
    query = _following(select(xid.label("feed_xid"), job_events.c.id), xid, after).limit(limit)
    return [Cursor(row.feed_xid, row.id) for row in connection.execute(query)]


def get_many(connection: Connection, event_ids: Sequence[int]) -> dict[int, JobEventRecord]:
    """Events by id; those that do not exist are left out."""
    query = select(job_events).where(job_events.c.id == func.any(list(event_ids)))
    return {row.id: rows.event(row) for row in connection.execute(query)}


def _following(query: Select[Any], xid: ColumnElement[int], after: Cursor) -> Select[Any]:
    return query.where(
        literal_column("xid < pg_snapshot_xmin(pg_current_snapshot())"),
        # The first condition uses the index, the second is exact.
        text("xid >= CAST(CAST(:from_xid AS text) AS xid8)").bindparams(from_xid=after.xid),
        tuple_(xid, job_events.c.id) > tuple_(after.xid, after.id),
    ).order_by(job_events.c.xid, job_events.c.id)
