"""/api/v1/violations and /api/v1/agents/{id}/violations"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fastapi import Response

from gaelp_ray.domain import periods
from gaelp_ray.domain.safety.verdicts import Severity
from gaelp_ray.services import reviews as service
from gaelp_ray.store.reviews import Violation
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id
from serve_app.schemas.common import Instant
from serve_app.schemas.violations import CountList, ViolationOut, ViolationPage

router = api_router("", tag="violations")

_VIOLATIONS = Pages("violations")

#: What is counted when no span is named.
_SPAN = timedelta(hours=24)


@router.get("/violations", response_model=ViolationPage)
async def list_violations(
    caller: Caller,
    severity: Severity | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Rules that actions broke, in the order in which they were recorded. Auditors only."""
    periods.begun(since, datetime.now(UTC))
    found = await context().read(
        service.violations,
        by=caller,
        severity=severity,
        since=since,
        until=until,
        after=_VIOLATIONS.after_position(cursor),
        limit=limit,
    )
    return _page(found, limit)


@router.get("/violations/counts", response_model=CountList)
async def count_violations(caller: Caller, since: Instant | None = None) -> Response:
    """How many of each severity and code, by default in the last day. Auditors only."""
    periods.begun(since, datetime.now(UTC))
    begin = since or datetime.now(UTC) - _SPAN
    found = await context().read(service.violation_counts, since=begin, by=caller)
    return json_response(CountList.of(begin, found))


@router.get("/agents/{agent_id}/violations", response_model=ViolationPage)
async def list_violations_of_agent(
    agent_id: Id,
    caller: Caller,
    severity: Severity | None = None,
    since: Instant | None = None,
    until: Instant | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Rules that its actions broke, in the order in which they were recorded."""
    periods.begun(since, datetime.now(UTC))
    found = await context().read(
        service.violations,
        by=caller,
        agent_id=agent_id,
        severity=severity,
        since=since,
        until=until,
        after=_VIOLATIONS.after_position(cursor),
        limit=limit,
    )
    return _page(found, limit)


def _page(found: list[Violation], limit: int) -> Response:
    return _VIOLATIONS.answer([(each.position.text, ViolationOut.of(each)) for each in found], limit)
