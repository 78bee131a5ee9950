"""Jobs on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.checkpoints import CheckpointRecord
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.forecast import LONGEST_S
from gaelp_ray.domain.jobs import (
    MAX_RETRIES,
    PRIORITY_DEFAULT,
    PRIORITY_MAX,
    PRIORITY_MIN,
    EndCause,
    Job,
    JobEdit,
    JobEvent,
    JobState,
    JobStatus,
    NewJob,
    eta_seconds,
)
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import MAX_WORKERS, Spot
from gaelp_ray.domain.scheduling import WaitCode
from gaelp_ray.store.jobs import JobFilter
from serve_app.schemas.common import (
    BodyId,
    Flag,
    In,
    Instant,
    Items,
    Json,
    LeftOut,
    Number,
    Out,
    Patch,
    Quantities,
    UserName,
    WholeNumber,
)

_SEED_JOB: JsonDict = {
    "agent_id": 1,
    "name": "run-1",
    "priority": 8,
    "hyperparameters": {"epochs": 10, "learning_rate": 0.001},
    "training_config": {},
}

Priority = Annotated[WholeNumber, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX, description="10 is the highest.")]
Seconds = Annotated[Number, Field(gt=0, le=LONGEST_S)]
Retries = Annotated[WholeNumber, Field(ge=0, le=MAX_RETRIES)]


class JobIn(In):
    """A training job to queue."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SEED_JOB]})

    agent_id: BodyId
    name: str = "job"
    priority: Priority = PRIORITY_DEFAULT
    hyperparameters: Json = Field(default_factory=dict)
    training_config: Json = Field(default_factory=dict, description="Overlays the version's `config`.")
    entrypoint: str | None = Field(default=None, description="As the agent's version says, when absent.")
    resource_requirements: Quantities | None = None
    environment_vars: dict[str, str] = Field(default_factory=dict)
    seed: WholeNumber = Field(default=0, ge=0, le=2**63 - 1)
    timeout_seconds: Seconds | None = None
    max_retries: Retries | None = None
    workers: WholeNumber = Field(
        default=1, ge=1, le=MAX_WORKERS, description="Placed all or not at all, each with the resources."
    )
    label_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Ray node label -> `value`, `!value`, `in(a, b)` or `!in(a, b)`.",
        examples=[{"ray.io/accelerator-type": "in(A100, H100)"}],
    )
    spot: Spot | None = Field(
        default=None, description="Absent: `prefer` for a preemptible job, else `avoid`."
    )
    preemptible: Flag = Field(default=False, description="It may be asked to save and make room for others.")
    deadline: Instant | None = Field(default=None, description="When it must be done, or fails.")
    expected_duration_seconds: Seconds | None = Field(
        default=None, description="Your own guess; without it the agent's past runs tell."
    )
    money: Money = Field(
        default=Money.SIMULATED,
        description="What the job spends itself: `real` only for promoted real_deployment agents.",
    )

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
            workers=self.workers,
            label_selector=self.label_selector,
            spot=self.spot,
            preemptible=self.preemptible,
            deadline=self.deadline,
            expected_duration_s=self.expected_duration_seconds,
            money=self.money,
        )


class JobPatch(Patch):
    """What may change on a job that waits; a field that is left out stays as it is."""

    clearable = frozenset({"deadline", "timeout_seconds", "max_retries", "expected_duration_seconds"})

    priority: Priority | None = None
    preemptible: Flag | None = None
    deadline: Instant | None = Field(default=None, description="`null` takes it away.")
    timeout_seconds: Seconds | None = Field(
        default=None, description="`null`: the time limit that jobs have by default, if any."
    )
    max_retries: Retries | None = Field(default=None, description="`null`: as many as jobs have by default.")
    expected_duration_seconds: Seconds | None = Field(
        default=None, description="`null`: no guess; the agent's past runs tell."
    )

    def change(self) -> JobEdit:
        return JobEdit(
            priority=self.priority,
            preemptible=self.preemptible,
            deadline=self.deadline,
            timeout_s=self.timeout_seconds,
            max_retries=self.max_retries,
            expected_duration_s=self.expected_duration_seconds,
            cleared=frozenset(name.replace("_seconds", "_s") for name in self.cleared),
        )


class CancelIn(In):
    """Which jobs to cancel: those that meet all that is said, and at least one thing must be."""

    ids: list[BodyId] | None = Field(default=None, max_length=1000)
    agent_id: BodyId | None = None
    status: JobStatus | None = None
    phase: JobState | None = None
    priority: Priority | None = None
    owner: UserName | None = Field(default=None, description="For admins; others cancel their own.")
    reason: str = Field(default="", max_length=1000)
    limit: WholeNumber = Field(default=1000, ge=1, le=1000)

    def wanted(self) -> JobFilter:
        """The filter; raises ``InvalidInput`` for one that would take everything."""
        wanted = JobFilter(
            owner=self.owner,
            agent_id=self.agent_id,
            status=self.status,
            phase=self.phase,
            priority=self.priority,
            ids=None if self.ids is None else tuple(self.ids),
        )
        if wanted == JobFilter():
            raise InvalidInput(
                "Say which jobs: by `ids`, `agent_id`, `status`, `phase`, `priority` or `owner`."
            )
        return wanted


class CancelledOut(Out):
    count: int
    ids: list[int]
    more: bool = Field(description="As many as `limit` were cancelled; ask again for the rest.")

    @staticmethod
    def of(ids: tuple[int, ...], limit: int) -> CancelledOut:
        return CancelledOut.model_construct(count=len(ids), ids=list(ids), more=len(ids) == limit)


class ProgressOut(Out):
    step: int | None
    total_steps: int | None
    fraction: float | None = Field(description="0 to 1.")
    eta_seconds: float | None = Field(
        description="Until the last step, at the pace of its present attempt; null while none runs."
    )
    running_since: datetime | None = Field(description="When its present attempt began to run.")
    from_step: int | None = Field(description="The step that its present attempt went on from.")
    metrics: Mapping[str, float]


class WaitingOut(Out):
    code: str
    message: str


class CostOut(Out):
    """Of its compute, in the service's currency; its owner's budgets pay for it."""

    booked_micros: int = Field(description="So far; what runs is booked slice by slice.")
    expected_micros: int | None = Field(description="Median, by past runs or your own guess of the time.")
    expected_p90_micros: int | None


class JobOut(Out):
    id: int
    agent_id: int
    version_id: int
    owner: str
    name: str
    status: JobStatus
    phase: JobState = Field(description="The finer state.")
    priority: int
    resource_requirements: dict[str, str] = Field(description="Of each worker.")
    workers: int
    label_selector: dict[str, str]
    spot: Spot
    preemptible: bool
    deadline: datetime | None
    expected_duration_seconds: float | None = Field(description="Predicted, or your own guess.")
    entrypoint: str
    hyperparameters: Mapping[str, Any] | None
    training_config: Mapping[str, Any] | None
    environment_vars: Mapping[str, str] | None
    seed: int
    timeout_seconds: float | None
    max_retries: int
    failures: int = Field(description="Attempts used up by the job's own failures.")
    losses: int = Field(description="Attempts lost to the infrastructure; free.")
    preemptions: int = Field(description="How often it made room for others; free.")
    attempt: int = Field(description="Number of the newest attempt; 0 before the first.")
    progress: ProgressOut
    waiting: WaitingOut | None = Field(description="Why it waits, while it does.")
    cause: EndCause | None = Field(description="Why its newest ended attempt ended.")
    message: str | None
    result: Mapping[str, Any] | None = Field(description="What the entry point returned; lists leave it out.")
    left_out: LeftOut
    notices: list[str]
    money: Money = Field(description="What it spends itself.")
    cost: CostOut
    submitted_at: datetime
    queued_at: datetime = Field(description="When it last joined the queue.")
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None = Field(description="Earliest next attempt, while it backs off.")

    @staticmethod
    def of(job: Job, now: datetime) -> JobOut:
        shown = JobOut._whole(job, now)
        for name in job.left_out:
            setattr(shown, name, None)
        return shown

    @staticmethod
    def _whole(job: Job, now: datetime) -> JobOut:
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
            workers=job.workers,
            label_selector=dict(job.selector),
            spot=job.spot,
            preemptible=job.preemptible,
            deadline=job.deadline,
            expected_duration_seconds=job.expected_s,
            entrypoint=job.entrypoint,
            hyperparameters=job.hyperparameters,
            training_config=job.training_config,
            environment_vars=job.environment_vars,
            seed=job.seed,
            timeout_seconds=job.timeout_s,
            max_retries=job.max_retries,
            failures=job.failures,
            losses=job.losses,
            preemptions=job.preemptions,
            attempt=job.attempt_number,
            progress=_progress(job, now),
            waiting=waiting(job),
            cause=job.cause,
            message=job.message,
            result=job.result,
            left_out=sorted(job.left_out),
            notices=list(job.notices),
            money=job.money,
            cost=CostOut.model_construct(
                booked_micros=job.cost_micros,
                expected_micros=job.expected_cost_micros,
                expected_p90_micros=job.expected_p90_cost_micros,
            ),
            submitted_at=job.submitted_at,
            queued_at=job.queued_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            not_before=job.not_before,
        )


class JobPage(Items):
    items: list[JobOut]


class SeatOut(Out):
    node_id: str
    gpus: list[int] = Field(description="Numbers of its GPUs on that node, where they are known.")


class AttemptOut(Out):
    id: int
    number: int
    node_id: str | None = Field(description="The first worker's.")
    workers: int
    placement: list[SeatOut] = Field(description="Where each worker runs, first one first.")
    spot: bool = Field(description="A node of it is one that its owner may take back.")
    cause: EndCause | None
    message: str | None
    exit_code: int | None
    resumed_from_step: int | None
    peak_memory_bytes: int | None
    cost_micros: int = Field(description="Booked so far for its running time.")
    created_at: datetime
    claimed_at: datetime | None
    last_seen_at: datetime | None
    saved_at: datetime | None = Field(description="When it saved its newest checkpoint.")
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
    uri: str = Field(description="Where it was saved.")
    address: str = Field(description="The same place relative to `GAELP_STORAGE`, by which it is found.")
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
        eta_seconds=eta_seconds(job.progress, job.runs_since, now, from_step=job.runs_from_step),
        running_since=job.runs_since,
        from_step=job.runs_from_step if job.runs_since else None,
        metrics=job.progress.metrics,
    )


def waiting(job: Job) -> WaitingOut | None:
    """Why a job waits, as it was last written; None when it does not."""
    if job.status is not JobStatus.QUEUED:
        return None
    if job.state is JobState.BACKOFF:
        when = f" until {job.not_before:%H:%M:%S} UTC" if job.not_before else ""
        message = f"Waits{when} before its next attempt."
        return WaitingOut.model_construct(code=WaitCode.BACKING_OFF, message=message)
    if job.state is not JobState.QUEUED:
        return WaitingOut.model_construct(code="Starting", message="Its process is being started.")
    return WaitingOut.model_construct(
        code=job.wait_code or WaitCode.PENDING_EVALUATION,
        message=job.wait_message or "The scheduler has not looked at it yet.",
    )
