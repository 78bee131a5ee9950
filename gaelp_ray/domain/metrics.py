"""Metric points: what a job, or an outside source, says about an agent over time."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gaelp_ray.domain.errors import InvalidInput

#: A point with more values than this is refused: it is a bug, not a metric.
MAX_VALUES = 200
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_./:-]{0,99}\Z")


@dataclass(frozen=True)
class MetricPoint:
    """Values reported together. ``job_id`` is None for metrics posted from outside."""

    agent_id: int
    at: datetime
    values: Mapping[str, float]
    job_id: int | None = None
    attempt: int | None = None
    step: int | None = None
    total_steps: int | None = None
    #: Where it comes from: ``job`` or the name an outside source gave itself.
    source: str = field(default="job")


def check_values(values: Mapping[str, float]) -> dict[str, float]:
    """Names and finite numbers only; raises ``InvalidInput`` naming the first that is not."""
    if not values:
        raise InvalidInput("`metrics` must hold at least one value, e.g. {'reward': 1.0}.")
    if len(values) > MAX_VALUES:
        raise InvalidInput(f"`metrics` may hold at most {MAX_VALUES} values; got {len(values)}.")
    clean: dict[str, float] = {}
    for name, value in values.items():
        check_metric_name(name)
        number = _number(name, value)
        if not math.isfinite(number):
            raise InvalidInput(f"Metric {name!r} must be a finite number; got {value}.")
        clean[name] = number
    return clean


def check_metric_name(name: str) -> str:
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidInput(f"{name!r:.140} is not a metric name; use letters, digits and '_./:-'.")
    return name


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"Metric {name!r} must be a number; got {value!r}.") from None
