"""Ramps of spend in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from gaelp_ray.domain.ramps import LIVE_RAMPS, MAX_SAMPLES, Bar, Ramp, RampState, Stage, Watch
from gaelp_ray.store.tables import metric_points, ramps


@dataclass(frozen=True, slots=True)
class StoredRamp:
    id: int
    agent_id: int
    version_id: int
    #: What a rollback points the agent to.
    previous_version_id: int | None
    account_id: int
    watch: Watch
    ramp: Ramp
    started_by: str
    started_at: datetime


def add(
    tx: Connection,
    ramp: Ramp,
    *,
    agent_id: int,
    version_id: int,
    previous_version_id: int | None,
    account_id: int,
    watch: Watch,
    by: str,
    now: datetime,
) -> StoredRamp:
    """An agent has one live ramp at a time; a second is a ``Conflict``."""
    added = (
        insert(ramps)
        .values(
            agent_id=agent_id,
            version_id=version_id,
            previous_version_id=previous_version_id,
            account_id=account_id,
            metric=watch.metric,
            min_samples=watch.bar.min_samples,
            min_value=watch.bar.min_value,
            full_day_micros=ramp.full_day_micros,
            stages=[{"percent": s.percent, "holds_for_s": s.holds_for.total_seconds()} for s in ramp.stages],
            started_by=by,
            started_at=now,
            **_values(ramp),
        )
        .returning(ramps)
    )
    return _stored(tx.execute(added).one())


def lock(tx: Connection, ramp_id: int) -> StoredRamp | None:
    """Hold the row until the end of the transaction."""
    return _one(tx, select(ramps).where(ramps.c.id == ramp_id).with_for_update())


def get(connection: Connection, ramp_id: int) -> StoredRamp | None:
    return _one(connection, select(ramps).where(ramps.c.id == ramp_id))


def live(connection: Connection) -> list[StoredRamp]:
    query = select(ramps).where(ramps.c.ended_at.is_(None)).order_by(ramps.c.id)
    return [_stored(row) for row in connection.execute(query)]


def live_ids(connection: Connection, *, limit: int) -> list[int]:
    query = select(ramps.c.id).where(ramps.c.ended_at.is_(None)).order_by(ramps.c.id).limit(limit)
    return list(connection.execute(query).scalars())


def live_of_agent(connection: Connection, agent_id: int) -> StoredRamp | None:
    query = select(ramps).where(ramps.c.agent_id == agent_id, ramps.c.ended_at.is_(None))
    return _one(connection, query)


def page(connection: Connection, *, agent_id: int, before: int | None, limit: int) -> list[StoredRamp]:
    """Those of an agent, newest first, ids below ``before``."""
    query = select(ramps).where(ramps.c.agent_id == agent_id).order_by(ramps.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(ramps.c.id < before)
    return [_stored(row) for row in connection.execute(query)]


def stage_values(connection: Connection, ramp_id: int, *, now: datetime) -> list[float]:
    """What the watched metric was in the stage so far, oldest first; the newest ``MAX_SAMPLES``.

    Only what was both measured and received in it: a value that is dated later or came before counts for no
    stage.
    """
    value = metric_points.c["values"][ramps.c.metric].as_float()
    query = (
        select(value)
        .select_from(ramps)
        .join(metric_points, metric_points.c.agent_id == ramps.c.agent_id)
        .where(
            ramps.c.id == ramp_id,
            metric_points.c.id > ramps.c.points_after,
            metric_points.c.at > ramps.c.stage_since,
            metric_points.c.at <= now,
            metric_points.c["values"].has_key(ramps.c.metric),
        )
        .order_by(metric_points.c.id.desc())
        .limit(MAX_SAMPLES)
    )
    return list(reversed(connection.execute(query).scalars().all()))


def lock_live_of(tx: Connection, account_id: int) -> None:
    """Hold the live ramp of an account, if it has one, until the end of the transaction."""
    tx.execute(select(ramps.c.id).where(*_live_of(account_id)).with_for_update())


def cap(tx: Connection, account_id: int, cap_micros: int | None) -> None:
    """Keep the live ramp of an account, if it has one, below a daily limit from now on."""
    tx.execute(update(ramps).where(*_live_of(account_id)).values(cap_micros=cap_micros))


def _live_of(account_id: int) -> tuple[ColumnElement[bool], ...]:
    return ramps.c.account_id == account_id, ramps.c.ended_at.is_(None)


def save(tx: Connection, ramp_id: int, ramp: Ramp) -> None:
    tx.execute(update(ramps).where(ramps.c.id == ramp_id).values(**_values(ramp)))


#: As of the statement that writes it.
_NEWEST_POINT = select(func.coalesce(func.max(metric_points.c.id), 0)).scalar_subquery()


def _values(ramp: Ramp) -> dict[str, Any]:
    return {
        "state": ramp.state,
        "stage": ramp.stage,
        "stage_since": ramp.stage_since,
        "points_after": _NEWEST_POINT,
        "reason": ramp.reason,
        "ended_at": None if ramp.state in LIVE_RAMPS else ramp.stage_since,
    }


def _one(connection: Connection, query: Any) -> StoredRamp | None:
    row = connection.execute(query).one_or_none()
    return _stored(row) if row else None


def _stored(row: Any) -> StoredRamp:
    stages = tuple(Stage(s["percent"], timedelta(seconds=s["holds_for_s"])) for s in row.stages)
    state = RampState(row.state)
    ramp = Ramp(stages, row.full_day_micros, state, row.stage, row.stage_since, row.reason, row.cap_micros)
    return StoredRamp(
        row.id,
        row.agent_id,
        row.version_id,
        row.previous_version_id,
        row.account_id,
        Watch(row.metric, Bar(row.min_samples, row.min_value)),
        ramp,
        row.started_by,
        row.started_at,
    )
