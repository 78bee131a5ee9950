"""/api/v1/platforms"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import AfterValidator

from gaelp_ray.domain import names, periods
from gaelp_ray.services import platforms as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.schemas.common import Instant, by
from serve_app.schemas.platforms import (
    BookedList,
    BookedOut,
    MismatchList,
    MismatchOut,
    PeriodIn,
    ReceivedOut,
    ReportsIn,
)

router = api_router("/platforms", tag="platforms")

Name = Annotated[str, AfterValidator(by(names.platform)), Path(description="In whatever case it is written.")]


@router.post("/{name}/reports", response_model=ReceivedOut)
async def receive_reports(name: Name, body: ReportsIn, caller: Caller) -> Response:
    """Store reports as they come, late, twice or in the wrong order. Operators only.

    An order is of the platform that reported it first; a report of it from another one is refused.
    """
    reports = [each.report(name) for each in body.reports]
    new = await context().transact(service.receive, reports, by=caller, now=datetime.now(UTC))
    return json_response(ReceivedOut(received=len(reports), new=new))


@router.get("/{name}/differences", response_model=MismatchList)
async def list_differences(
    name: Name,
    caller: Caller,
    since: Instant,
    until: Instant,
    placed: Annotated[
        list[str] | None, Query(max_length=1000, description="Orders that were placed there; repeatable.")
    ] = None,
) -> Response:
    """On which orders platform and ledger differ, of those of which reports came in the period.

    Orders that are `placed` are found too where the platform says nothing of them. Operators and auditors.
    """
    now = datetime.now(UTC)
    periods.check(since, until)
    periods.begun(since, now)
    found = await context().read(
        service.differences,
        name,
        since=since,
        until=until,
        now=now,
        placed=placed or (),
        by=caller,
    )
    return json_response(MismatchList.model_construct(items=[MismatchOut.of(each) for each in found]))


@router.post("/{name}/reconcile", response_model=BookedList)
async def reconcile(name: Name, body: PeriodIn, caller: Caller) -> Response:
    """Settle and correct the ledger to what the platform reports; again nothing changes. Operators only."""
    now = datetime.now(UTC)
    periods.check(body.since, body.until)
    periods.begun(body.since, now)
    outcomes = await context().transact(
        service.book, name, since=body.since, until=body.until, now=now, by=caller
    )
    return json_response(BookedList.model_construct(items=[BookedOut.of(each) for each in outcomes]))
