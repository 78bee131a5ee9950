"""Ramps of spend in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from gaelp_ray.domain.ramps import LIVE_RAMPS, Ramp, RampState, Stage
from gaelp_ray.store.tables import ramps


@dataclass(frozen=True, slots=True)
class StoredRamp:
    id: int
    agent_id: int
    version_id: int
    #: What a rollback points the agent to.
    previous_version_id: int | None
    account_id: int
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


def save(tx: Connection, ramp_id: int, ramp: Ramp) -> None:
    tx.execute(update(ramps).where(ramps.c.id == ramp_id).values(**_values(ramp)))


def _values(ramp: Ramp) -> dict[str, Any]:
    return {
        "state": ramp.state,
        "stage": ramp.stage,
        "stage_since": ramp.stage_since,
        "reason": ramp.reason,
        "ended_at": None if ramp.state in LIVE_RAMPS else ramp.stage_since,
    }


def _one(connection: Connection, query: Any) -> StoredRamp | None:
    row = connection.execute(query).one_or_none()
    return _stored(row) if row else None


def _stored(row: Any) -> StoredRamp:
    stages = tuple(Stage(s["percent"], timedelta(seconds=s["holds_for_s"])) for s in row.stages)
    state = RampState(row.state)
    ramp = Ramp(stages, row.full_day_micros, state, row.stage, row.stage_since, row.reason)
    return StoredRamp(
        row.id,
        row.agent_id,
        row.version_id,
        row.previous_version_id,
        row.account_id,
        ramp,
        row.started_by,
        row.started_at,
    )
