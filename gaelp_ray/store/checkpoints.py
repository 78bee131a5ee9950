"""Checkpoint records; the files themselves lie under ``GAELP_STORAGE``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, update
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
            digest=digest,
            size_bytes=size_bytes,
            metrics=dict(metrics),
            created_at=now,
        )
        .on_conflict_do_nothing(index_elements=["uri"])
    )


def of_job(connection: Connection, job_id: int) -> list[CheckpointRecord]:
    """Those that still exist, oldest first."""
    query = _RECORD.where(checkpoints.c.job_id == job_id, checkpoints.c.deleted_at.is_(None))
    found = connection.execute(query.order_by(checkpoints.c.step, checkpoints.c.id))
    return [rows.checkpoint(row) for row in found]


def latest(connection: Connection, job_ids: Sequence[int]) -> dict[int, CheckpointRecord]:
    """The newest existing checkpoint of each job that has one."""
    query = (
        _RECORD.where(checkpoints.c.job_id == func.any(list(job_ids)), checkpoints.c.deleted_at.is_(None))
        .ext(distinct_on(checkpoints.c.job_id))
        .order_by(checkpoints.c.job_id, checkpoints.c.step.desc(), checkpoints.c.id.desc())
    )
    return {row.job_id: rows.checkpoint(row) for row in connection.execute(query)}


def mark_deleted(tx: Connection, checkpoint_ids: Sequence[int], *, now: datetime) -> None:
    if checkpoint_ids:
        tx.execute(
            update(checkpoints)
            .where(checkpoints.c.id == func.any(list(checkpoint_ids)))
            .values(deleted_at=now)
        )
