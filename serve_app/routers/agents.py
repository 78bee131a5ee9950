"""/api/v1/agents"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Response

from gaelp_ray.domain.agents import AgentStatus, AgentType
from gaelp_ray.services import agents as service
from gaelp_ray.store.agents import AgentFilter
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id
from serve_app.schemas.agents import (
    AgentIn,
    AgentOut,
    AgentPage,
    AgentPatch,
    RollbackIn,
    VersionIn,
    VersionOut,
    VersionPage,
)

router = api_router("/agents", tag="agents")

_AGENTS = Pages("agents")
_VERSIONS = Pages("versions")
Version = Annotated[str, Path(min_length=1, max_length=64)]


@router.post("", status_code=201, response_model=AgentOut)
async def register_agent(body: AgentIn, caller: Caller) -> Response:
    """Register an agent with its first version."""
    currency = context().settings.currency
    agent = await context().transact(
        service.register, body.new(), currency=currency, by=caller, now=datetime.now(UTC)
    )
    return json_response(AgentOut.of(agent), 201)


@router.get("", response_model=AgentPage)
async def list_agents(
    caller: Caller,
    type: AgentType | None = None,  # noqa: A002 - the name users know
    status: AgentStatus | None = None,
    name: str | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Your agents, newest first; an admin sees everybody's."""
    wanted = AgentFilter(type=type, status=status, name=name)
    found = await context().read(service.page, wanted, by=caller, before=_AGENTS.before(cursor), limit=limit)
    return _AGENTS.answer([(agent.id, AgentOut.of(agent)) for agent in found], limit)


@router.get("/{agent_id}", response_model=AgentOut)
async def get_agent(agent_id: Id, caller: Caller) -> Response:
    agent = service.visible(await context().agents.get(agent_id), agent_id, caller)
    return json_response(AgentOut.of(agent))


@router.patch("/{agent_id}", response_model=AgentOut)
async def change_agent(agent_id: Id, body: AgentPatch, caller: Caller) -> Response:
    """Pause or resume an agent, change its description or its budget limit."""
    agent = await context().transact(
        service.change, agent_id, by=caller, now=datetime.now(UTC), status=body.status, fields=body.fields()
    )
    context().hint_scheduler()
    return json_response(AgentOut.of(agent))


@router.delete("/{agent_id}", status_code=204)
async def delete_agent(agent_id: Id, caller: Caller) -> None:
    """Archive an agent and cancel its jobs; its history stays."""
    launchers = await context().transact(service.delete, agent_id, by=caller, now=datetime.now(UTC))
    context().hint_scheduler()
    for launcher in launchers:
        context().wake_launcher(launcher)


@router.get("/{agent_id}/versions", response_model=VersionPage)
async def list_versions(agent_id: Id, caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Newest first."""
    found = await context().read(
        service.versions, agent_id, by=caller, before=_VERSIONS.before(cursor), limit=limit
    )
    return _VERSIONS.answer([(version.id, VersionOut.of(version)) for version in found], limit)


@router.get("/{agent_id}/versions/{version}", response_model=VersionOut)
async def get_version(agent_id: Id, version: Version, caller: Caller) -> Response:
    """One version, in full."""
    return json_response(VersionOut.of(await context().read(service.version, agent_id, version, by=caller)))


@router.post("/{agent_id}/versions", status_code=201, response_model=VersionOut)
async def add_version(agent_id: Id, body: VersionIn, caller: Caller) -> Response:
    """Add a new immutable version and make it current."""
    version = await context().transact(
        service.add_version, agent_id, body.spec(), by=caller, now=datetime.now(UTC)
    )
    return json_response(VersionOut.of(version), 201)


@router.post("/{agent_id}/rollback", response_model=AgentOut)
async def roll_back(agent_id: Id, body: RollbackIn, caller: Caller) -> Response:
    """Make an earlier version current again."""
    agent = await context().transact(
        service.roll_back, agent_id, body.version, by=caller, now=datetime.now(UTC)
    )
    return json_response(AgentOut.of(agent))
