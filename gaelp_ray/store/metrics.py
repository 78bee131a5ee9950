"""Metric points in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, column, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.store.tables import metric_points


def add(tx: Connection, points: Sequence[MetricPoint]) -> None:
    """Store points; one that a batch sent twice already brought is kept once."""
    if not points:
        return
    # As one document: a statement with thousands of parameters costs several times as much.
    rows = [
        {
            "agent_id": p.agent_id,
            "job_id": p.job_id,
            "attempt": p.attempt,
            "step": p.step,
            "source": p.source,
            "values": dict(p.values),
            "at": p.at.isoformat(),
        }
        for p in points
    ]
    wanted = [metric_points.c[name] for name in rows[0]]
    records = func.jsonb_to_recordset(literal(rows, JSONB)).table_valued(
        *(column(each.name, each.type) for each in wanted)
    )
    given = select(*records.render_derived(with_types=True).c)
    tx.execute(insert(metric_points).from_select(wanted, given).on_conflict_do_nothing())


def page(
    connection: Connection,
    agent_id: int,
    *,
    job_id: int | None = None,
    since: datetime | None = None,
    before: int | None = None,
    limit: int,
) -> list[tuple[int, MetricPoint]]:
    """``(id, point)`` of an agent, newest first, ids below ``before``."""
    query = (
        select(metric_points)
        .where(metric_points.c.agent_id == agent_id)
        .order_by(metric_points.c.id.desc())
        .limit(limit)
    )
    if job_id is not None:
        query = query.where(metric_points.c.job_id == job_id)
    if since is not None:
        query = query.where(metric_points.c.at >= since)
    if before is not None:
        query = query.where(metric_points.c.id < before)
    return [
        (
            row.id,
            MetricPoint(
                agent_id=row.agent_id,
                at=row.at,
                values=row._mapping["values"],
                job_id=row.job_id,
                attempt=row.attempt,
                step=row.step,
                source=row.source,
            ),
        )
        for row in connection.execute(query)
    ]
