"""Checkpoint records; the files themselves lie under ``GAELP_STORAGE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on, insert

from gaelp_ray.domain.checkpoints import CheckpointRecord
from gaelp_ray.store import rows
from gaelp_ray.store.tables import attempts, checkpoints

_RECORD: Select[Any] = select(*checkpoints.c, attempts.c.number.label("attempt")).join(
    attempts, attempts.c.id == checkpoints.c.attempt_id
)


def add(
    tx: Connection,
    *,
    job_id: int,
    attempt_id: int,
    step: int,
    uri: str,
    address: str = "",
    digest: str,
    size_bytes: int,
    metrics: Mapping[str, float],
    now: datetime,
) -> None:
    """Record a checkpoint; the same one recorded twice is one."""
    tx.execute(
        insert(checkpoints)
        .values(
            job_id=job_id,
            attempt_id=attempt_id,
            step=step,
            uri=uri,
            address=address or None,
            digest=digest,
            size_bytes=size_bytes,
            metrics=dict(metrics),
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=["uri"])
    )


def of_job(connection: Connection, job_id: int) -> list[CheckpointRecord]:
    """Those that are kept, in the order in which they were saved."""
    query = _RECORD.where(checkpoints.c.job_id == job_id, checkpoints.c.deleted_at.is_(None))
    found = connection.execute(query.order_by(checkpoints.c.id))
    return [rows.checkpoint(row) for row in found]


def latest(connection: Connection, job_ids: Sequence[int]) -> dict[int, CheckpointRecord]:
    """The checkpoint that was saved last, of each job that has one."""
    query = (
        _RECORD.where(checkpoints.c.job_id == func.any(list(job_ids)), checkpoints.c.deleted_at.is_(None))
        .ext(distinct_on(checkpoints.c.job_id))
        .order_by(checkpoints.c.job_id, checkpoints.c.id.desc())
    )
    return {row.job_id: rows.checkpoint(row) for row in connection.execute(query)}


def mark_deleted(tx: Connection, checkpoint_ids: Sequence[int], *, now: datetime) -> None:
    if checkpoint_ids:
        tx.execute(
            update(checkpoints)
            .where(checkpoints.c.id == func.any(list(checkpoint_ids)))
            .values(deleted_at=now)
        )


def in_use(tx: Connection, checkpoint_ids: Sequence[int]) -> set[int]:
    """Those of them that a live attempt of another job works on."""
    query = select(attempts.c.input_checkpoint_id).where(
        attempts.c.ended_at.is_(None), attempts.c.input_checkpoint_id == func.any(list(checkpoint_ids))
    )
    return {each for each in tx.execute(query).scalars() if each is not None}


@dataclass(frozen=True)
class EndedAttempt:
    """An attempt that saves nothing any more."""

    id: int
    job_id: int
    number: int
    ended_at: datetime


def ended(
    connection: Connection, *, after: tuple[datetime, int], before: datetime, limit: int
) -> list[EndedAttempt]:
    """Attempts that ended after one and before a moment, in the order of their ends."""
    query = (
        select(attempts.c.id, attempts.c.job_id, attempts.c.number, attempts.c.ended_at)
        .where(attempts.c.ended_at.is_not(None), attempts.c.ended_at < before)
        .where(tuple_(attempts.c.ended_at, attempts.c.id) > after)
        .order_by(attempts.c.ended_at, attempts.c.id)
        .limit(limit)
    )
    return [EndedAttempt(*row) for row in connection.execute(query)]


def kept_of(connection: Connection, attempt_ids: Sequence[int]) -> set[str]:
    """Addresses of the checkpoints that attempts saved and that are kept."""
    query = _RECORD.where(
        checkpoints.c.attempt_id == func.any(list(attempt_ids)), checkpoints.c.deleted_at.is_(None)
    )
    return {rows.checkpoint(row).address for row in connection.execute(query)}
