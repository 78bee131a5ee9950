"""/api/v1/roles"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Response

from gaelp_ray.domain.roles import Role
from gaelp_ray.services import roles as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.schemas.roles import GrantList, GrantOut

router = api_router("/roles", tag="roles")

User = Annotated[str, Path(max_length=200)]


@router.get("", response_model=GrantList)
async def list_grants(caller: Caller) -> Response:
    """Who has which role; you see your own, an admin all."""
    found = await context().read(service.grants, by=caller)
    return json_response(GrantList.model_construct(items=[GrantOut.model_validate(each) for each in found]))


@router.put("/{user}/{role}", status_code=204)
async def grant_role(user: User, role: Role, caller: Caller) -> None:
    """Give somebody a role. Admins only."""
    await context().transact(service.grant, user, role, by=caller, now=datetime.now(UTC))


@router.delete("/{user}/{role}", status_code=204)
async def revoke_role(user: User, role: Role, caller: Caller) -> None:
    """Take a role away; who has it not stays as he is. Admins only."""
    await context().transact(service.revoke, user, role, by=caller, now=datetime.now(UTC))
