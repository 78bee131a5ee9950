"""Jobs in the database. Every change of state is guarded by the state and row version it was decided on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    case,
    cast,
    func,
    insert,
    literal,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import array

from gaelp_ray.domain.duties import PLAN, QUEUE, START
from gaelp_ray.domain.jobs import TERMINAL, Job, JobState, JobStatus, states_of
from gaelp_ray.domain.scheduling.decisions import ASIDE_WORDS, WaitCode
from gaelp_ray.store import rows
from gaelp_ray.store.lists import left_out, small
from gaelp_ray.store.tables import attempts, jobs, lanes, set_aside


@dataclass(frozen=True)
class JobFilter:
    """None means any; ``owner`` None is for admins."""

    owner: str | None = None
    agent_id: int | None = None
    status: JobStatus | None = None
    phase: JobState | None = None
    priority: int | None = None
    ids: tuple[int, ...] | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found = [
            column == value
            for column, value in (
                (jobs.c.owner, self.owner),
                (jobs.c.agent_id, self.agent_id),
                (jobs.c.state, self.phase),
                (jobs.c.priority, self.priority),
            )
            if value is not None
        ]
        if self.status is not None:
            found.append(jobs.c.state.in_(states_of(self.status)))
        if self.ids is not None:
            found.append(jobs.c.id == func.any(list(self.ids)))
        return found


# Why a job waits is written on its lane, and is true of it only while it waits. A subquery is looked up for
# those alone; for a join the planner may read all lanes.
_reason = select(array([lanes.c.wait_code, lanes.c.wait_message])).where(lanes.c.lane == jobs.c.lane)
# One that the scheduler has set aside waits for a reason of its own.
_aside = (
    select(array([literal(str(WaitCode.MISCONFIGURED)), ASIDE_WORDS + set_aside.c.error]))
    .where(
        set_aside.c.duty.in_([each.name for each in (QUEUE, PLAN, START)]),
        set_aside.c.item == cast(jobs.c.id, Text),
    )
    .limit(1)
)
_why = func.coalesce(_aside.scalar_subquery(), _reason.scalar_subquery())
# What runs now, of those that may: a job has one live attempt at most.
_live = (attempts.c.job_id == jobs.c.id) & attempts.c.ended_at.is_(None)
_lives = jobs.c.state.in_([JobState.RUNNING, JobState.PREEMPTING, JobState.STOPPING])
_STANDS = (
    case((jobs.c.state == JobState.QUEUED, _why)).label("reason"),
    case((_lives, select(attempts.c.claimed_at).where(_live).scalar_subquery())).label("runs_since"),
    case((_lives, select(attempts.c.resumed_from_step).where(_live).scalar_subquery())).label(
        "runs_from_step"
    ),
)
_JOB: Select[Any] = select(*jobs.c, *_STANDS)


_DOCUMENTS = (jobs.c.hyperparameters, jobs.c.training_config, jobs.c.environment_vars)
_APART = {column.name for column in _DOCUMENTS} | {jobs.c.result.name}
#: As ``_JOB``, without results, and without what is large.
_LISTED: Select[Any] = select(
    *(column for column in jobs.c if column.name not in _APART),
    *map(small, _DOCUMENTS),
    null().label("result"),
    left_out(*_DOCUMENTS, result=jobs.c.result.is_not(None)),
    *_STANDS,
)


def _told(row: Row[Any]) -> Job:
    code, message = row.reason or (None, None)
    return rows.job(
        row,
        wait_code=code,
        wait_message=message,
        runs_since=row.runs_since,
        runs_from_step=row.runs_from_step,
    )


def add(tx: Connection, values: dict[str, Any]) -> Job:
    return rows.job(tx.execute(insert(jobs).values(**values).returning(*jobs.c)).one())


def get(connection: Connection, job_id: int) -> Job | None:
    row = connection.execute(_JOB.where(jobs.c.id == job_id)).one_or_none()
    return _told(row) if row else None


def get_many(connection: Connection, job_ids: Sequence[int]) -> dict[int, Job]:
    found = connection.execute(_JOB.where(jobs.c.id == func.any(list(job_ids))))
    return {row.id: _told(row) for row in found}


def lock(tx: Connection, job_id: int) -> Job | None:
    """The job, its row held until the transaction ends; without why it waits."""
    row = tx.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    return rows.job(row) if row else None


def lock_of_attempt(tx: Connection, attempt_id: int) -> Job | None:
    """The job of an attempt, its row held: jobs are always locked before their attempts."""
    job_id = select(attempts.c.job_id).where(attempts.c.id == attempt_id).scalar_subquery()
    row = tx.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).one_or_none()
    return rows.job(row) if row else None


def lock_all(tx: Connection, job_ids: Sequence[int]) -> None:
    """Hold the rows of many jobs, in the order in which everybody takes them."""
    query = select(jobs.c.id).where(jobs.c.id == func.any(list(job_ids))).order_by(jobs.c.id)
    tx.execute(query.with_for_update(key_share=True))


def lock_unended(tx: Connection, wanted: JobFilter, *, limit: int | None) -> list[Job]:
    """The first jobs that have not ended and were not told to, in the order of their ids, rows held."""
    over = [*TERMINAL, JobState.STOPPING]
    query = select(jobs).where(*wanted.conditions(), jobs.c.state.not_in(over)).order_by(jobs.c.id)
    return [rows.job(row) for row in tx.execute(query.limit(limit).with_for_update())]


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
    """Newest first, ids below ``before``. Results are left out, and what is large."""
    query = _LISTED.where(*wanted.conditions()).order_by(jobs.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(jobs.c.id < before)
    return [_told(row) for row in connection.execute(query)]


def count_by_state(connection: Connection) -> dict[str, int]:
    counted = connection.execute(select(jobs.c.state, func.count().label("total")).group_by(jobs.c.state))
    return {row.state: row.total for row in counted}


def recent_runs(connection: Connection, agent_id: int, *, limit: int) -> list[float]:
    """Seconds that an agent's last successful jobs took whose first attempt was their only one."""
    seconds = func.extract("epoch", jobs.c.finished_at - jobs.c.started_at)
    query = (
        select(seconds)
        .where(jobs.c.agent_id == agent_id, jobs.c.state == JobState.SUCCEEDED, jobs.c.attempt_number == 1)
        .order_by(jobs.c.finished_at.desc())
        .limit(limit)
    )
    return [float(each) for each in connection.execute(query).scalars() if each is not None]


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


def due(connection: Connection, *, now: datetime, limit: int) -> list[int]:
    """Jobs whose backoff is over, those that have waited longest for it first."""
    query = select(jobs.c.id).where(*_is_due(now)).order_by(jobs.c.not_before, jobs.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def lock_due(tx: Connection, job_ids: Sequence[int], now: datetime) -> list[Job]:
    """Lock those of the jobs whose backoff is over."""
    return _lock_some(tx, job_ids, _is_due(now))


def past_deadline(connection: Connection, *, now: datetime, limit: int) -> list[int]:
    """Waiting jobs whose deadline has passed, the earliest first."""
    query = select(jobs.c.id).where(*_is_past(now)).order_by(jobs.c.deadline, jobs.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def lock_past_deadline(tx: Connection, job_ids: Sequence[int], now: datetime) -> list[Job]:
    """Lock those of the jobs that wait and whose deadline has passed."""
    return _lock_some(tx, job_ids, _is_past(now))


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.state == JobState.BACKOFF, jobs.c.not_before <= now


def _is_past(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return jobs.c.state.in_([JobState.QUEUED, JobState.BACKOFF]), jobs.c.deadline <= now


def _lock_some(
    tx: Connection, job_ids: Sequence[int], conditions: Sequence[ColumnElement[bool]]
) -> list[Job]:
    """Rows that somebody else holds are left for the next time."""
    query = (
        select(jobs)
        .where(jobs.c.id == func.any(list(job_ids)), *conditions)
        .order_by(jobs.c.id)
        .with_for_update(skip_locked=True)
    )
    return [rows.job(row) for row in tx.execute(query)]


def add_notice(tx: Connection, job_id: int, notice: str) -> None:
    """Add a plain statement about how the job runs, unless it is there already."""
    tx.execute(
        update(jobs)
        .where(jobs.c.id == job_id, ~jobs.c.notices.contains([notice]))
        .values(notices=jobs.c.notices.concat([notice]))
    )
