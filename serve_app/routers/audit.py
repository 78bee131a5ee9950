"""/api/v1/audit and /api/v1/compliance"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import Field

from gaelp_ray.domain import periods
from gaelp_ray.domain.audit import Seal
from gaelp_ray.domain.ids import MAX_ID
from gaelp_ray.services import audit as service
from gaelp_ray.services import compliance
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import PLAIN
from serve_app.schemas.audit import ProofOut, RecordOut, RecordPage, ReportOut
from serve_app.schemas.common import Instant

router = api_router("", tag="audit")

_RECORDS = Pages("audit")

After = Annotated[int, Field(ge=0, le=MAX_ID), PLAIN, Query()]
Text = Annotated[str | None, Query(max_length=250)]


@router.get("/audit", response_model=RecordPage)
async def list_records(
    caller: Caller,
    subject: Text = None,
    actor: Text = None,
    action: Text = None,
    after: After = 0,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Changes in the order in which they were made, those numbered above `after`. Auditors only."""
    found = await context().read(
        service.page,
        by=caller,
        subject=subject,
        actor=actor,
        action=action,
        after=max(after, _RECORDS.after(cursor)),
        limit=limit,
    )
    return _RECORDS.answer([(each.seal.seq, RecordOut.of(each)) for each in found], limit)


@router.get("/audit/verify", response_model=ProofOut)
async def verify(
    caller: Caller,
    anchor: Annotated[
        str | None, Query(max_length=100, description="`SEQ:HASH`, an end that was kept elsewhere.")
    ] = None,
) -> Response:
    """Find every record that was edited, removed or moved. Reads the whole chain. Auditors only."""
    kept = None if anchor is None else Seal.read(anchor)
    return json_response(ProofOut.of(await context().transact(service.verify, anchor=kept, by=caller)))


@router.get(
    "/compliance",
    response_model=ReportOut,
    responses={200: {"content": {"text/csv": {}}}},
)
async def report(
    caller: Caller,
    since: Instant,
    until: Instant,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """Spend, holds, violations, approvals, changes of limits and all other changes. Auditors only."""
    now = datetime.now(UTC)
    periods.check(since, until)
    periods.begun(since, now)
    found = await context().read(compliance.report, since=since, until=until, by=caller, now=now)
    if form == "csv":
        return Response(compliance.to_csv(found), media_type="text/csv")
    return Response(json.dumps(found), media_type="application/json")
