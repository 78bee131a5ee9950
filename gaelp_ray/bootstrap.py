"""Settings to a working process: one store, the policies, the signing secret. Once per process."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from datetime import timedelta
from functools import cached_property
from pathlib import Path

from gaelp_ray.config import Settings
from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.errors import SetupError
from gaelp_ray.domain.money import micros_from_units
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.resources import Resources, parse_resources
from gaelp_ray.domain.retries import RetryPolicy
from gaelp_ray.domain.scheduling import PreemptionMode, SchedulingPolicy
from gaelp_ray.observability import logs
from gaelp_ray.services import currencies
from gaelp_ray.services.forecasts import JobDefaults
from gaelp_ray.store.engine import Store

#: What an attempt may take that is told to stop, beside its time of grace: until it hears of it, and until
#: its process and its task are gone if it does not heed it.
_STOPPING = timedelta(seconds=30)


class Runtime:
    """What an actor or API replica builds from the settings it is given."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        for group in settings.node_groups:
            # Said here, in a sentence, and not by a planner that fails at every tick.
            name = f"GAELP_NODE_GROUPS.{group.name}"
            parse_resources(group.resources, default=Resources(), field=name)
        logs.configure(settings.log_level)

    @cached_property
    def store(self) -> Store:
        if self.settings.database_url is None:
            raise SetupError(
                "No database is configured; set GAELP_DATABASE_URL or start the embedded one with `gaelp up`."
            )
        return Store(self.settings.database_url, pool_size=self.settings.pool_size)

    def keep_currency(self) -> None:
        """Raise ``SetupError`` where GAELP_CURRENCY was changed under limits of compute that are in force."""
        self.store.transact(currencies.keep, self.settings.currency)

    @cached_property
    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(base_s=self.settings.retry_base_s, cap_s=self.settings.retry_cap_s)

    @cached_property
    def scheduling_policy(self) -> SchedulingPolicy:
        return scheduling_policy(self.settings)

    @cached_property
    def job_defaults(self) -> JobDefaults:
        return JobDefaults(
            timeout_s=self.settings.job_timeout_s,
            max_retries=self.settings.max_retries,
            queue_limit=self.settings.queue_limit,
            user_queue_limit=self.settings.user_queue_limit,
            terms=self.terms,
            refuses_dear_jobs=self.settings.dear_jobs == "refuse",
        )

    @cached_property
    def terms(self) -> Terms:
        """How running time is paid for."""
        notice = timedelta(seconds=self.settings.stop_grace_s) + _STOPPING
        return Terms(self.prices, self.settings.compute_slice, notice)

    @cached_property
    def prices(self) -> PriceTable:
        settings = self.settings
        gpu_hours = settings.price_gpu_hour.items()
        return PriceTable(
            currency=settings.currency,
            cpu_hour_micros=micros_from_units(settings.price_cpu_hour, field="GAELP_PRICE_CPU_HOUR"),
            gib_hour_micros=micros_from_units(settings.price_gib_hour, field="GAELP_PRICE_GIB_HOUR"),
            gpu_hour_micros={
                kind: micros_from_units(price, field="GAELP_PRICE_GPU_HOUR") for kind, price in gpu_hours
            },
            spot_discount_ppm=int(settings.price_spot_discount * 1_000_000),
        )

    @cached_property
    def jwt_secret(self) -> str:
        return signing_secret(self.settings)


def scheduling_policy(settings: Settings) -> SchedulingPolicy:
    """The operator's choices, as the planner takes them."""
    return SchedulingPolicy(
        aging_step=settings.aging_step,
        aging_most=settings.aging_most,
        fair_share=settings.fair_share,
        half_life=settings.half_life,
        short_first=settings.short_first,
        preemption=PreemptionMode(settings.preemption),
        preemption_budget=settings.preemption_budget,
        preempt_after=settings.preempt_after,
        preempt_after_most=settings.preempt_after_most,
        preemptors=settings.preemptors,
        reservation=settings.reservation,
        protected_heads=settings.protected_heads,
        protect_after=settings.protect_after,
        protect_horizon=settings.protect_horizon,
        spot_wait=settings.spot_wait,
        starts=settings.starts_per_tick,
    )


def signing_secret(settings: Settings) -> str:
    """The configured secret, else the one in HOME/jwt-secret, made at first use, for its owner only."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = settings.data_dir / "jwt-secret"
    try:
        if not path.exists():
            write_private(path, secrets.token_urlsafe(48))
        secret = path.read_text().strip()
    except OSError as error:
        raise SetupError(f"The signing secret {path} cannot be read or made: {error.strerror}.") from None
    if not secret:
        raise SetupError(f"The signing secret {path} is empty; remove the file, and a new one is made.")
    return secret


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all; one that exists is left as it is."""
    fresh = _written(path, text)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
    finally:
        fresh.unlink()


def replace_private(path: Path, text: str) -> None:
    """As ``write_private``, in the place of what is there."""
    _written(path, text).replace(path)


def _written(path: Path, text: str) -> Path:
    """A file beside ``path`` that is safe on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
