"""Metric points: what a job, or an outside source, says about an agent over time.

The rule of what a metric is stands here, for every door: a trainer's report, the message that carries it, and
values posted from outside.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gaelp_ray.domain.errors import InvalidInput

#: A point with more values than this is refused: it is a bug, not a metric.
MAX_VALUES = 200
#: Steps and totals are counted up to what a 64-bit column holds.
STEPS_END = 2**63
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


def check_values(values: Mapping[str, Any]) -> dict[str, float]:
    """At least one, all finite; raises ``InvalidInput`` naming the first that is not."""
    clean = read_values(values)
    if not clean:
        raise InvalidInput("`metrics` must hold at least one value, e.g. {'reward': 1.0}.")
    for name, number in clean.items():
        if not math.isfinite(number):
            raise InvalidInput(f"Metric {name!r} must be a finite number; got {number}.")
    return clean


def read_values(values: Mapping[str, Any]) -> dict[str, float]:
    """Numbers under plain names, NaN and infinity among them; raises ``InvalidInput`` naming the first other.

    A number is an int, a float, a decimal, or a scalar of numpy, torch and the like. Text and truth values
    are none.
    """
    if not isinstance(values, Mapping):
        raise InvalidInput(f"`metrics` must map names to numbers; got {_shown(values)}.")
    if len(values) > MAX_VALUES:
        raise InvalidInput(f"`metrics` may hold at most {MAX_VALUES} values; got {len(values)}.")
    return {check_metric_name(name): _number(name, value) for name, value in values.items()}


def check_metric_name(name: object) -> str:
    """1 to 100 letters, digits and ``_./:-``, a letter or ``_`` first; raises ``InvalidInput`` for others."""
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidInput(
            f"{_shown(name)} is not a metric name; use 1 to 100 letters, digits and '_./:-', a letter first."
        )
    return str(name)


def check_step(step: object, *, field_name: str = "step") -> int:
    """A whole number from 0 to 2**63 - 1; raises ``InvalidInput`` naming the field."""
    number = _whole(step)
    if number is None or not 0 <= number < STEPS_END:
        raise InvalidInput(
            f"`{field_name}` must be below 2**63, at least 0 and a whole number; got {_shown(step)}."
        )
    return number


def _whole(value: object) -> int | None:
    if _is_truth(value):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:  # whatever somebody else's number raises, it is none
        return None


def _number(name: str, value: object) -> float:
    text_or_many = isinstance(value, str | bytes | bytearray) or getattr(value, "ndim", 0) != 0
    if text_or_many or _is_truth(value):
        raise InvalidInput(f"Metric {name!r} must be a number; got {_shown(value)}.")
    try:
        return float(value)  # type: ignore[arg-type]
    except Exception:  # whatever somebody else's number raises, it is none
        raise InvalidInput(f"Metric {name!r} must be a number; got {_shown(value)}.") from None


def _is_truth(value: object) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool")


def _shown(value: object) -> str:
    """For a message; values may be endless, and their ``repr`` may fail."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a whole number of {value.bit_length()} bits"
    try:
        return f"{value!r:.100}" if not isinstance(value, str) else repr(value[:100])
    except Exception:
        return f"a {type(value).__name__}"
