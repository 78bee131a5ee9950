"""Waiting jobs as the planner sees them, and how many there are."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.domain.forecast import bounded
from gaelp_ray.domain.jobs import JobState
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.scheduling import QueuedJob, real_version
from gaelp_ray.store import rows
from gaelp_ray.store.tables import jobs, queue_depth

#: Rows that the server hands over at once when the whole queue is read.
BATCH = 5_000
#: The scheduler's count is believed for so long.
FRESH = timedelta(seconds=30)
#: So many are counted in a millisecond or two.
COUNTED_ALWAYS = 10_000
#: Below this share of the limit the scheduler's count is near enough.
NEAR = 0.9

_QUEUED: Select[Any] = select(
    jobs.c.id,
    jobs.c.row_version,
    jobs.c.lane,
    jobs.c.owner,
    jobs.c.agent_id,
    jobs.c.priority,
    jobs.c.submitted_at,
    jobs.c.queued_at,
    *rows.resources_columns(jobs),
    jobs.c.workers,
    jobs.c.selector,
    jobs.c.spot,
    jobs.c.preemptible,
    jobs.c.expected_s,
    jobs.c.expected_p90_s,
    jobs.c.deadline,
    jobs.c.preemptions,
    jobs.c.money,
    jobs.c.version_id,
).where(jobs.c.state == JobState.QUEUED)


def stream(tx: Connection) -> Iterator[QueuedJob]:
    """Every waiting job, through a cursor of the server's that lives as long as the transaction."""
    # Of the statement, not of the connection: what follows in the transaction is not streamed.
    found = tx.execute(_QUEUED.execution_options(stream_results=True, yield_per=BATCH))
    return map(_queued, found)


def ids(connection: Connection) -> list[int]:
    """Every waiting job's."""
    return list(connection.execute(select(jobs.c.id).where(jobs.c.state == JobState.QUEUED)).scalars())


def read(connection: Connection, job_ids: Sequence[int]) -> list[QueuedJob]:
    """Those of the jobs that wait."""
    found = connection.execute(_QUEUED.where(jobs.c.id == func.any(list(job_ids))))
    return [_queued(row) for row in found]


def _queued(row: Row[Any]) -> QueuedJob:
    return QueuedJob(
        id=row.id,
        row_version=row.row_version,
        lane=sys.intern(row.lane),
        owner=sys.intern(row.owner),
        team=None,
        agent_id=row.agent_id,
        priority=row.priority,
        submitted_at=row.submitted_at,
        queued_at=row.submitted_at if row.queued_at == row.submitted_at else row.queued_at,
        request=rows.request(row),
        preemptible=row.preemptible,
        expected_s=bounded(row.expected_s),
        expected_p90_s=bounded(row.expected_p90_s),
        deadline=row.deadline,
        preemptions=row.preemptions,
        real_version=real_version(Money(row.money), row.version_id),
    )


def waiting(connection: Connection, *, limit: int, now: datetime) -> int:
    """How many jobs wait, at most ``limit``.

    Far from a large limit the scheduler's last count will do; else they are counted.
    """
    if limit <= COUNTED_ALWAYS:
        return _count(connection, limit=limit)
    counted = connection.execute(
        select(queue_depth.c.waiting).where(queue_depth.c.counted_at > now - FRESH)
    ).scalar()
    if counted is not None and not limit * NEAR <= counted < limit:
        return min(int(counted), limit)
    return _count(connection, limit=limit)


def waiting_of(connection: Connection, owners: Sequence[str], *, limit: int) -> int:
    """How many jobs of these users wait, counted up to ``limit``."""
    return _count(connection, limit=limit, owners=owners)


def set_depth(tx: Connection, waiting: int, *, now: datetime) -> None:
    counted = {"waiting": waiting, "counted_at": now}
    tx.execute(
        insert(queue_depth).values(id=1, **counted).on_conflict_do_update(index_elements=["id"], set_=counted)
    )


def _count(connection: Connection, *, limit: int, owners: Sequence[str] | None = None) -> int:
    queued = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED).limit(limit)
    if owners is not None:
        queued = queued.where(jobs.c.owner == func.any(list(owners)))
    return int(connection.execute(select(func.count()).select_from(queued.subquery())).scalar_one())
