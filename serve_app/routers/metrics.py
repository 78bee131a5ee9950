"""/api/v1/agents/{id}/metrics"""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import Response

from gaelp_ray.domain import periods
from gaelp_ray.services import metrics as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id, QueryId
from serve_app.schemas.common import Instant
from serve_app.schemas.metrics import MetricOut, MetricPage, MetricsIn

router = api_router("/agents", tag="metrics")

_POINTS = Pages("metrics")


@router.get("/{agent_id}/metrics", response_model=MetricPage)
async def list_metrics(
    agent_id: Id,
    caller: Caller,
    job_id: QueryId | None = None,
    since: Instant | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Its metrics over time, newest first."""
    periods.begun(since, datetime.now(UTC))
    found = await context().read(
        service.page,
        agent_id,
        by=caller,
        job_id=job_id,
        since=since,
        before=_POINTS.before(cursor),
        limit=limit,
    )
    return _POINTS.answer([(point_id, MetricOut.of(point, point_id)) for point_id, point in found], limit)


@router.post("/{agent_id}/metrics", status_code=201, response_model=MetricOut)
async def record_metrics(agent_id: Id, body: MetricsIn, caller: Caller) -> Response:
    """Store values from an outside source, an ad platform's report say."""
    point = await context().transact(
        service.record_external,
        agent_id,
        body.metrics,
        by=caller,
        now=datetime.now(UTC),
        step=body.step,
        source=body.source,
        at=body.at,
    )
    context().show_live(point)
    return json_response(MetricOut.of(point), 201)
