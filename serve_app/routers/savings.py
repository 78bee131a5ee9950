"""/api/v1/savings"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Query, Response

from gaelp_ray.domain import periods
from gaelp_ray.services import savings as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.schemas.common import Instant
from serve_app.schemas.savings import SavingsOut

router = api_router("", tag="savings")

#: What a report shows that is asked for no span.
_SPAN = timedelta(days=30)


@router.get("/savings", response_model=SavingsOut)
async def report_savings(
    caller: Caller,
    since: Annotated[Instant | None, Query(description="30 days before `until`.")] = None,
    until: Annotated[Instant | None, Query(description="Now.")] = None,
) -> Response:
    """What your jobs on spot nodes saved against on-demand ones, by the price table; an admin sees all."""
    now = datetime.now(UTC)
    begin, end = periods.meant(since, until, span=_SPAN, now=now)
    found = await context().read(
        service.savings, since=begin, until=end, prices=context().runtime.prices, by=caller, now=now
    )
    return json_response(SavingsOut.of(found, begin, end))
