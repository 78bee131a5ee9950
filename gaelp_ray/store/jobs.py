"""Jobs in the database. Every change of state is guarded by the state and row version it was decided on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Connection, Text, bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from gaelp_ray.domain.jobs import Job, JobState, JobStatus, states_of
from gaelp_ray.store import rows
from gaelp_ray.store.tables import jobs


@dataclass(frozen=True)
class JobFilter:
    """None means any; ``owner`` None is for admins."""

    owner: str | None = None
    agent_id: int | None = None
    status: JobStatus | None = None
    phase: JobState | None = None
    priority: int | None = None


def add(tx: Connection, values: dict[str, Any]) -> Job:
    return rows.job(tx.execute(insert(jobs).values(**values).returning(*jobs.c)).one())


def get(connection: Connection, job_id: int) -> Job | None:
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    return rows.job(row) if row else None


def get_many(connection: Connection, job_ids: Sequence[int]) -> dict[int, Job]:
    found = connection.execute(select(jobs).where(jobs.c.id == func.any(list(job_ids))))
    return {row.id: rows.job(row) for row in found}


def lock(tx: Connection, job_id: int) -> Job | None:
    """The job, its row held until the transaction ends."""
    row = tx.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    return rows.job(row) if row else None


def lock_key(tx: Connection, owner: str, key: str) -> None:
    """Let submissions with one idempotency key take turns until the transaction ends."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{owner}/{key}", 0))))


def find_by_key(tx: Connection, owner: str, key: str) -> tuple[Job, str | None] | None:
    """The job submitted with an idempotency key, and the digest of the body it came with."""
    row = tx.execute(select(jobs).where(jobs.c.owner == owner, jobs.c.idempotency_key == key)).one_or_none()
    return (rows.job(row), row.request_digest) if row else None


def move(tx: Connection, job_id: int, *, from_state: JobState, to_state: JobState, **values: Any) -> bool:
    """Change the state if it still is ``from_state``; False means another was faster."""
    moved = tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.state == from_state)
        .values(state=to_state, row_version=jobs.c.row_version + 1, **values)
    )
    return moved.rowcount == 1


def page(connection: Connection, wanted: JobFilter, *, before: int | None, limit: int) -> list[Job]:
    """Newest first, ids below ``before``."""
    query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
    if wanted.owner is not None:
        query = query.where(jobs.c.owner == wanted.owner)
    if wanted.agent_id is not None:
        query = query.where(jobs.c.agent_id == wanted.agent_id)
    if wanted.status is not None:
        query = query.where(jobs.c.state.in_(states_of(wanted.status)))
    if wanted.phase is not None:
        query = query.where(jobs.c.state == wanted.phase)
    if wanted.priority is not None:
        query = query.where(jobs.c.priority == wanted.priority)
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [rows.job(row) for row in connection.execute(query)]


def count_by_state(connection: Connection) -> dict[str, int]:
    counted = connection.execute(select(jobs.c.state, func.count().label("total")).group_by(jobs.c.state))
    return {row.state: row.total for row in counted}


def count_queued(connection: Connection, *, limit: int) -> int:
    """Waiting jobs, counted up to ``limit`` so that the price stays bounded."""
    queued = select(jobs.c.id).where(jobs.c.state == JobState.QUEUED).limit(limit).subquery()
    return connection.execute(select(func.count()).select_from(queued)).scalar_one()


def live_ids_of_agent(tx: Connection, agent_id: int) -> list[int]:
    """Jobs of an agent that have not ended."""
    ended = [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED]
    query = (
        select(jobs.c.id).where(jobs.c.agent_id == agent_id, jobs.c.state.not_in(ended)).order_by(jobs.c.id)
    )
    return list(tx.execute(query).scalars())


def set_progress(
    tx: Connection, job_id: int, *, step: int | None, total_steps: int | None, metrics: dict[str, float]
) -> None:
    """Remember the newest report; an older step never overwrites a newer one."""
    tx.execute(
        update(jobs)
        .where(
            jobs.c.id == job_id, (jobs.c.step.is_(None)) | (jobs.c.step <= (step if step is not None else 0))
        )
        .values(
            step=step,
            total_steps=func.coalesce(total_steps, jobs.c.total_steps),
            latest_metrics=metrics,
        )
    )


_SET_WAITS = text(
    """
    UPDATE jobs SET wait_code = given.code, wait_message = given.message
    FROM unnest(:ids, :codes, :messages) AS given (id, code, message)
    WHERE jobs.id = given.id AND jobs.state = 'queued'
    """
).bindparams(
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("messages", type_=ARRAY(Text)),
)


def set_waits(tx: Connection, waits: Sequence[tuple[int, str, str]]) -> None:
    """Tell waiting jobs ``(id, code, message)`` why they wait."""
    if not waits:
        return
    ids, codes, messages = zip(*waits, strict=True)
    tx.execute(_SET_WAITS, {"ids": list(ids), "codes": list(codes), "messages": list(messages)})


def wake_due(tx: Connection, now: datetime) -> list[Job]:
    """Lock the jobs whose backoff is over."""
    query = (
        select(jobs)
        .where(jobs.c.state == JobState.BACKOFF, jobs.c.not_before <= now)
        .order_by(jobs.c.id)
        .limit(500)
        .with_for_update(skip_locked=True)
    )
    return [rows.job(row) for row in tx.execute(query)]
