"""Settings to a working process: one store, the policies, the signing secret. Once per process."""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path

from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.domain.retries import RetryPolicy
from gaelp_ray.observability import logs
from gaelp_ray.services.jobs import JobDefaults
from gaelp_ray.store.engine import Store


class Runtime:
    """What an actor or API replica builds from the settings it is given."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        logs.configure(settings.log_level)

    @cached_property
    def store(self) -> Store:
        if self.settings.database_url is None:
            raise SetupError(
                "No database is configured; set GAELP_DATABASE_URL or start the embedded one with `gaelp up`."
            )
        return Store(self.settings.database_url, pool_size=self.settings.pool_size)

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(base_s=self.settings.retry_base_s, cap_s=self.settings.retry_cap_s)

    @cached_property
    def job_defaults(self) -> JobDefaults:
        return JobDefaults(
            timeout_s=self.settings.job_timeout_s,
            max_retries=self.settings.max_retries,
            queue_limit=self.settings.queue_limit,
        )

    @cached_property
    def jwt_secret(self) -> str:
        return signing_secret(self.settings)


def signing_secret(settings: Settings) -> str:
    """The configured secret, else the one in HOME/jwt-secret, made at first use, for its owner only."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = settings.data_dir / "jwt-secret"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        write_private(path, secrets.token_urlsafe(48))
        return path.read_text().strip()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; one that exists is left as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
