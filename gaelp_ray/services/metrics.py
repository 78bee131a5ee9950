"""Use cases of metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import instants
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.metrics import MetricPoint, check_values
from gaelp_ray.services import agents as agent_service
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import metrics as metric_store


def store(tx: Connection, points: Sequence[MetricPoint]) -> None:
    """Store a batch of points, and the newest of each job as its progress."""
    metric_store.add(tx, points)
    newest: dict[int, MetricPoint] = {}
    for point in points:
        if point.job_id is not None:
            newest[point.job_id] = point
    # In id order, so that two batches never wait for each other in a circle.
    for job_id, point in sorted(newest.items()):
        job_store.set_progress(
            tx, job_id, step=point.step, total_steps=point.total_steps, metrics=dict(point.values)
        )


def record_external(
    tx: Connection,
    agent_id: int,
    values: Mapping[str, float],
    *,
    by: Principal,
    now: datetime,
    step: int | None = None,
    source: str = "external",
    at: datetime | None = None,
) -> MetricPoint:
    """Store values that an outside source reports about an agent.

    Raises ``InvalidInput`` for values of the future: nothing was measured there yet.
    """
    agent_service.get(tx, agent_id, by=by)
    point = MetricPoint(
        agent_id=agent_id,
        at=now if at is None else instants.past(at, now, field="at"),
        values=check_values(values),
        step=step,
        source=source,
    )
    metric_store.add(tx, [point])
    return point


def page(
    connection: Connection,
    agent_id: int,
    *,
    by: Principal,
    job_id: int | None,
    since: datetime | None,
    before: int | None,
    limit: int,
) -> list[tuple[int, MetricPoint]]:
    """``(id, point)``, newest first; of a deleted agent too."""
    agent_service.known(connection, agent_id, by=by)
    return metric_store.page(connection, agent_id, job_id=job_id, since=since, before=before, limit=limit)
