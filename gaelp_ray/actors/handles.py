"""The one place that names actors and says how long they live."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import ray

from gaelp_ray.actors.budget_guard import BudgetGuard, guard_of
from gaelp_ray.actors.cluster import cluster_id
from gaelp_ray.actors.hub import MetricsHub
from gaelp_ray.actors.launcher import Launcher
from gaelp_ray.actors.quota_ledger import QuotaLedger
from gaelp_ray.actors.scheduler import Scheduler
from gaelp_ray.config import Settings

NAMESPACE = "gaelp"
_SCHEDULER = "scheduler"
_QUOTA_LEDGER = "quota-ledger"

#: Calls that wait (``push``, ``listen``, ``finish``) must not block others.
_CONCURRENCY = 1000


@dataclass(frozen=True)
class ControlPlane:
    """Handles of every actor of the control plane."""

    scheduler: Any
    launchers: dict[str, Any]
    hubs: tuple[Any, ...]
    quota_ledger: Any
    guards: tuple[Any, ...]

    def guard(self, account_ids: Iterable[int]) -> Any:
        """The guard that gathers the operations of these accounts."""
        return guard_of(self.guards, account_ids)


def ensure(settings: Settings) -> ControlPlane:
    """Get the actors, and create those that do not exist. Safe to call from many processes at once."""
    cluster = cluster_id()
    hubs = tuple(_actor(MetricsHub, _hub_name(i), settings, i) for i in range(settings.hub_shards))
    guards = tuple(_actor(BudgetGuard, _guard_name(i), settings, i) for i in range(settings.budget_guards))
    launchers: dict[str, Any] = {}
    for i in range(settings.launchers):
        name = f"{cluster[:16]}/launcher-{i}"
        hub = hubs[i % len(hubs)]
        launchers[name] = _actor(Launcher, f"launcher-{i}", settings, name, cluster, hub, guards)
    scheduler = _actor(Scheduler, _SCHEDULER, settings, cluster, launchers)
    return ControlPlane(scheduler, launchers, hubs, _actor(QuotaLedger, _QUOTA_LEDGER, settings), guards)


def scheduler() -> Any:
    """The scheduler's handle; raises ``ValueError`` when there is none."""
    return ray.get_actor(_SCHEDULER, namespace=NAMESPACE)


def quota_ledger() -> Any:
    """The quota ledger's handle; raises ``ValueError`` when there is none."""
    return ray.get_actor(_QUOTA_LEDGER, namespace=NAMESPACE)


def names(settings: Settings) -> list[str]:
    """Every actor name in use, for taking them down."""
    launchers = [f"launcher-{i}" for i in range(settings.launchers)]
    hubs = (_hub_name(i) for i in range(settings.hub_shards))
    return [
        _SCHEDULER,
        _QUOTA_LEDGER,
        *launchers,
        *hubs,
        *(_guard_name(i) for i in range(settings.budget_guards)),
    ]


def _hub_name(shard: int) -> str:
    return f"metrics-hub-{shard}"


def _guard_name(shard: int) -> str:
    return f"budget-guard-{shard}"


def _actor(cls: type, name: str, *args: Any) -> Any:
    """A named, detached actor that Ray restarts for ever.

    Calls in flight at a crash are tried again, so every method must be safe to run twice.
    """
    return (
        ray.remote(cls)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_CONCURRENCY,
            num_cpus=0,
        )
        .remote(*args)
    )
