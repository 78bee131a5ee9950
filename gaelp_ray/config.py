"""Settings, read once from the environment (prefix ``GAELP_``)."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

#: In currency units, exact to the micro.
Price = Annotated[Decimal, Field(ge=0, le=10**6, decimal_places=6)]


class NodeGroup(BaseModel):
    """A worker group of the cluster's manifest: nodes that its autoscaler may add."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: As in the manifest; Ray labels each node with it (``ray.io/node-group``).
    name: str
    most: int = Field(ge=0, description="Nodes of the group at most.")
    resources: dict[str, str | int | float]
    labels: dict[str, str] = Field(default_factory=dict)


class Settings(BaseSettings):
    """Everything an operator may set. Each field is ``GAELP_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="GAELP_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".gaelp"), description="Data folder of the embedded default.")
    database_url: str | None = Field(
        default=None, description="PostgreSQL server; the embedded one is started when absent."
    )
    storage: str | None = Field(
        default=None, description="Checkpoints: a path, s3:// or gs://; default HOME/storage."
    )
    jwt_secret: SecretStr | None = Field(default=None, description="HS256 secret; default HOME/jwt-secret.")

    host: str = "127.0.0.1"
    port: int = 8000
    metrics_port: int = 8080
    dashboard_port: int = 8265
    ray_port: int = 6379
    ray_client_port: int = 10001
    num_cpus: float | None = Field(default=None, description="Logical CPUs of the local Ray head.")
    num_gpus: float | None = Field(default=None, description="Logical GPUs of the local Ray head.")

    replicas: int = Field(default=2, ge=1, description="API replicas.")
    launchers: int = Field(default=2, ge=1, le=64, description="Launcher actors.")
    hub_shards: int = Field(default=1, ge=1, le=16, description="Metrics hub actors.")
    budget_guards: int = Field(default=1, ge=1, le=16, description="Budget guard actors.")
    pool_size: int = Field(default=8, ge=1, description="Database connections per process.")

    tick: timedelta = Field(default=timedelta(seconds=1), description="Longest time between scheduler ticks.")
    lease: timedelta = Field(default=timedelta(seconds=10), description="Scheduler leadership lease.")
    launcher_silence: timedelta = Field(
        default=timedelta(seconds=60), description="A launcher of another cluster is gone after this silence."
    )
    queue_limit: int = Field(default=100_000, ge=1, description="Jobs that may wait in all.")
    user_queue_limit: int = Field(
        default=10_000, ge=1, description="Jobs of one user that may wait, where his quota does not say."
    )

    aging_step: timedelta = Field(
        default=timedelta(hours=6), gt=timedelta(0), description="Waiting so long raises priority by one."
    )
    aging_most: int = Field(default=9, ge=0, le=9, description="How much waiting raises priority at most.")
    fair_share: bool = Field(default=True, description="Of equal priority, who used less goes first.")
    half_life: timedelta = Field(
        default=timedelta(hours=6), gt=timedelta(0), description="Usage of so long ago counts half."
    )
    short_first: bool = Field(default=True, description="Of equal share, what is soon done goes first.")
    preemption: Literal["never", "preemptible", "lower_priority"] = Field(
        default="preemptible", description="Which running jobs may be asked to make room."
    )
    preemption_budget: int = Field(default=50, ge=0, description="How often one job makes room.")
    preempt_after: timedelta = Field(
        default=timedelta(seconds=60), description="A younger attempt is left alone."
    )
    preempt_after_most: timedelta = Field(
        default=timedelta(minutes=5),
        description="That age doubles with each time the job made room, up to this.",
    )
    preemptors: int = Field(default=8, ge=0, description="Jobs that room is made for in one tick.")
    reservation: timedelta = Field(
        default=timedelta(minutes=2), description="How long freed room is kept for the job it was made for."
    )
    protected_heads: int = Field(default=1, ge=0, description="Blocked jobs that backfill may not delay.")
    protect_after: timedelta = Field(
        default=timedelta(minutes=30), description="How long a job has waited before it is protected so."
    )
    protect_horizon: float = Field(
        default=0.5, ge=0, description="And only if its turn comes within this share of its wait so far."
    )
    spot_wait: timedelta = Field(
        default=timedelta(minutes=5), description="How long a job that prefers spot nodes waits for one."
    )
    starts_per_tick: int = Field(default=1000, ge=1, description="Jobs started in one tick at most.")
    idle_gpu_warn: timedelta | None = Field(
        default=timedelta(minutes=10), description="GPUs unused for so long are told of."
    )
    idle_gpu_stop: timedelta | None = Field(
        default=None, description="GPUs unused for so long end the attempt."
    )
    node_groups: tuple[NodeGroup, ...] = Field(
        default=(),
        description="Worker groups that the autoscaler may enlarge, as JSON; Ray does not tell its bounds.",
    )
    currency: str = Field(
        default="USD", pattern=r"^[A-Z]{3}$", description="Of prices and budgets, ISO 4217 code."
    )
    price_cpu_hour: Price = Field(default=Decimal("0.04"), description="Of one core, on demand.")
    price_gib_hour: Price = Field(default=Decimal("0.005"), description="Of one GiB of memory.")
    price_gpu_hour: dict[str, Price] = Field(
        default={"*": Decimal("2.50")}, description="By accelerator type, as JSON; `*` is every other."
    )
    price_spot_discount: Decimal = Field(
        default=Decimal("0.6"), ge=0, le=1, decimal_places=6, description="What spot nodes are cheaper."
    )
    compute_slice: timedelta = Field(
        default=timedelta(minutes=10),
        ge=timedelta(seconds=1),
        description="Running time that money is held for at once.",
    )
    dear_jobs: Literal["flag", "refuse"] = Field(
        default="flag", description="What becomes of a job that may cost more than its budgets have left."
    )
    job_timeout_s: float | None = Field(default=None, gt=0, description="Default time limit of an attempt.")
    max_retries: int = Field(default=3, ge=0, description="Default retries after a job's own failures.")
    retry_base_s: float = Field(default=60.0, ge=0)
    retry_cap_s: float = Field(default=3600.0, ge=0)
    stop_grace_s: float = Field(default=10.0, ge=0, description="Time to save and leave when told to stop.")
    exit_grace_s: float = Field(
        default=30.0, ge=0, description="Time for threads and exit handlers once an entry point has returned."
    )
    metrics_open: bool = Field(
        default=False, description="Whether /metrics shows the figures of each account without a token."
    )
    body_limit_bytes: int = Field(default=1_000_000, ge=1_000)
    log_limit_bytes: int = Field(default=4_000_000, ge=1_000, description="Log kept per attempt.")
    token_ttl: timedelta = timedelta(days=30)
    log_level: str = "WARNING"

    @cached_property
    def data_dir(self) -> Path:
        return self.home.expanduser().resolve()

    @cached_property
    def storage_uri(self) -> str:
        return self.storage or str(self.data_dir / "storage")

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for the processes of the cluster."""
        values = self.model_dump(mode="json", exclude={"jwt_secret"}, exclude_none=True)
        values["home"] = str(self.data_dir)
        if self.jwt_secret is not None:
            values["jwt_secret"] = self.jwt_secret.get_secret_value()
        return {
            f"GAELP_{name.upper()}": json.dumps(value) if isinstance(value, list | dict) else str(value)
            for name, value in values.items()
        }
