"""Rules that stop an agent whose results say that something is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import ClassVar

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.money import whole_micros, written
from gaelp_ray.domain.safety.verdicts import Action, Finding, Measured, Severity, is_whole, unmeasured

#: Makes the median absolute deviation of a normal distribution its standard deviation.
_MAD_TO_SIGMA = 1.4826


class Side(StrEnum):
    ABOVE = "above"
    BELOW = "below"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """Stop once this much of the best profit so far is lost."""

    kind: ClassVar[str] = "drawdown"
    max_micros: int
    on_breach: Severity = Severity.HALT

    def __post_init__(self) -> None:
        whole_micros(self.max_micros, field="max_micros")
        _stops(self.on_breach)

    def judge(self, _action: Action, measured: Measured) -> Finding | None:
        profit, peak = measured.profit_micros, measured.peak_profit_micros
        if profit is None or peak is None or not (is_whole(profit) and is_whole(peak)):
            return unmeasured(self.kind, "the agent's profit")
        lost = peak - profit
        if lost < self.max_micros:
            return None
        return Finding(self.kind, f"{written(lost)} of the best profit are lost.", self.on_breach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """Stop when the newest value of a metric is far from its usual, by the robust z-score.

    Median and median absolute deviation, so that outliers of the past do not hide those of today. With fewer
    values than ``min_samples`` before the newest there is no usual yet, and nothing is stopped.
    """

    kind: ClassVar[str] = "anomaly"
    metric: str
    max_z: float
    min_samples: int = 20
    #: The least that counts as one deviation, for metrics that hardly ever move.
    min_scale: float = 1e-9
    side: Side = Side.BOTH
    on_breach: Severity = Severity.HALT

    def __post_init__(self) -> None:
        _metric(self.metric)
        _stops(self.on_breach)
        _positive(self.max_z, field="max_z")
        _positive(self.min_scale, field="min_scale")
        if not is_whole(self.min_samples) or not 3 <= self.min_samples <= 10_000:
            raise InvalidInput("`min_samples` must be a whole number from 3 to 10000.")

    def judge(self, _action: Action, measured: Measured) -> Finding | None:
        values = measured.series.get(self.metric, ())
        if not _finite(values):
            return unmeasured(self.kind, f"finite values of {self.metric}")
        if len(values) <= self.min_samples:
            return None
        z = robust_z(values[-1], values[:-1], min_scale=self.min_scale)
        distance = {Side.ABOVE: z, Side.BELOW: -z, Side.BOTH: abs(z)}[self.side]
        # Written so that a NaN is an anomaly.
        if distance <= self.max_z:
            return None
        message = f"{self.metric} is {values[-1]:.6g}, {z:+.1f} deviations from its usual."
        return Finding(self.kind, message, self.on_breach)


def robust_z(value: float, usual: Sequence[float], *, min_scale: float) -> float:
    """How many deviations a value lies from the median of others."""
    middle = median(usual)
    deviation = median(abs(other - middle) for other in usual)
    return (value - middle) / max(deviation * _MAD_TO_SIGMA, min_scale)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardHacking:
    """Stop when the reward rises and what it stands for does not.

    The newer half of the values is compared with the older: the reward's median rose by more than
    ``min_rise`` of its own deviations, while the outcome's did not rise at all.
    """

    kind: ClassVar[str] = "reward_hacking"
    reward: str = "reward"
    #: What the agent is for, measured by others than itself: conversions, profit.
    outcome: str = "profit"
    min_rise: float = 3.0
    min_samples: int = 20
    on_breach: Severity = Severity.HALT

    def __post_init__(self) -> None:
        _metric(self.reward)
        _metric(self.outcome)
        _stops(self.on_breach)
        _positive(self.min_rise, field="min_rise")
        if not is_whole(self.min_samples) or not 4 <= self.min_samples <= 10_000:
            raise InvalidInput("`min_samples` must be a whole number from 4 to 10000.")

    def judge(self, _action: Action, measured: Measured) -> Finding | None:
        rewards = measured.series.get(self.reward, ())
        outcomes = measured.series.get(self.outcome, ())
        if not _finite(rewards) or not _finite(outcomes):
            return unmeasured(self.kind, f"finite values of {self.reward} and {self.outcome}")
        if min(len(rewards), len(outcomes)) < self.min_samples:
            return None
        rise = _rise(rewards)
        if rise <= self.min_rise or _rise(outcomes) > 0:
            return None
        message = f"{self.reward} rose by {rise:.1f} deviations while {self.outcome} did not."
        return Finding(self.kind, message, self.on_breach)


def _rise(values: Sequence[float]) -> float:
    half = len(values) // 2
    return robust_z(median(values[half:]), values[:half], min_scale=1e-9)


def _finite(values: Sequence[float]) -> bool:
    numbers = (int, float)
    return all(type(v) in numbers and math.isfinite(v) for v in values)


def _positive(value: float, *, field: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise InvalidInput(f"`{field}` must be a finite number above 0.")


def _metric(name: str) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= 200 or not name.isprintable():
        raise InvalidInput("A metric's name must be a text of 1 to 200 printable characters.")


def _stops(severity: Severity) -> None:
    if severity is Severity.CLIP:
        raise InvalidInput("`on_breach` must be 'deny' or 'halt': there is nothing here to make smaller.")
