"""Attempts in the database: claims on resources while they live, history once they ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select, update

from gaelp_ray.domain.attempts import Attempt, Outcome, Seat
from gaelp_ray.domain.costs import Run
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.resources import Resources
from gaelp_ray.store import rows
from gaelp_ray.store.tables import attempts, jobs


def of_job(connection: Connection, job_id: int) -> list[Attempt]:
    """Oldest first."""
    found = connection.execute(
        select(attempts).where(attempts.c.job_id == job_id).order_by(attempts.c.number)
    )
    return [rows.attempt(row) for row in found]


def get(connection: Connection, attempt_id: int) -> Attempt | None:
    row = connection.execute(select(attempts).where(attempts.c.id == attempt_id)).one_or_none()
    return rows.attempt(row) if row else None


def live_of_job(tx: Connection, job_id: int) -> Attempt | None:
    query = select(attempts).where(attempts.c.job_id == job_id, attempts.c.ended_at.is_(None))
    row = tx.execute(query).one_or_none()
    return rows.attempt(row) if row else None


def claim(
    tx: Connection,
    attempt_id: int,
    token: UUID,
    *,
    claimant: UUID,
    incarnation: UUID,
    placement: Sequence[Seat],
    resumed_from_step: int | None,
    now: datetime,
) -> bool:
    """Take the attempt if nobody has; False means it is taken, ended, or the token is another's.

    A claimant that asks again, because the first answer was lost, is granted again.
    """
    free = attempts.c.claimed_by.is_(None) | (attempts.c.claimed_by == claimant)
    claimed = tx.execute(
        update(attempts)
        .where(attempts.c.id == attempt_id, attempts.c.token == token, free, attempts.c.ended_at.is_(None))
        .values(
            claimed_at=func.coalesce(attempts.c.claimed_at, now),
            claimed_by=claimant,
            incarnation=incarnation,
            last_seen_at=now,
            node_id=placement[0].node_id,
            placement=rows.placement(placement),
            resumed_from_step=resumed_from_step,
        )
    )
    return claimed.rowcount == 1


def lock_live(tx: Connection, attempt_id: int, token: UUID | None) -> Attempt | None:
    """The attempt if it has not ended (and, given a token, if it is the right one), its row held."""
    query = (
        select(attempts).where(attempts.c.id == attempt_id, attempts.c.ended_at.is_(None)).with_for_update()
    )
    if token is not None:
        query = query.where(attempts.c.token == token)
    row = tx.execute(query).one_or_none()
    return rows.attempt(row) if row else None


def end_if_live(
    tx: Connection, attempt_id: int, outcome: Outcome, *, now: datetime, token: UUID | None = None
) -> Ended | None:
    """None: it had ended, or the token is not its own; without a token it is the launcher's word."""
    mine = [attempts.c.token == token] if token is not None else []
    ended = tx.execute(
        update(attempts)
        .where(attempts.c.id == attempt_id, attempts.c.ended_at.is_(None), *mine)
        .values(
            ended_at=now,
            cause=outcome.cause,
            message=outcome.message,
            exit_code=outcome.exit_code,
            peak_memory_bytes=outcome.peak_memory_bytes,
        )
        .returning(*attempts.c)
    ).one_or_none()
    return Ended(rows.attempt(ended), ended.token) if ended else None


@dataclass(frozen=True)
class Ended:
    attempt: Attempt
    token: UUID


@dataclass(frozen=True)
class Paid:
    """A live attempt that money is held for."""

    attempt_id: int
    owner: str
    run: Run


def lock_paid(tx: Connection, attempt_ids: Sequence[int]) -> list[Paid]:
    """Those that live and cost something, their rows and before them those of their jobs held, in order."""
    ids = list(attempt_ids)
    of_jobs = select(attempts.c.job_id).where(attempts.c.id == func.any(ids))
    query = select(jobs.c.id).where(jobs.c.id.in_(of_jobs)).order_by(jobs.c.id)
    tx.execute(query.with_for_update(key_share=True))
    found = tx.execute(
        select(attempts, jobs.c.owner)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.id == func.any(ids), attempts.c.ended_at.is_(None), attempts.c.slices > 0)
        .order_by(attempts.c.id)
        .with_for_update(of=attempts)
    )
    return [
        Paid(
            row.id,
            row.owner,
            Run(row.token, row.job_id, row.hour_micros, row.claimed_at, row.slices, row.cost_micros),
        )
        for row in found
    ]


def book_cost(tx: Connection, attempt_id: int, micros: int, *, slices: int) -> None:
    """Running time was booked, of the attempt and its job."""
    job_id = tx.execute(
        update(attempts)
        .where(attempts.c.id == attempt_id)
        .values(cost_micros=attempts.c.cost_micros + micros, slices=slices)
        .returning(attempts.c.job_id)
    ).scalar_one()
    tx.execute(update(jobs).where(jobs.c.id == job_id).values(cost_micros=jobs.c.cost_micros + micros))


def saved(tx: Connection, attempt_id: int, *, now: datetime) -> None:
    """Its work up to now is safe."""
    tx.execute(update(attempts).where(attempts.c.id == attempt_id).values(saved_at=now))


def resumed(tx: Connection, attempt_id: int, token: UUID, step: int | None) -> bool:
    """From where it goes on after all; False: it has ended, or the token is another's."""
    mine = (attempts.c.id == attempt_id, attempts.c.token == token, attempts.c.ended_at.is_(None))
    return tx.execute(update(attempts).where(*mine).values(resumed_from_step=step)).rowcount == 1


def works_on(tx: Connection, attempt_id: int, checkpoint_id: int) -> None:
    """Another job's checkpoint is kept as long as this attempt lives."""
    tx.execute(update(attempts).where(attempts.c.id == attempt_id).values(input_checkpoint_id=checkpoint_id))


def mark_stopping(tx: Connection, attempt_id: int, cause: EndCause) -> None:
    tx.execute(update(attempts).where(attempts.c.id == attempt_id).values(stop_cause=cause))


def mark_launched(tx: Connection, attempt_id: int, incarnation: UUID) -> bool:
    """Note which life of the launcher handed the attempt to Ray; False if it has ended."""
    marked = tx.execute(
        update(attempts)
        .where(attempts.c.id == attempt_id, attempts.c.ended_at.is_(None))
        .values(incarnation=incarnation)
    )
    return marked.rowcount == 1


def seen(tx: Connection, attempt_ids: Sequence[int], *, now: datetime) -> None:
    if attempt_ids:
        tx.execute(
            update(attempts).where(attempts.c.id == func.any(list(attempt_ids))).values(last_seen_at=now)
        )


def orphans(
    connection: Connection, launcher: str, incarnation: UUID | None, *, limit: int | None = None
) -> list[int]:
    """Live attempts of a launcher that another life of it handed to Ray; with None, all of its attempts."""
    query = select(attempts.c.id).where(attempts.c.launcher == launcher, attempts.c.ended_at.is_(None))
    if incarnation is not None:
        query = query.where(attempts.c.incarnation.is_not(None), attempts.c.incarnation != incarnation)
    return list(connection.execute(query.order_by(attempts.c.id).limit(limit)).scalars())


def held(connection: Connection) -> Resources:
    """What all live attempts hold together."""
    columns = rows.resources_columns(attempts)
    totals = [func.coalesce(func.sum(column * attempts.c.workers), 0) for column in columns]
    row = connection.execute(select(*totals).where(attempts.c.ended_at.is_(None))).one()
    cpu, memory, gpu, storage = map(int, row)
    return Resources(cpu, memory, gpu, storage)
