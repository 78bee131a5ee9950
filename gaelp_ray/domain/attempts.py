"""One try of a job: its order to launch, and its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.resources import Resources


@dataclass(frozen=True)
class Attempt:
    id: int
    job_id: int
    number: int
    node_id: str | None
    launcher: str | None
    cause: EndCause | None
    message: str | None
    exit_code: int | None
    resumed_from_step: int | None
    peak_memory_bytes: int | None
    created_at: datetime
    claimed_at: datetime | None
    last_seen_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint as a worker finds and checks it."""

    uri: str
    digest: str
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class LaunchOrder:
    """Everything a worker needs to run one attempt. Holds no credential but the attempt's own token."""

    attempt_id: int
    #: Proves that a message about the attempt comes from the process that runs it.
    token: str
    job_id: int
    agent_id: int
    number: int
    entrypoint: str
    config: Mapping[str, Any]
    hyperparameters: Mapping[str, Any]
    seed: int
    resources: Resources
    node_id: str | None
    requirements: tuple[str, ...] = ()
    docker_image: str | None = None
    working_dir: str | None = None
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float | None = None
    stop_grace_s: float = 10.0
    resume_from: ResumePoint | None = None
    #: Another job's checkpoint to work on, e.g. to evaluate it.
    input_checkpoint: ResumePoint | None = None
    #: False for an agent without a limit.
    budget_limited: bool = False


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, as seen by whoever saw it end."""

    cause: EndCause
    message: str = ""
    exit_code: int | None = None
    result: Mapping[str, Any] | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Directive:
    """What a running attempt is told when it shows a sign of life."""

    #: None to go on; else why to stop.
    stop: EndCause | None = None
    message: str = ""
