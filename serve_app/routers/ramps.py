"""/api/v1/ramps"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Response

from gaelp_ray.services import ramps as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id, QueryId
from serve_app.schemas.ramps import RampIn, RampOut, RampPage, RollBackIn

router = api_router("/ramps", tag="ramps")

_RAMPS = Pages("ramps")


@router.post("", status_code=201, response_model=RampOut)
async def start_ramp(body: RampIn, caller: Caller) -> Response:
    """Make a promoted version current and give it the first share of its daily budget. Operators only."""
    version = await context().read(service.version, body.agent_id, body.version, by=caller)
    ramp = await context().transact(
        service.start,
        version.id,
        body.account_id,
        body.full_day_micros,
        watch=body.watch(),
        stages=body.parts(),
        by=caller,
        now=datetime.now(UTC),
    )
    return json_response(RampOut.of(ramp), 201)


@router.get("", response_model=RampPage)
async def list_ramps(
    caller: Caller,
    agent_id: Annotated[QueryId | None, Query(description="Ended ones too.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Those that still go up or back; with `agent_id` all of an agent, newest first."""
    place = _RAMPS.before(cursor)
    if agent_id is None:
        live = await context().read(service.live, by=caller)
        found = [ramp for ramp in live if place is None or ramp.id < place]
        found = sorted(found, key=lambda ramp: -ramp.id)[:limit]
    else:
        found = await context().read(service.of_agent, agent_id, by=caller, before=place, limit=limit)
    return _RAMPS.answer([(ramp.id, RampOut.of(ramp)) for ramp in found], limit)


@router.get("/{ramp_id}", response_model=RampOut)
async def get_ramp(ramp_id: Id, caller: Caller) -> Response:
    return json_response(RampOut.of(await context().read(service.get, ramp_id, by=caller)))


@router.post("/{ramp_id}/rollback", response_model=RampOut)
async def roll_back(ramp_id: Id, body: RollBackIn, caller: Caller) -> Response:
    """Point the agent to its previous version and let it spend nothing more. Operators only."""
    ramp = await context().transact(
        service.roll_back, ramp_id, reason=body.reason, by=caller, now=datetime.now(UTC)
    )
    return json_response(RampOut.of(ramp))
