"""/api/v1/kill-switches"""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import Response

from gaelp_ray.services import switches as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.schemas.switches import SwitchIn, SwitchList, SwitchOut

router = api_router("/kill-switches", tag="kill switches")


@router.get("", response_model=SwitchList)
async def list_switches(caller: Caller) -> Response:
    """Engaged switches: those that stop you, or for an operator or auditor all."""
    found = await context().read(service.visible, by=caller)
    return json_response(SwitchList.model_construct(items=[SwitchOut.of(each) for each in found]))


@router.post("", response_model=SwitchOut)
async def engage(body: SwitchIn, caller: Caller) -> Response:
    """Stop it: when this answers, no hold that is asked for is granted any more.

    You may stop yourself and your agents, an operator everything. One that is engaged stays as it is.
    A user or campaign may be stopped that nobody has heard of yet; ``covers`` says what is stopped now.
    """
    switch = await context().transact(
        service.engage, body.target(), reason=body.reason, by=caller, now=datetime.now(UTC)
    )
    return json_response(SwitchOut.of(switch, await context().read(service.covered, switch.target)))


@router.post("/release", response_model=SwitchOut)
async def release(body: SwitchIn, caller: Caller) -> Response:
    """Let it spend again. Operators only."""
    switch = await context().transact(
        service.release, body.target(), reason=body.reason, by=caller, now=datetime.now(UTC)
    )
    return json_response(SwitchOut.of(switch, await context().read(service.covered, switch.target)))
