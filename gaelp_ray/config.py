"""Settings, read once from the environment (prefix ``GAELP_``)."""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


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
    job_timeout_s: float | None = Field(default=None, gt=0, description="Default time limit of an attempt.")
    max_retries: int = Field(default=3, ge=0, description="Default retries after a job's own failures.")
    retry_base_s: float = Field(default=60.0, ge=0)
    retry_cap_s: float = Field(default=3600.0, ge=0)
    stop_grace_s: float = Field(default=10.0, ge=0, description="Time to save and leave when told to stop.")
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
        return {f"GAELP_{name.upper()}": str(value) for name, value in values.items()}
