"""Figures as JSON lines on stdout; what people read goes to stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Baseline:
    """What a figure is held against, measured in the same run."""

    name: str
    value: float


@dataclass(frozen=True)
class Report:
    """Prints the figures of one benchmark."""

    bench: str

    def figure(self, metric: str, value: float, unit: str, *baselines: Baseline, n: int) -> None:
        """One line for each baseline; ``n`` is the number of samples behind the value."""
        for baseline in baselines:
            ratio = value / baseline.value if baseline.value else None
            self._line(metric, value, unit, baseline.name, ratio, n)

    def paired(
        self,
        metric: str,
        values: Sequence[float],
        unit: str,
        baseline: str,
        beside: Sequence[float],
        *,
        n: int,
    ) -> None:
        """The median of the values, and of the ratios of each to the baseline's value beside it."""
        ratio = median(value / other for value, other in zip(values, beside, strict=True))
        self._line(metric, median(values), unit, baseline, ratio, n)

    def _line(self, metric: str, value: float, unit: str, baseline: str, ratio: float | None, n: int) -> None:
        line = {
            "bench": self.bench,
            "metric": metric,
            "value": _short(value),
            "unit": unit,
            "baseline": baseline,
            "ratio": None if ratio is None else _short(ratio),
            "n": n,
        }
        print(json.dumps(line), flush=True)


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def percentile(samples: Sequence[float], q: float) -> float:
    """The smallest sample that a share ``q`` of all samples does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def _short(value: float) -> float:
    """Four digits that count: more would be noise."""
    return float(f"{value:.4g}")
