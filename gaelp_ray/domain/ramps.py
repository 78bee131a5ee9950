"""Staged spend: a new version spends a little first, more while all is well, and nothing once it is not.

canary ── held its time, healthy ──> ramping ── last stage held ──> full
   └───────────── unhealthy ────────────┴──> rolled_back
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.metrics import check_metric_name


class RampState(StrEnum):
    CANARY = "canary"
    RAMPING = "ramping"
    FULL = "full"
    ROLLED_BACK = "rolled_back"


#: Values of a stage that are looked at, the newest.
MAX_SAMPLES = 10_000
LIVE_RAMPS = frozenset({RampState.CANARY, RampState.RAMPING})


class Health(StrEnum):
    HEALTHY = "healthy"
    #: Nothing is known, or too little: it goes neither up nor back.
    UNKNOWN = "unknown"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Stage:
    #: Of the whole daily budget.
    percent: int
    #: How long it must be held, healthy, before the next.
    holds_for: timedelta


#: A day at a twentieth, then half a week of doubling.
DEFAULT_STAGES = (
    Stage(5, timedelta(hours=24)),
    Stage(25, timedelta(hours=24)),
    Stage(50, timedelta(hours=24)),
    Stage(100, timedelta(hours=24)),
)


def check_stages(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Raise ``InvalidInput`` unless shares grow to 100 percent and each is held for a while."""
    shares = [stage.percent for stage in stages]
    whole = all(isinstance(share, int) and not isinstance(share, bool) for share in shares)
    if not shares or not whole or shares[-1] != 100 or shares[0] < 1:
        raise InvalidInput("`stages` must be whole percents from at least 1 up to 100.")
    if any(later <= earlier for earlier, later in itertools.pairwise(shares)):
        raise InvalidInput(f"`stages` must grow; got {shares}.")
    if any(stage.holds_for <= timedelta(0) for stage in stages):
        raise InvalidInput("`holds_for` of each stage must be above 0.")
    return tuple(stages)


@dataclass(frozen=True, slots=True)
class Ramp:
    stages: tuple[Stage, ...]
    full_day_micros: int
    state: RampState
    stage: int
    stage_since: datetime
    reason: str = ""
    #: A daily limit that was set by hand meanwhile: no stage goes past it.
    cap_micros: int | None = None

    @property
    def day_micros(self) -> int:
        """What may be spent in a day as it stands."""
        if self.state is RampState.ROLLED_BACK:
            return 0
        percent = 100 if self.state is RampState.FULL else self.stages[self.stage].percent
        share = self.full_day_micros * percent // 100
        return share if self.cap_micros is None else min(share, self.cap_micros)


@dataclass(frozen=True, slots=True)
class Bar:
    """What a stage must show."""

    #: Values of the metric that watches over it, such as profit per hour, before anything is said of it.
    min_samples: int
    #: The least that their median may be.
    min_value: float

    def __post_init__(self) -> None:
        if type(self.min_samples) is not int or not 1 <= self.min_samples <= MAX_SAMPLES:
            raise InvalidInput(f"`min_samples` must be a whole number from 1 to {MAX_SAMPLES}.")
        number = isinstance(self.min_value, int | float) and not isinstance(self.min_value, bool)
        if not number or not math.isfinite(self.min_value):
            raise InvalidInput("`min_value` must be a finite number.")


@dataclass(frozen=True, slots=True)
class Watch:
    """The metric of the agent that watches over its ramp, and what each stage must show of it."""

    metric: str
    bar: Bar

    def __post_init__(self) -> None:
        check_metric_name(self.metric)


def assess(values: Sequence[float], bar: Bar, *, trouble: str | None) -> tuple[Health, str]:
    """The health of a stage, and why. ``trouble``: what is wrong already, whatever the values say."""
    if trouble is not None:
        return Health.UNHEALTHY, trouble
    if not all(map(math.isfinite, values)):
        return Health.UNHEALTHY, "A value of the metric is not a finite number."
    if len(values) < bar.min_samples:
        return Health.UNKNOWN, f"{len(values)} values of {bar.min_samples} are there."
    found = median(values)
    if found < bar.min_value:
        return Health.UNHEALTHY, f"The median is {found:g}, and at least {bar.min_value:g} is needed."
    return Health.HEALTHY, ""


def begin(stages: Sequence[Stage], full_day_micros: int, now: datetime) -> Ramp:
    return Ramp(check_stages(stages), full_day_micros, RampState.CANARY, 0, now)


def step(ramp: Ramp, health: Health, why: str, now: datetime) -> Ramp:
    """The ramp at a moment: gone up at most one stage, rolled back, or as it was.

    An ended ramp never moves. A stage that was held for longer than it had to be gives nothing to the next.
    """
    if ramp.state not in LIVE_RAMPS:
        return ramp
    if health is Health.UNHEALTHY:
        return replace(ramp, state=RampState.ROLLED_BACK, stage_since=now, reason=why)
    held = now - ramp.stage_since >= ramp.stages[ramp.stage].holds_for
    if health is Health.UNKNOWN or not held:
        return ramp
    if ramp.stage + 1 == len(ramp.stages):
        return replace(ramp, state=RampState.FULL, stage_since=now)
    return replace(ramp, state=RampState.RAMPING, stage=ramp.stage + 1, stage_since=now)
