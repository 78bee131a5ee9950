"""Predicted run times, learned from past runs that asked for the same."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

#: Past runs that are remembered of each kind; older ones say less about tomorrow's.
REMEMBERED = 100
#: Fewer than so many say nothing.
ENOUGH = 3


@dataclass(frozen=True, slots=True)
class RunTime:
    """Seconds: the median and the 90th percentile."""

    median_s: float
    p90_s: float


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
