"""/api/v1/agents/{id}/versions/{version}/evidence and promotion"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Path, Response

from gaelp_ray.domain.agents import AgentVersion
from gaelp_ray.domain.promotion import Evidence
from gaelp_ray.services import agents
from gaelp_ray.services import promotions as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id
from serve_app.schemas.promotions import EvidenceIn, EvidenceList, EvidenceOut, PromotionOut

router = api_router("/agents/{agent_id}/versions/{version}", tag="promotions")

Version = Annotated[str, Path(max_length=64)]


@router.post("/evidence", status_code=201, response_model=EvidenceOut)
async def record_evidence(agent_id: Id, version: Version, body: EvidenceIn, caller: Caller) -> Response:
    """Read evidence from the results of jobs, and store it; it never changes.

    Numbers from elsewhere are stored with `source: external`; they are never enough alone.
    """
    found = await _version(agent_id, version, caller)
    given, now = body.evidence(found.id), datetime.now(UTC)
    if isinstance(given, Evidence):
        stored = await context().transact(service.record_evidence, given, by=caller, now=now)
    else:
        stored = await context().transact(service.record_runs, found.id, given, by=caller, now=now)
    return json_response(EvidenceOut.model_validate(stored), 201)


@router.get("/evidence", response_model=EvidenceList)
async def list_evidence(agent_id: Id, version: Version, caller: Caller) -> Response:
    """The newest first; seen by the owner, and by who has a role."""
    found = await context().read(service.version, agent_id, version, by=caller)
    evidence = await context().read(service.evidence, found.id, by=caller)
    items = [EvidenceOut.model_validate(each) for each in evidence]
    return json_response(EvidenceList.model_construct(items=items))


@router.get("/promotion", response_model=PromotionOut)
async def get_promotion(agent_id: Id, version: Version, caller: Caller) -> Response:
    """Whether it may spend real money, and what is missing until it may."""
    found = await context().read(service.version, agent_id, version, by=caller)
    return await _standing(found, caller)


@router.post("/promotion", response_model=PromotionOut)
async def promote(agent_id: Id, version: Version, caller: Caller) -> Response:
    """Let a version spend real money; uses up an approval. One that was promoted stays so."""
    found = await _version(agent_id, version, caller)
    await context().transact(service.promote, found.id, by=caller, now=datetime.now(UTC))
    return await _standing(found, caller)


async def _version(agent_id: int, name: str, caller: Caller) -> AgentVersion:
    return await context().read(agents.version, agent_id, name, by=caller)


async def _standing(version: AgentVersion, caller: Caller) -> Response:
    standing = await context().read(service.standing, version.id, by=caller, now=datetime.now(UTC))
    return json_response(PromotionOut.of(version, standing))
