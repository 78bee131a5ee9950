"""/api/v1/policies and /api/v1/agents/{id}/policies"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Path, Query, Response
from pydantic import Field

from gaelp_ray.domain import periods
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.safety.policies import Attach, Attachment, Policy, propose
from gaelp_ray.services import policies as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import PLAIN, Id
from serve_app.schemas.policies import (
    DryRunIn,
    DryRunOut,
    PlaceIn,
    PolicyIn,
    PolicyOut,
    PolicyPage,
)

router = api_router("", tag="policies")

_POLICIES, _BINDING = Pages("policies"), Pages("policies of an agent")

Name = Annotated[str, Path(max_length=128)]
Version = Annotated[
    Annotated[int, Field(ge=1, le=2**31 - 1), PLAIN] | None, Query(description="The newest unless named.")
]

#: How far back a dry run looks that is told no span.
_SPAN = timedelta(days=30)


@router.get("/policies", response_model=PolicyPage)
async def list_policies(
    _caller: Caller,
    name: Annotated[str | None, Query(max_length=128)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Every version of every policy, in the order in which they were written."""
    found = await context().read(service.page, name=name, after=_POLICIES.after(cursor), limit=limit)
    places = await context().read(service.places, found)
    return _POLICIES.answer([(policy.id, PolicyOut.of(policy, places[policy.id])) for policy in found], limit)


@router.post("/policies:dry-run", response_model=DryRunOut)
async def dry_run(body: DryRunIn, caller: Caller, limit: Limit = 100) -> Response:
    """What a policy would have said to what an agent asked for; stores nothing."""
    policy = await _tried(body)
    begin, end = periods.meant(body.since, body.until, span=_SPAN, now=datetime.now(UTC))
    replayed = await context().read(
        service.dry_run,
        body.agent_id,
        policy,
        by=caller,
        since=begin,
        until=end,
        timezone=body.timezone,
    )
    return json_response(DryRunOut.of(replayed, limit=limit))


@router.get("/policies/{name}", response_model=PolicyOut)
async def get_policy(name: Name, _caller: Caller, version: Version = None) -> Response:
    policy = await context().read(service.get, name, version)
    places = await context().read(service.places, [policy])
    return json_response(PolicyOut.of(policy, places[policy.id]))


@router.post("/policies/{name}", status_code=201, response_model=PolicyOut)
async def write_policy(name: Name, body: PolicyIn, caller: Caller) -> Response:
    """Write the next version; what is attached stays attached in its own version. Operators only."""
    policy = await context().transact(service.write, name, body.document(), by=caller, now=datetime.now(UTC))
    return json_response(PolicyOut.of(policy, []), 201)


@router.put("/policies/{name}/attachments", response_model=PolicyOut)
async def attach_policy(name: Name, body: PlaceIn, caller: Caller) -> Response:
    """Attach a version in place of any other. Operators only.

    In place of another version that binds real money it uses up an approval of purpose `policy` and subject
    `policy {name}`, unless an admin asks.
    """
    policy = await context().transact(
        service.attach, name, body.version, body.place(), by=caller, now=datetime.now(UTC)
    )
    places = await context().read(service.places, [policy])
    return json_response(PolicyOut.of(policy, places[policy.id]))


@router.delete("/policies/{name}/attachments", status_code=204)
async def detach_policy(
    name: Name, caller: Caller, scope: Attach, subject: Annotated[str, Query(max_length=200)] = ""
) -> None:
    """Take a policy away. Operators only; where it binds real money this uses up an approval, as above."""
    place = Attachment(scope, subject)
    await context().transact(service.detach, name, place, by=caller, now=datetime.now(UTC))


@router.get("/agents/{agent_id}/policies", response_model=PolicyPage)
async def list_binding(agent_id: Id, caller: Caller, limit: Limit = 1000, cursor: Cursor = None) -> Response:
    """All that an agent must keep: its own, those of its type, and the global ones."""
    last = _BINDING.after(cursor)
    bound = await context().read(service.binding, agent_id, by=caller)
    found = [policy for policy in bound if policy.id > last][:limit]
    places = await context().read(service.places, found)
    return _BINDING.answer([(policy.id, PolicyOut.of(policy, places[policy.id])) for policy in found], limit)


async def _tried(body: DryRunIn) -> Policy:
    if (body.policy is None) == (body.name is None):
        raise InvalidInput("Name a stored policy with `name`, or give one as `policy`.")
    if body.policy is not None:
        return propose("dry run", body.policy.document())
    assert body.name is not None
    return await context().read(service.get, body.name, body.version)
