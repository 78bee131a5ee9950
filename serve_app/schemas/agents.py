"""Agents on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.agents import (
    DEFAULT_ENTRYPOINT,
    Agent,
    AgentStatus,
    AgentType,
    AgentVersion,
    NewAgent,
    VersionSpec,
)
from gaelp_ray.domain.money import micros_from_units, units_from_micros
from gaelp_ray.domain.resources import parse_resources
from serve_app.schemas.common import In, Items, Json, LeftOut, Number, Out, Patch, Quantities

_SEED_AGENT: JsonDict = {
    "name": "campaign-optimizer-v2",
    "type": "real_deployment",
    "version": "2.0.0",
    "docker_image": "gcr.io/gaelp/optimizer:v2.0",
    "resource_requirements": {"cpu": "4", "memory": "8Gi", "gpu": "1"},
    "budget_limit": 5000.0,
}


class VersionIn(In):
    """A version of an agent: everything a job needs to run it."""

    version: str = Field(default="1.0.0", examples=["2.0.0"])
    entrypoint: str = Field(
        default=DEFAULT_ENTRYPOINT, description="`package.module:function`, or a script: `python train.py`."
    )
    docker_image: str | None = None
    working_dir: str | None = Field(
        default=None,
        description="The job's code: a folder or archive that every node sees, or an archive's address.",
    )
    config: Json = Field(default_factory=dict)
    requirements: list[Annotated[str, Field(max_length=1000)]] = Field(
        default_factory=list, max_length=500, description="Packages as PEP 508 has them: `torch>=2.4`."
    )
    resource_requirements: Quantities = Field(
        default_factory=dict,
        description="Kubernetes quantities: cpu, memory, gpu, storage.",
        examples=[{"cpu": "500m", "memory": "2Gi", "gpu": "1"}],
    )
    environment_vars: dict[str, str] = Field(default_factory=dict)
    secrets: dict[str, str] = Field(
        default_factory=dict, description="Environment variable -> name of a secret on the cluster."
    )

    def spec(self) -> VersionSpec:
        return VersionSpec(
            version=self.version,
            entrypoint=self.entrypoint,
            docker_image=self.docker_image,
            working_dir=self.working_dir,
            config=self.config,
            requirements=tuple(self.requirements),
            resources=parse_resources(self.resource_requirements),
            environment_vars=self.environment_vars,
            secrets=self.secrets,
        )


class AgentIn(VersionIn):
    """An agent to register, with its first version."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SEED_AGENT]})

    name: str
    type: AgentType
    description: str = Field(default="", max_length=10_000)
    budget_limit: Number | None = Field(default=None, description="In currency units; absent means no limit.")

    def new(self) -> NewAgent:
        return NewAgent(
            name=self.name,
            type=self.type,
            spec=self.spec(),
            description=self.description,
            budget_limit_micros=_limit(self.budget_limit),
        )


class AgentPatch(Patch):
    """What may change on an agent; a field that is left out stays as it is."""

    clearable = frozenset({"description", "budget_limit"})

    status: AgentStatus | None = None
    description: str | None = Field(default=None, max_length=10_000, description="`null` takes it away.")
    budget_limit: Number | None = Field(default=None, description="`null` lifts the limit.")

    def fields(self) -> dict[str, Any]:
        given = self.model_fields_set
        changes: dict[str, Any] = {}
        if "description" in given:
            changes["description"] = self.description or ""
        if "budget_limit" in given:
            changes["budget_limit_micros"] = _limit(self.budget_limit)
        return changes


class RollbackIn(In):
    version: str = Field(examples=["1.0.0"])


class VersionOut(Out):
    agent_id: int
    version: str
    entrypoint: str
    docker_image: str | None
    working_dir: str | None
    config: dict[str, Any] | None
    requirements: list[str] | None
    resource_requirements: dict[str, str]
    environment_vars: dict[str, str] | None
    secrets: dict[str, str] | None
    left_out: LeftOut
    created_by: str
    created_at: datetime

    @staticmethod
    def of(version: AgentVersion) -> VersionOut:
        return VersionOut.model_construct(
            agent_id=version.agent_id,
            created_by=version.created_by,
            created_at=version.created_at,
            **_spec_fields(version),
        )


class AgentOut(Out):
    id: int
    name: str
    type: AgentType
    status: AgentStatus
    owner: str
    description: str
    version: str
    entrypoint: str
    docker_image: str | None
    working_dir: str | None
    config: dict[str, Any] | None
    requirements: list[str] | None
    resource_requirements: dict[str, str]
    environment_vars: dict[str, str] | None
    secrets: dict[str, str] | None
    left_out: LeftOut
    budget_limit: float | None
    budget_spent: float
    created_at: datetime
    updated_at: datetime

    @staticmethod
    def of(agent: Agent) -> AgentOut:
        limit = agent.budget_limit_micros
        return AgentOut.model_construct(
            id=agent.id,
            name=agent.name,
            type=agent.type,
            status=agent.status,
            owner=agent.owner,
            description=agent.description,
            budget_limit=None if limit is None else units_from_micros(limit),
            budget_spent=units_from_micros(agent.budget_spent_micros),
            created_at=agent.created_at,
            updated_at=agent.updated_at,
            **_spec_fields(agent.current),
        )


class AgentPage(Items):
    items: list[AgentOut]


class VersionPage(Items):
    items: list[VersionOut]


def _spec_fields(version: AgentVersion) -> dict[str, Any]:
    spec = version.spec
    fields = {
        "version": spec.version,
        "entrypoint": spec.entrypoint,
        "docker_image": spec.docker_image,
        "working_dir": spec.working_dir,
        "config": spec.config,
        "requirements": list(spec.requirements),
        "resource_requirements": spec.resources.to_quantities(),
        "environment_vars": spec.environment_vars,
        "secrets": spec.secrets,
        "left_out": sorted(version.left_out),
    }
    return fields | dict.fromkeys(version.left_out)


def _limit(units: float | None) -> int | None:
    return None if units is None else micros_from_units(units, field="budget_limit")
