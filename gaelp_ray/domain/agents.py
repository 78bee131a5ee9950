"""Agents and their immutable versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from gaelp_ray.domain import code, names
from gaelp_ray.domain.checkpoints import FROM_JOB
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.packages import check_requirements
from gaelp_ray.domain.resources import DEFAULT_REQUEST, Resources

#: What an agent trains with that names nothing: the reference trainer on the ad auction.
DEFAULT_ENTRYPOINT = "gaelp_ray.training.trainers.evolution:train"

_ENV_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_MODULE_ENTRYPOINT = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")
_SCRIPT_ENTRYPOINT = re.compile(r"^(python3? +)?[\w./-]+\.py( .*)?\Z")
_SECRET_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?\Z")
# https://github.com/distribution/reference: lower-case path components, optional host, tag and digest.
_IMAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.:_/-]{0,254}(@sha256:[a-f0-9]{64})?\Z")
#: Names the service sets itself in a training process.
_RESERVED_ENV = ("GAELP_", "RAY_", "LD_", "PYTHON")


class AgentType(StrEnum):
    SIMULATION = "simulation"
    REAL_DEPLOYMENT = "real_deployment"
    EVALUATION = "evaluation"
    RESEARCH = "research"


class AgentStatus(StrEnum):
    #: May start jobs.
    ACTIVE = "active"
    #: Keeps its jobs but starts none.
    PAUSED = "paused"
    #: Deleted: hidden from lists, its history is kept.
    ARCHIVED = "archived"


@dataclass(frozen=True)
class VersionSpec:
    """What an agent is made of: everything a job needs to run it. Immutable once stored."""

    version: str
    entrypoint: str = DEFAULT_ENTRYPOINT
    docker_image: str | None = None
    #: Folder or archive with the job's code: a path that every node sees, or an archive's address.
    working_dir: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    #: Packages by PEP 508, installed for the job beside those of the service.
    requirements: tuple[str, ...] = ()
    resources: Resources = DEFAULT_REQUEST
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    #: Environment variable -> name of a secret on the cluster; values never enter the database.
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NewAgent:
    name: str
    type: AgentType
    spec: VersionSpec
    description: str = ""
    budget_limit_micros: int | None = None


@dataclass(frozen=True)
class AgentVersion:
    id: int
    agent_id: int
    spec: VersionSpec
    created_by: str
    created_at: datetime
    #: What of it a list left out because it is large, by the names of its fields.
    left_out: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Agent:
    id: int
    name: str
    type: AgentType
    status: AgentStatus
    owner: str
    description: str
    #: What it spends from: real money for ``real_deployment``, else simulated.
    account_id: int
    #: Of that account in all; None means no limit.
    budget_limit_micros: int | None
    budget_spent_micros: int
    current: AgentVersion
    created_at: datetime
    updated_at: datetime


def check_name(name: str) -> str:
    """An agent or job name: 1 to 128 letters, digits, ``. _ -``, spaces; a letter or digit first."""
    return names.label(name)


def check_version_spec(spec: VersionSpec) -> VersionSpec:
    """Raise ``InvalidInput`` for a version that could not run."""
    names.version(spec.version)
    check_entrypoint(spec.entrypoint)
    if spec.docker_image is not None and not _IMAGE.match(spec.docker_image):
        raise InvalidInput(f"`docker_image` is not an image reference: {spec.docker_image!r}.")
    if spec.working_dir is not None:
        code.read(spec.working_dir)
    check_requirements(spec.requirements)
    if FROM_JOB in spec.config:
        raise InvalidInput(f"`config.{FROM_JOB}`: a job names it, in its `training_config`; leave it out.")
    check_environment(spec.environment_vars, field_name="environment_vars")
    check_environment(spec.secrets, field_name="secrets")
    for name in spec.secrets.values():
        if not _SECRET_NAME.match(name):
            raise InvalidInput(
                f"`secrets`: {name[:8]!r}... is not a secret's name; give a name, not a value."
            )
    return spec


def check_entrypoint(entrypoint: str) -> str:
    """``module:function`` or a script, ``train.py --flag`` or ``python train.py --flag``."""
    if not (_MODULE_ENTRYPOINT.match(entrypoint) or _SCRIPT_ENTRYPOINT.match(entrypoint)):
        raise InvalidInput(
            f"`entrypoint` must be 'package.module:function' or a script such as 'python train.py'; "
            f"got {entrypoint[:200]!r}."
        )
    return entrypoint


def is_script(entrypoint: str) -> bool:
    return _MODULE_ENTRYPOINT.match(entrypoint) is None


def check_environment(variables: Mapping[str, str], *, field_name: str) -> None:
    """Refuse names a shell would not take and names that would steer the service's own processes."""
    for name, value in variables.items():
        if not _ENV_NAME.match(name):
            raise InvalidInput(f"`{field_name}`: {name!r} is not an environment variable name.")
        if name.startswith(_RESERVED_ENV):
            raise InvalidInput(f"`{field_name}`: {name!r} is reserved; choose a name without that prefix.")
        if "\x00" in value:
            raise InvalidInput(f"`{field_name}`: the value of {name!r} holds a NUL character.")
