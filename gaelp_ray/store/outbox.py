"""Orders to launchers, written in the transaction that decided them and delivered after it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from gaelp_ray.store import rows
from gaelp_ray.store.tables import agent_versions, attempts, jobs, outbox

Kind = Literal["launch", "stop"]


def add(tx: Connection, *, launcher: str, kind: Kind, attempt_id: int, now: datetime) -> None:
    tx.execute(insert(outbox).values(launcher=launcher, kind=kind, attempt_id=attempt_id, created_at=now))


def waiting(connection: Connection, launcher: str, *, limit: int) -> list[int]:
    """Undelivered orders of a launcher, oldest first."""
    query = (
        select(outbox.c.id)
        .where(outbox.c.launcher == launcher, outbox.c.delivered_at.is_(None))
        .order_by(outbox.c.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def attempt_of(connection: Connection, order_id: int) -> int | None:
    """The attempt that an order is about."""
    query = select(outbox.c.attempt_id).where(outbox.c.id == order_id)
    return connection.execute(query).scalar_one_or_none()


def read(connection: Connection, order_ids: Sequence[int]) -> Sequence[Any]:
    """Orders, oldest first, with what is needed to carry them out."""
    query = (
        select(
            outbox.c.id.label("order_id"),
            outbox.c.kind,
            attempts.c.id.label("attempt_id"),
            attempts.c.token,
            attempts.c.number,
            attempts.c.node_id,
            attempts.c.workers,
            attempts.c.placement,
            attempts.c.stop_cause,
            attempts.c.ended_at,
            attempts.c.claimed_at,
            attempts.c.slices,
            *rows.resources_columns(attempts),
            jobs.c.id.label("job_id"),
            jobs.c.agent_id,
            jobs.c.version_id,
            jobs.c.entrypoint,
            jobs.c.hyperparameters,
            jobs.c.training_config,
            jobs.c.environment_vars,
            jobs.c.seed,
            jobs.c.timeout_s,
            jobs.c.deadline,
            jobs.c.selector,
            jobs.c.spot,
            jobs.c.money,
            jobs.c.account_id,
            agent_versions.c.config,
            agent_versions.c.requirements,
            agent_versions.c.docker_image,
            agent_versions.c.working_dir,
            agent_versions.c.secrets,
            agent_versions.c.environment_vars.label("version_environment_vars"),
        )
        .join(attempts, attempts.c.id == outbox.c.attempt_id)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .join(agent_versions, agent_versions.c.id == jobs.c.version_id)
        .where(outbox.c.id == func.any(list(order_ids)))
        .order_by(outbox.c.id)
    )
    return connection.execute(query).all()


def mark_delivered(tx: Connection, order_ids: Sequence[int], *, now: datetime) -> None:
    tx.execute(update(outbox).where(outbox.c.id == func.any(list(order_ids))).values(delivered_at=now))


def drop_of_attempt(tx: Connection, attempt_id: int, *, now: datetime) -> None:
    """An attempt that has ended needs no more orders."""
    tx.execute(
        update(outbox)
        .where(outbox.c.attempt_id == attempt_id, outbox.c.delivered_at.is_(None))
        .values(delivered_at=now)
    )
