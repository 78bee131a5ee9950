"""Evidence and promotions on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.agents import AgentVersion
from gaelp_ray.domain.promotion import Evidence
from gaelp_ray.services.promotions import Standing
from serve_app.schemas.common import In, Number, Out, WholeNumber, printable

_EXAMPLE: JsonDict = {
    "baseline": "1.0.0",
    "seeds": 20,
    "effect": 4.1,
    "low": 2.7,
    "high": 5.6,
    "confidence": 0.95,
    "safety": {"overspend_rate": 0.0},
}


class EvidenceIn(In):
    """What an evaluation found of a version, against a baseline."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    baseline: Annotated[str, Field(min_length=1, max_length=64), printable(64)]
    seeds: WholeNumber
    effect: Number
    low: Number = Field(description="Of the confidence interval of the effect.")
    high: Number
    confidence: Number
    safety: dict[Annotated[str, Field(max_length=100), printable(100)], Number] = Field(
        default_factory=dict, max_length=100, description="Upper confidence bounds of what must stay low."
    )

    def evidence(self, version_id: int) -> Evidence:
        return Evidence(version_id=version_id, **self.model_dump())


class EvidenceOut(Out):
    id: int
    version_id: int
    baseline: str
    seeds: int
    effect: float
    low: float
    high: float
    confidence: float
    safety: Mapping[str, float]
    recorded_by: str
    recorded_at: datetime


class EvidenceList(Out):
    items: list[EvidenceOut]


class PromotionOut(Out):
    """Where a version stands before the gate to real money."""

    agent_id: int
    version: str
    version_id: int
    promoted: bool
    missing: list[str] = Field(description="What the best evidence of it does not show yet.")
    approvals_needed: int = Field(description="People who must approve.")
    approved: bool = Field(description="A valid approval of so many is there, not used yet.")
    approval_subject: str = Field(description="What to ask the approval for.")

    @staticmethod
    def of(version: AgentVersion, standing: Standing) -> PromotionOut:
        return PromotionOut.model_construct(
            agent_id=version.agent_id,
            version=version.spec.version,
            version_id=version.id,
            promoted=standing.promoted,
            missing=list(standing.missing),
            approvals_needed=standing.people,
            approved=standing.approved,
            approval_subject=f"version {version.id}",
        )
