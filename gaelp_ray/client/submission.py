"""What may be said of a job when it is submitted or planned."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypedDict

from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Spot


class JobFields(TypedDict, total=False):
    """What is left out, or None, is as the agent's version or the service says."""

    name: str | None
    #: 1 to 10; 10 goes first.
    priority: int | None
    hyperparameters: Mapping[str, Any] | None
    #: Overlays the configuration of the version.
    training_config: Mapping[str, Any] | None
    entrypoint: str | None
    #: Kubernetes quantities of each worker, e.g. ``{"cpu": "500m", "gpu": 1}``.
    resource_requirements: Mapping[str, Any] | None
    environment_vars: Mapping[str, str] | None
    seed: int | None
    #: Time limit of an attempt.
    timeout_seconds: float | None
    max_retries: int | None
    #: Placed all or not at all.
    workers: int | None
    #: Ray node label -> ``value``, ``!value``, ``in(a, b)`` or ``!in(a, b)``.
    label_selector: Mapping[str, str] | None
    #: ``avoid``, ``prefer`` or ``only``.
    spot: Spot | str | None
    #: It may be asked to save and make room for others.
    preemptible: bool | None
    #: When it must be done; timezone-aware.
    deadline: datetime | None
    #: Your own guess; without it the agent's past runs tell.
    expected_duration_seconds: float | None
    #: What it spends itself: ``simulated``, or ``real`` for a promoted real_deployment agent.
    money: Money | str | None


def body_of(agent_id: int, fields: JobFields) -> dict[str, Any]:
    plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
    return {"agent_id": agent_id, **plain}
