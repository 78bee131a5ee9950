"""Predicted run times, learned from past runs that asked for the same, and what such a run costs."""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from gaelp_ray.domain.costs import cost
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.requests import Request

#: No run, and no wait, is taken to be longer: ten years.
LONGEST_S = 10 * 365 * 86_400
#: No prediction is later.
LATEST = datetime(8999, 12, 31, tzinfo=UTC)
#: Past runs that are remembered of each kind; older ones say less about tomorrow's.
REMEMBERED = 100
#: Fewer than so many say nothing.
ENOUGH = 3


@dataclass(frozen=True, slots=True)
class RunTime:
    """Seconds: the median and the 90th percentile."""

    median_s: float
    p90_s: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """How long a job will run and what that costs, as far as it is known."""

    expected_s: float | None
    expected_p90_s: float | None
    cost_micros: int | None = None
    p90_cost_micros: int | None = None

    @property
    def most_micros(self) -> int | None:
        """What budgets must have left: the 90th percentile of the cost, else the median."""
        return self.cost_micros if self.p90_cost_micros is None else self.p90_cost_micros


def forecast(
    *,
    guess_s: float | None,
    past: RunTime | None,
    timeout_s: float | None,
    request: Request,
    prices: PriceTable | None,
) -> Forecast:
    """What is expected of a job's run.

    Its user's own guess counts before past runs of its agent, but no guess is below what one in ten of these
    took. Nothing is paid for past the time limit. ``prices`` None: running is free. Raises ``InvalidInput``
    for a GPU without a price.
    """
    expected_s = guess_s if guess_s is not None else (past.median_s if past else None)
    p90_s = max(expected_s, past.p90_s) if past is not None and expected_s is not None else None
    expected_s, p90_s = bounded(expected_s), bounded(p90_s)
    if prices is None:
        return Forecast(expected_s, p90_s)
    hour_micros = prices.most_per_hour(request)
    limit_s = bounded(timeout_s)

    def cost_of(seconds: float | None) -> int | None:
        known = [each for each in (seconds, limit_s) if each is not None]
        return cost(hour_micros, timedelta(seconds=min(known))) if known else None

    median = None if expected_s is None else cost_of(expected_s)
    return Forecast(expected_s, p90_s, median, cost_of(p90_s))


def bounded(seconds: float | None) -> float | None:
    """A predicted length as far as it means anything: nothing for what is none, at most ``LONGEST_S``."""
    if seconds is None or math.isnan(seconds) or seconds < 0:
        return None
    return min(seconds, float(LONGEST_S))


def after(moment: datetime, seconds: float) -> datetime:
    """So much later, at most ``LATEST``; what is no number adds nothing."""
    if math.isnan(seconds) or seconds <= 0:
        return moment
    left = LATEST - moment
    return moment + timedelta(seconds=seconds) if seconds < left.total_seconds() else max(moment, LATEST)


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which ``share`` of an ordered, non-empty sequence lies, interpolated linearly."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def run_time(seconds: Sequence[float]) -> RunTime | None:
    """What past run times, in any order, say of the next; None when they are too few."""
    if len(seconds) < ENOUGH:
        return None
    ordered = sorted(seconds)
    return RunTime(quantile(ordered, 0.5), quantile(ordered, 0.9))


class RunTimes:
    """Remembers run times by kind, and answers with the most particular kind of which it knows enough."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._recent: dict[Hashable, deque[float]] = defaultdict(deque)
        self._ordered: dict[Hashable, list[float]] = defaultdict(list)

    def learn(self, kinds: Sequence[Hashable], seconds: float) -> None:
        """A run of all these kinds took so long."""
        for kind in kinds:
            recent, ordered = self._recent[kind], self._ordered[kind]
            if len(recent) == self._remembered:
                ordered.remove(recent.popleft())
            recent.append(seconds)
            insort(ordered, seconds)

    def predict(self, kinds: Sequence[Hashable]) -> RunTime | None:
        """``kinds`` from the most particular to the most general."""
        for kind in kinds:
            ordered = self._ordered.get(kind, ())
            if len(ordered) >= ENOUGH:
                return RunTime(quantile(ordered, 0.5), quantile(ordered, 0.9))
        return None
