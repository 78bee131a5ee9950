"""The gate from simulation to real money: what must be shown before a version may spend any."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from gaelp_ray.domain.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class RequiredEvidence:
    """What evidence must show. Also a rule of policies, so that a stricter one can be attached."""

    kind: ClassVar[str] = "required_evidence"
    min_seeds: int = 10
    #: The least that the lower end of the effect's confidence interval may be, in the unit of the effect.
    min_effect: float = 0.0
    min_confidence: float = 0.95
    #: A metric that must stay low, and the most its upper confidence bound may be.
    safety_metric: str | None = None
    max_safety: float | None = None
    max_age_days: int = 30
    #: People who must approve, none of them the one who asks.
    approvals: int = 2

    def __post_init__(self) -> None:
        for name, least, most in (("min_seeds", 2, 10_000), ("max_age_days", 1, 3650), ("approvals", 0, 10)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise InvalidInput(f"`{name}` must be a whole number from {least} to {most}.")
        if not _is_finite(self.min_effect):
            raise InvalidInput("`min_effect` must be a finite number.")
        if not _is_finite(self.min_confidence) or not 0.5 < self.min_confidence < 1:
            raise InvalidInput("`min_confidence` must be above 0.5 and below 1.")
        if (self.safety_metric is None) != (self.max_safety is None):
            raise InvalidInput("`safety_metric` and `max_safety` are given together or not at all.")
        if self.max_safety is not None and not _is_finite(self.max_safety):
            raise InvalidInput("`max_safety` must be a finite number.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an evaluation of a version found, against a baseline."""

    version_id: int
    baseline: str
    seeds: int
    effect: float
    #: The confidence interval of the effect.
    low: float
    high: float
    confidence: float
    #: Upper confidence bounds of what must stay low, by metric.
    safety: Mapping[str, float] = field(default_factory=dict)
    recorded_by: str = ""
    recorded_at: datetime | None = None
    id: int = 0

    def __post_init__(self) -> None:
        numbers = (self.effect, self.low, self.high, self.confidence, *self.safety.values())
        if not all(_is_finite(number) for number in numbers):
            raise InvalidInput("Evidence must consist of finite numbers.")
        if type(self.seeds) is not int or self.seeds < 1:
            raise InvalidInput("`seeds` must be a whole number of at least 1.")
        if not self.low <= self.effect <= self.high:
            raise InvalidInput(
                f"The effect {self.effect} must lie in its interval, {self.low} to {self.high}."
            )
        if not 0 < self.confidence < 1:
            raise InvalidInput(f"`confidence` must lie between 0 and 1; got {self.confidence}.")
        if not self.baseline or len(self.baseline) > 200:
            raise InvalidInput("`baseline` must be a text of 1 to 200 characters.")


def missing(evidence: Evidence, required: RequiredEvidence, now: datetime) -> list[str]:
    """Each thing that this evidence does not show, as a sentence; empty where it shows all."""
    found = []
    if evidence.recorded_at is None or now - evidence.recorded_at > timedelta(days=required.max_age_days):
        found.append(f"It must not be older than {required.max_age_days} days.")
    if evidence.seeds < required.min_seeds:
        found.append(f"It has {evidence.seeds} seeds, and {required.min_seeds} are needed.")
    if evidence.confidence < required.min_confidence:
        found.append(
            f"Its interval is of {evidence.confidence:g}, and {required.min_confidence:g} is needed."
        )
    # Above and not at: an effect that may be nothing is none.
    if not evidence.low > required.min_effect:
        found.append(
            f"The effect may be as low as {evidence.low:g}; it must be above {required.min_effect:g}."
        )
    if required.safety_metric is not None and required.max_safety is not None:
        bound = evidence.safety.get(required.safety_metric, math.inf)
        if not bound <= required.max_safety:
            found.append(
                f"{required.safety_metric} may be {bound:g}; at most {required.max_safety:g} is allowed."
            )
    return found


def all_missing(evidence: Evidence, required: Iterable[RequiredEvidence], now: datetime) -> list[str]:
    return [sentence for each in required for sentence in missing(evidence, each, now)]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
