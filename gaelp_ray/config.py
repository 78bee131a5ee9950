"""Settings, read once from the environment (prefix ``GAELP_``)."""

from __future__ import annotations

import difflib
import json
import os
from datetime import timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

#: In currency units, exact to the micro.
Price = Annotated[Decimal, Field(ge=0, le=10**6, decimal_places=6)]

Port = Annotated[int, Field(ge=1, le=65535)]


def _sane(duration: timedelta) -> timedelta:
    if not timedelta(0) <= duration <= timedelta(days=3650):
        raise ValueError("a duration must be between nothing and ten years")
    return duration


Duration = Annotated[timedelta, AfterValidator(_sane)]
#: Variables that begin as settings do and are none: of the client, of tests, of the service's processes.
_OTHERS = {
    "GAELP_URL",
    "GAELP_TOKEN",
    "GAELP_HEAD_OF",
    "GAELP_DRIVER_OF",
    "GAELP_CHANNEL_FD",
    "GAELP_SHARED",
    "GAELP_TEST_CLUSTER",
    "GAELP_TEST_DATABASE_URL",
}


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

    model_config = SettingsConfigDict(
        env_prefix="GAELP_",
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        # A value may be a secret, and what is wrong with it is told in words.
        hide_input_in_errors=True,
    )

    home: Path = Field(default=Path(".gaelp"), description="Data folder of the embedded default.")
    database_url: str | None = Field(
        default=None, description="PostgreSQL server; the embedded one is started when absent."
    )
    storage: str | None = Field(
        default=None, description="Checkpoints: a path, s3:// or gs://; default HOME/storage."
    )
    jwt_secret: SecretStr | None = Field(default=None, description="HS256 secret; default HOME/jwt-secret.")

    host: str = "127.0.0.1"
    port: Port = 8000
    metrics_port: Port = 8080
    dashboard_port: Port = 8265
    ray_port: Port = 6379
    ray_client_port: Port = 10001
    num_cpus: float | None = Field(
        default=None, ge=0, le=10**6, description="Logical CPUs of the local Ray head."
    )
    num_gpus: float | None = Field(
        default=None, ge=0, le=10**6, description="Logical GPUs of the local Ray head."
    )

    replicas: int = Field(default=2, ge=1, description="API replicas.")
    launchers: int = Field(default=2, ge=1, le=64, description="Launcher actors.")
    hub_shards: int = Field(default=1, ge=1, le=16, description="Metrics hub actors.")
    budget_guards: int = Field(default=1, ge=1, le=16, description="Budget guard actors.")
    followers_per_user: int = Field(
        default=50, ge=1, description="Logs and agents that one user may follow at once on each API replica."
    )
    followers: int = Field(default=500, ge=1, description="The same for all users together.")
    pool_size: int = Field(default=8, ge=1, description="Database connections per process.")

    tick: Duration = Field(default=timedelta(seconds=1), description="Longest time between scheduler ticks.")
    lease: Duration = Field(default=timedelta(seconds=10), description="Scheduler leadership lease.")
    launcher_silence: Duration = Field(
        default=timedelta(seconds=60), description="A launcher of another cluster is gone after this silence."
    )
    queue_limit: int = Field(default=100_000, ge=1, description="Jobs that may wait in all.")
    user_queue_limit: int = Field(
        default=10_000, ge=1, description="Jobs of one user that may wait, where his quota does not say."
    )

    aging_step: Duration = Field(
        default=timedelta(hours=6), gt=timedelta(0), description="Waiting so long raises priority by one."
    )
    aging_most: int = Field(default=9, ge=0, le=9, description="How much waiting raises priority at most.")
    fair_share: bool = Field(default=True, description="Of equal priority, who used less goes first.")
    half_life: Duration = Field(
        default=timedelta(hours=6), gt=timedelta(0), description="Usage of so long ago counts half."
    )
    short_first: bool = Field(default=True, description="Of equal share, what is soon done goes first.")
    preemption: Literal["never", "preemptible", "lower_priority"] = Field(
        default="preemptible", description="Which running jobs may be asked to make room."
    )
    preemption_budget: int = Field(default=50, ge=0, description="How often one job makes room.")
    preempt_after: Duration = Field(
        default=timedelta(seconds=60), description="A younger attempt is left alone."
    )
    preempt_after_most: Duration = Field(
        default=timedelta(minutes=5),
        description="That age doubles with each time the job made room, up to this.",
    )
    preemptors: int = Field(default=8, ge=0, description="Jobs that room is made for in one tick.")
    reservation: Duration = Field(
        default=timedelta(minutes=2), description="How long freed room is kept for the job it was made for."
    )
    protected_heads: int = Field(default=1, ge=0, description="Blocked jobs that backfill may not delay.")
    protect_after: Duration = Field(
        default=timedelta(minutes=30), description="How long a job has waited before it is protected so."
    )
    protect_horizon: float = Field(
        default=0.5, ge=0, description="And only if its turn comes within this share of its wait so far."
    )
    spot_wait: Duration = Field(
        default=timedelta(minutes=5), description="How long a job that prefers spot nodes waits for one."
    )
    starts_per_tick: int = Field(default=1000, ge=1, description="Jobs started in one tick at most.")
    idle_gpu_warn: Duration | None = Field(
        default=timedelta(minutes=10), description="GPUs unused for so long are told of."
    )
    idle_gpu_stop: Duration | None = Field(
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
    compute_slice: Duration = Field(
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
    environments: Path | None = Field(
        default=None, description="Folder of each node for the packages of jobs; default HOME/environments."
    )
    environments_limit_bytes: int = Field(
        default=20 * 1024**3, ge=0, description="Packages that no job uses are removed past this size."
    )
    installer: Literal["auto", "uv", "pip"] = Field(
        default="auto", description="What installs the packages of jobs; `auto`: uv where a node has it."
    )
    install_timeout_s: float = Field(
        default=1800.0, gt=0, description="How long installing the packages of one job may take."
    )
    log_limit_bytes: int = Field(default=4_000_000, ge=1_000, description="Log kept per attempt.")
    token_ttl: Duration = timedelta(days=30)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "WARNING"

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("home")
    @classmethod
    def _found(cls, home: Path) -> Path:
        try:
            return home.expanduser()
        except RuntimeError:
            raise ValueError(f"{home} cannot be found, for HOME is not set; write the whole path") from None

    @field_validator("jwt_secret")
    @classmethod
    def _secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and not secret.get_secret_value().strip():
            raise ValueError("it is empty; unset it, or use 32 bytes or more")
        return secret

    @field_validator("host")
    @classmethod
    def _named(cls, host: str) -> str:
        if not host or host != host.strip() or "/" in host:
            raise ValueError("it must be an address of this machine, such as 127.0.0.1 or 0.0.0.0")
        return host

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, url: str | None) -> str | None:
        """Refused without being shown, for it may hold a password."""
        if url is None:
            return None
        try:
            parsed = urlsplit(url)
            _ = parsed.port
        except ValueError:
            raise ValueError(
                "it is no address such as postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
            ) from None
        if parsed.scheme not in ("postgresql", "postgres", "postgresql+psycopg2"):
            kind = f"{parsed.scheme}://" if "://" in url else "what is no address"
            raise ValueError(
                f"it must begin with postgresql://, not with {kind}; only PostgreSQL is supported"
            )
        return url

    @model_validator(mode="after")
    def _ports_of_their_own(self) -> Settings:
        names = ("port", "metrics_port", "dashboard_port", "ray_port", "ray_client_port")
        seen: dict[int, str] = {}
        for name in names:
            port = getattr(self, name)
            if port in seen:
                raise ValueError(
                    f"{_variable(seen[port])} and {_variable(name)} are both {port}; set one apart"
                )
            seen[port] = name
        return self

    @model_validator(mode="after")
    def _leads_longer_than_a_tick(self) -> Settings:
        if not timedelta(0) < self.tick < self.lease:
            raise ValueError("GAELP_TICK must be more than nothing and less than GAELP_LEASE")
        return self

    @cached_property
    def data_dir(self) -> Path:
        return self.home.expanduser().resolve()

    @cached_property
    def storage_uri(self) -> str:
        return self.storage or str(self.data_dir / "storage")

    @cached_property
    def environments_dir(self) -> Path:
        return (self.environments or self.data_dir / "environments").expanduser().absolute()

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


def unknown_settings() -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = {_variable(name) for name in Settings.model_fields}
    told = []
    for name in sorted(os.environ):
        if name.startswith("GAELP_") and name not in known | _OTHERS:
            near = difflib.get_close_matches(name, known, 1)
            told.append(f"Ignoring {name}, which is no setting" + (f"; {near[0]} is one" if near else ""))
    return told


def _variable(name: str) -> str:
    return f"GAELP_{name.upper()}"
