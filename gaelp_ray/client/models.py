"""What the service says, as frozen values. Times are timezone-aware; money is in currency units.

Words such as ``status`` are plain strings, so that a newer service may add one; they compare equal to
the members of ``AgentStatus``, ``JobStatus``, ``JobState`` and ``EndCause`` in ``gaelp_ray.domain``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from gaelp_ray.domain.jobs import JobStatus

T = TypeVar("T")

_ENDED = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list; ``next_cursor`` asks for the next and is None on the last."""

    items: tuple[T, ...] = ()
    next_cursor: str | None = None


@dataclass(frozen=True)
class Agent:
    """An agent as its current version describes it."""

    id: int
    name: str
    type: str
    status: str
    owner: str = ""
    description: str = ""
    version: str = ""
    docker_image: str | None = None
    #: Folder or archive with the code that its jobs run in.
    working_dir: str | None = None
    entrypoint: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    #: Kubernetes quantities, e.g. ``{"cpu": "500m", "memory": "2Gi"}``.
    resource_requirements: Mapping[str, str] = field(default_factory=dict)
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    #: Environment variable -> name of the secret.
    secrets: Mapping[str, str] = field(default_factory=dict)
    #: Fields that are empty here because a list does not show what is large; ``get`` has them.
    left_out: tuple[str, ...] = ()
    #: Currency units; None is no limit.
    budget_limit: float | None = None
    budget_spent: float = 0.0
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class AgentVersion:
    """One immutable version of an agent."""

    version: str
    agent_id: int | None = None
    docker_image: str | None = None
    #: Folder or archive with the code that its jobs run in.
    working_dir: str | None = None
    entrypoint: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    resource_requirements: Mapping[str, str] = field(default_factory=dict)
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    #: Fields that are empty here because a list does not show what is large.
    left_out: tuple[str, ...] = ()
    created_by: str = ""
    created_at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """The last thing a job said about itself."""

    step: int | None = None
    total_steps: int | None = None
    #: 0 to 1; None until a step is known.
    fraction: float | None = None
    #: Until the last step, at the pace of its present attempt; None while none runs.
    eta_seconds: float | None = None
    #: When its present attempt began to run, and the step that it went on from.
    running_since: datetime | None = None
    from_step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Waiting:
    """Why a job waits: a stable code and a sentence."""

    code: str
    message: str = ""


@dataclass(frozen=True)
class ComputeCost:
    """What a job's compute costs whoever pays for it, in whole micros of the service's currency."""

    #: So far; what runs is booked slice by slice.
    booked_micros: int = 0
    #: Median and 90th percentile; None where nothing tells how long it will run.
    expected_micros: int | None = None
    expected_p90_micros: int | None = None


@dataclass(frozen=True)
class Job:
    """A training job."""

    id: int
    agent_id: int
    name: str
    status: str
    #: The finer state behind ``status``.
    phase: str
    version_id: int | None = None
    owner: str = ""
    #: 1 to 10; 10 goes first.
    priority: int = 5
    #: Of each worker.
    resource_requirements: Mapping[str, str] = field(default_factory=dict)
    workers: int = 1
    #: Node label -> condition.
    label_selector: Mapping[str, str] = field(default_factory=dict)
    #: ``avoid``, ``prefer`` or ``only``.
    spot: str = "avoid"
    #: It may be asked to save and make room for others.
    preemptible: bool = False
    deadline: datetime | None = None
    #: Predicted, or its owner's guess.
    expected_duration_seconds: float | None = None
    entrypoint: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    training_config: Mapping[str, Any] = field(default_factory=dict)
    environment_vars: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    timeout_seconds: float | None = None
    max_retries: int = 0
    #: Attempts used up by the job's own failures.
    failures: int = 0
    #: Attempts lost to the infrastructure; they are free.
    losses: int = 0
    #: How often it made room for others; free.
    preemptions: int = 0
    #: Number of the newest attempt; 0 before the first.
    attempt: int = 0
    progress: Progress = field(default_factory=Progress)
    waiting: Waiting | None = None
    #: Why it ended; None until it has.
    cause: str | None = None
    message: str | None = None
    #: What the entry point returned; lists leave it out.
    result: Mapping[str, Any] | None = None
    #: Fields that are empty here because a list does not show them; ``get`` has them.
    left_out: tuple[str, ...] = ()
    #: Plain statements about how the job runs that its owner should know.
    notices: tuple[str, ...] = ()
    #: What it spends itself, ``simulated`` or ``real``.
    money: str = "simulated"
    cost: ComputeCost = field(default_factory=ComputeCost)
    submitted_at: datetime | None = None
    #: When it last joined the queue.
    queued_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    #: Waits out a delay until then.
    not_before: datetime | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in _ENDED

    @property
    def succeeded(self) -> bool:
        return self.status == JobStatus.COMPLETED


@dataclass(frozen=True)
class Seat:
    """Where one worker runs."""

    node_id: str
    #: Numbers of its GPUs on that node, where they are known.
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Attempt:
    """One try of a job."""

    number: int
    id: int | None = None
    #: The first worker's.
    node_id: str | None = None
    workers: int = 1
    placement: tuple[Seat, ...] = ()
    #: A node of it is one that its owner may take back.
    spot: bool = False
    cause: str | None = None
    message: str | None = None
    exit_code: int | None = None
    #: None when it started from nothing.
    resumed_from_step: int | None = None
    peak_memory_bytes: int | None = None
    created_at: datetime | None = None
    claimed_at: datetime | None = None
    last_seen_at: datetime | None = None
    #: When it saved its newest checkpoint.
    saved_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A saved state of a job."""

    id: int
    step: int
    #: Where it was saved.
    uri: str
    attempt: int | None = None
    #: The same place relative to the service's storage.
    address: str = ""
    #: SHA-256 of the manifest of its files.
    digest: str = ""
    size_bytes: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True)
class Event:
    """One change of a job's state."""

    id: int
    event: str
    to_state: str
    #: None for the submission.
    from_state: str | None = None
    attempt: int | None = None
    #: A user's name or ``system``.
    actor: str = ""
    message: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None


@dataclass(frozen=True)
class CancelledMany:
    """Jobs that were cancelled together."""

    count: int
    ids: tuple[int, ...] = ()
    #: There may be more of them; ask again.
    more: bool = False


@dataclass(frozen=True)
class Metric:
    """Values reported together about an agent."""

    metrics: Mapping[str, float]
    at: datetime
    id: int | None = None
    agent_id: int | None = None
    #: None for metrics from outside.
    job_id: int | None = None
    attempt: int | None = None
    step: int | None = None
    source: str = ""


@dataclass(frozen=True)
class Cluster:
    """What the machines have: in all, held by jobs, and left."""

    nodes: int = 0
    total: Mapping[str, Any] = field(default_factory=dict)
    claimed: Mapping[str, Any] = field(default_factory=dict)
    free: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentCounts:
    total: int = 0
    by_type: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Scheduler:
    """Who plans now: one process at a time holds the lease."""

    holder: str | None = None
    epoch: int | None = None
    leading: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True)
class SetAside:
    """Something that the service could not do; the rest was done."""

    #: What it does again and again, e.g. ``expire-holds``.
    duty: str
    item: str
    error: str
    first_at: datetime
    last_at: datetime
    times: int = 1
    #: None: it is not tried again, since whoever asked for it was told.
    next_try_at: datetime | None = None


@dataclass(frozen=True)
class ServiceStatus:
    """The whole service at a glance."""

    version: str = ""
    cluster: Cluster = field(default_factory=Cluster)
    #: Jobs by status.
    jobs: Mapping[str, int] = field(default_factory=dict)
    #: Jobs by phase.
    phases: Mapping[str, int] = field(default_factory=dict)
    agents: AgentCounts = field(default_factory=AgentCounts)
    scheduler: Scheduler = field(default_factory=Scheduler)
    #: Items that wait to be tried again, by duty.
    set_aside: Mapping[str, int] = field(default_factory=dict)
    #: What could not be done lately, the newest first; for admins.
    failures: tuple[SetAside, ...] = ()
