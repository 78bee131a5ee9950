"""Jobs on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.checkpoints import CheckpointRecord
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import (
    EndCause,
    Job,
    JobEvent,
    JobState,
    JobStatus,
    NewJob,
    eta_seconds,
)
from serve_app.schemas.common import In, Items, Json, Number, Out, WholeNumber

_SEED_JOB: JsonDict = {
    "agent_id": 1,
    "name": "run-1",
    "priority": 8,
    "hyperparameters": {"epochs": 10, "learning_rate": 0.001},
    "training_config": {},
}
_MAX_ID = 2**63 - 1


class JobIn(In):
    """A training job to queue."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SEED_JOB]})

    agent_id: WholeNumber = Field(ge=1, le=_MAX_ID)
    name: str = "job"
    priority: WholeNumber = Field(default=5, ge=1, le=10, description="10 is the highest.")
    hyperparameters: Json = Field(default_factory=dict)
    training_config: Json = Field(default_factory=dict, description="Overlays the version's `config`.")
    entrypoint: str | None = Field(default=None, description="As the agent's version says, when absent.")
    resource_requirements: dict[str, str | int | float] | None = None
    environment_vars: dict[str, str] = Field(default_factory=dict)
    seed: WholeNumber = Field(default=0, ge=0, le=2**63 - 1)
    timeout_seconds: Number | None = Field(default=None, gt=0, le=10**9)
    max_retries: WholeNumber | None = Field(default=None, ge=0, le=1000)

    def new(self) -> NewJob:
        return NewJob(
            agent_id=self.agent_id,
            name=self.name,
            priority=self.priority,
            hyperparameters=self.hyperparameters,
            training_config=self.training_config,
            entrypoint=self.entrypoint,
            resources=self.resource_requirements,
            environment_vars=self.environment_vars,
            seed=self.seed,
            timeout_s=self.timeout_seconds,
            max_retries=self.max_retries,
        )


class ProgressOut(Out):
    step: int | None
    total_steps: int | None
    fraction: float | None = Field(description="0 to 1.")
    eta_seconds: float | None
    metrics: Mapping[str, float]


class WaitingOut(Out):
    code: str
    message: str


class JobOut(Out):
    id: int
    agent_id: int
    version_id: int
    owner: str
    name: str
    status: JobStatus
    phase: JobState = Field(description="The finer state.")
    priority: int
    resource_requirements: dict[str, str]
    entrypoint: str
    hyperparameters: Mapping[str, Any]
    training_config: Mapping[str, Any]
    environment_vars: Mapping[str, str]
    seed: int
    timeout_seconds: float | None
    max_retries: int
    failures: int = Field(description="Attempts used up by the job's own failures.")
    losses: int = Field(description="Attempts lost to the infrastructure; free.")
    attempt: int = Field(description="Number of the newest attempt; 0 before the first.")
    progress: ProgressOut
    waiting: WaitingOut | None = Field(description="Why it waits, while it does.")
    cause: EndCause | None = Field(description="Why its newest ended attempt ended.")
    message: str | None
    result: Mapping[str, Any] | None
    notices: list[str]
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None = Field(description="Earliest next attempt, while it backs off.")

    @staticmethod
    def of(job: Job, now: datetime) -> JobOut:
        return JobOut.model_construct(
            id=job.id,
            agent_id=job.agent_id,
            version_id=job.version_id,
            owner=job.owner,
            name=job.name,
            status=job.status,
            phase=job.state,
            priority=job.priority,
            resource_requirements=job.resources.to_quantities(),
            entrypoint=job.entrypoint,
            hyperparameters=job.hyperparameters,
            training_config=job.training_config,
            environment_vars=job.environment_vars,
            seed=job.seed,
            timeout_seconds=job.timeout_s,
            max_retries=job.max_retries,
            failures=job.failures,
            losses=job.losses,
            attempt=job.attempt_number,
            progress=_progress(job, now),
            waiting=_waiting(job),
            cause=job.cause,
            message=job.message,
            result=job.result,
            notices=list(job.notices),
            submitted_at=job.submitted_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            not_before=job.not_before,
        )


class JobPage(Items):
    items: list[JobOut]


class AttemptOut(Out):
    id: int
    number: int
    node_id: str | None
    cause: EndCause | None
    message: str | None
    exit_code: int | None
    resumed_from_step: int | None
    peak_memory_bytes: int | None
    created_at: datetime
    claimed_at: datetime | None
    last_seen_at: datetime | None
    ended_at: datetime | None

    @staticmethod
    def of(attempt: Attempt) -> AttemptOut:
        return AttemptOut.model_validate(attempt)


class AttemptList(Out):
    items: list[AttemptOut]


class CheckpointOut(Out):
    id: int
    attempt: int
    step: int
    uri: str
    digest: str = Field(description="SHA-256 of the manifest.")
    size_bytes: int
    metrics: Mapping[str, float]
    created_at: datetime

    @staticmethod
    def of(record: CheckpointRecord) -> CheckpointOut:
        return CheckpointOut.model_validate(record)


class CheckpointList(Out):
    items: list[CheckpointOut]


class EventOut(Out):
    id: int
    attempt: int | None
    event: JobEvent
    from_state: JobState | None
    to_state: JobState
    actor: str
    message: str
    data: Mapping[str, Any]
    at: datetime

    @staticmethod
    def of(record: JobEventRecord) -> EventOut:
        return EventOut.model_validate(record)


class EventList(Out):
    items: list[EventOut]


def _progress(job: Job, now: datetime) -> ProgressOut:
    done, total = job.progress.step, job.progress.total_steps
    return ProgressOut.model_construct(
        step=done,
        total_steps=total,
        fraction=min(1.0, done / total) if done is not None and total else None,
        eta_seconds=eta_seconds(job.progress, job.started_at, now) if job.finished_at is None else None,
        metrics=job.progress.metrics,
    )


def _waiting(job: Job) -> WaitingOut | None:
    if job.status is not JobStatus.QUEUED:
        return None
    if job.state is JobState.BACKOFF:
        when = f" until {job.not_before:%H:%M:%S} UTC" if job.not_before else ""
        return WaitingOut.model_construct(code="BackingOff", message=f"Waits{when} before its next attempt.")
    if job.state is not JobState.QUEUED:
        return WaitingOut.model_construct(code="Starting", message="Its process is being started.")
    return WaitingOut.model_construct(
        code=job.wait_code or "PendingEvaluation",
        message=job.wait_message or "The scheduler has not looked at it yet.",
    )
