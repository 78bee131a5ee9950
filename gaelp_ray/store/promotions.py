"""Evidence and promotions in the database."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain.promotion import Evidence, EvidenceSource
from gaelp_ray.store.tables import agent_versions, promotion_evidence, promotions


def add_evidence(tx: Connection, evidence: Evidence, *, by: str, now: datetime) -> Evidence:
    added = (
        insert(promotion_evidence)
        .values(
            version_id=evidence.version_id,
            baseline=evidence.baseline,
            seeds=evidence.seeds,
            effect=evidence.effect,
            low=evidence.low,
            high=evidence.high,
            confidence=evidence.confidence,
            safety=dict(evidence.safety),
            source=evidence.source,
            metric=evidence.metric,
            jobs=list(evidence.jobs),
            baseline_jobs=list(evidence.baseline_jobs),
            measured_at=evidence.measured_at,
            recorded_by=by,
            recorded_at=now,
        )
        .returning(promotion_evidence)
    )
    return _evidence(tx.execute(added).one())


def evidence(connection: Connection, version_id: int) -> list[Evidence]:
    """The newest first."""
    columns = promotion_evidence.c
    query = select(promotion_evidence).where(columns.version_id == version_id).order_by(columns.id.desc())
    return [_evidence(row) for row in connection.execute(query)]


def add(
    tx: Connection, version_id: int, *, evidence_id: int, approval_id: int | None, by: str, now: datetime
) -> bool:
    """False: it was promoted before."""
    added = upsert(promotions).values(
        version_id=version_id,
        evidence_id=evidence_id,
        approval_id=approval_id,
        promoted_by=by,
        promoted_at=now,
    )
    return tx.execute(added.on_conflict_do_nothing()).rowcount > 0


def is_promoted(connection: Connection, version_id: int) -> bool:
    query = select(promotions.c.version_id).where(promotions.c.version_id == version_id)
    return connection.execute(query).one_or_none() is not None


def has_promoted(connection: Connection, agent_id: int) -> bool:
    """Whether any version of an agent was promoted."""
    query = (
        select(promotions.c.version_id)
        .join(agent_versions, agent_versions.c.id == promotions.c.version_id)
        .where(agent_versions.c.agent_id == agent_id)
        .limit(1)
    )
    return connection.execute(query).one_or_none() is not None


def promoted(connection: Connection, version_ids: Collection[int]) -> set[int]:
    """Those of the versions that were promoted."""
    query = select(promotions.c.version_id).where(promotions.c.version_id == func.any(sorted(version_ids)))
    return set(connection.execute(query).scalars())


def _evidence(row: Any) -> Evidence:
    return Evidence(
        version_id=row.version_id,
        baseline=row.baseline,
        seeds=row.seeds,
        effect=row.effect,
        low=row.low,
        high=row.high,
        confidence=row.confidence,
        safety=row.safety,
        recorded_by=row.recorded_by,
        recorded_at=row.recorded_at,
        id=row.id,
        source=EvidenceSource(row.source),
        metric=row.metric,
        jobs=tuple(row.jobs),
        baseline_jobs=tuple(row.baseline_jobs),
        measured_at=row.measured_at,
    )
