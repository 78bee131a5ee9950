"""/api/v1/holds"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Response

from gaelp_ray.domain.holds import HoldScope
from gaelp_ray.services import holds as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.schemas.holds import HoldIn, HoldList, HoldOut

router = api_router("/holds", tag="holds")

Name = Annotated[str, Path(max_length=128, description="The team's or user's name, or the agent's id.")]


@router.get("", response_model=HoldList)
async def list_holds(caller: Caller) -> Response:
    """Holds in force, newest first; you see those that bind your jobs, an admin all."""
    found = await context().read(service.in_force, by=caller)
    return json_response(HoldList.model_construct(items=[HoldOut.of(hold) for hold in found]))


@router.put("/{scope}", response_model=HoldOut)
async def place_global_hold(scope: HoldScope, body: HoldIn, caller: Caller) -> Response:
    """Keep every job from starting: `scope` is `global`. Admins only."""
    return await _place(scope, "", body, caller)


@router.put("/{scope}/{name}", response_model=HoldOut)
async def place_hold(scope: HoldScope, name: Name, body: HoldIn, caller: Caller) -> Response:
    """Keep jobs from starting; replaces a hold on the same. You may hold yourself and your agents."""
    return await _place(scope, name, body, caller)


@router.delete("/{scope}", status_code=204)
async def lift_global_hold(scope: HoldScope, caller: Caller) -> None:
    await _lift(scope, "", caller)


@router.delete("/{scope}/{name}", status_code=204)
async def lift_hold(scope: HoldScope, name: Name, caller: Caller) -> None:
    """Let jobs start again. What an admin holds only an admin lets go."""
    await _lift(scope, name, caller)


async def _place(scope: HoldScope, name: str, body: HoldIn, caller: Caller) -> Response:
    hold = await context().transact(
        service.place, scope, name, body.mode, reason=body.reason, by=caller, now=datetime.now(UTC)
    )
    context().hint_scheduler()
    return json_response(HoldOut.of(hold))


async def _lift(scope: HoldScope, name: str, caller: Caller) -> None:
    await context().transact(service.lift, scope, name, by=caller, now=datetime.now(UTC))
    context().hint_scheduler()
