"""The gate from simulation to real money: what must be shown before a version may spend any.

What opens the gate is read from runs: jobs that the service ran and whose results it stored. Numbers from
elsewhere may be recorded beside them, marked as such, and are never enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import fmean, variance
from typing import Any, ClassVar

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.intervals import student_t

#: Larger values of a result are no measurement, and their squares could not be added up.
_MOST = 1e100
#: Jobs that one piece of evidence names.
MAX_RUNS = 1000
#: What an evaluation of ``gaelp_ray.training.evaluation`` leaves in its job's result.
_EVALUATION = ("days", "difference", "lower", "upper")
_EVALUATED_AT = 0.95


class EvidenceSource(StrEnum):
    #: Read from the results of jobs.
    RUNS = "runs"
    #: Typed in by whoever recorded it, such as a test on an ad platform.
    EXTERNAL = "external"


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
    source: EvidenceSource = EvidenceSource.EXTERNAL
    #: Of evidence from runs: the value of each job's result that was compared; None: a whole evaluation.
    metric: str | None = None
    #: The jobs that it was read from, and those of the baseline.
    jobs: tuple[int, ...] = ()
    baseline_jobs: tuple[int, ...] = ()
    #: When the oldest of these ended.
    measured_at: datetime | None = None

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
    if evidence.source is not EvidenceSource.RUNS:
        found.append(
            "It was typed in; record evidence that names the jobs that it is read from, for what is typed in "
            "is never enough alone."
        )
    measured_at = evidence.measured_at or evidence.recorded_at
    if measured_at is None or now - measured_at > timedelta(days=required.max_age_days):
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


@dataclass(frozen=True, slots=True)
class Run:
    """A job that has completed, as evidence."""

    job_id: int
    version_id: int
    seed: int
    finished_at: datetime
    result: Mapping[str, Any]

    def number(self, name: str) -> float:
        """A value of its result; raises ``InvalidInput`` where there is none."""
        value = self.result.get(name)
        if not _is_finite(value) or abs(value) > _MOST:  # type: ignore[arg-type]
            raise InvalidInput(f"The result of job {self.job_id} has no finite number {name!r:.140}.")
        return float(value)  # type: ignore[arg-type]


def of_evaluation(run: Run, *, baseline: str, safety: Sequence[str] = ()) -> Evidence:
    """What one evaluation job found of the version, against the baseline that it played itself.

    Its result has ``days``, ``difference``, ``lower`` and ``upper``, and each name in ``safety``. Raises
    ``InvalidInput`` where one is missing.
    """
    days, effect, low, high = (run.number(name) for name in _EVALUATION)
    if not days.is_integer():
        raise InvalidInput(f"`days` in the result of job {run.job_id} must be a whole number; got {days:g}.")
    return Evidence(
        version_id=run.version_id,
        baseline=baseline,
        seeds=int(days),
        effect=effect,
        low=low,
        high=high,
        confidence=_EVALUATED_AT,
        safety={name: run.number(name) for name in safety},
        source=EvidenceSource.RUNS,
        jobs=(run.job_id,),
        measured_at=run.finished_at,
    )


def of_runs(
    runs: Sequence[Run],
    against: Sequence[Run],
    *,
    metric: str,
    baseline: str,
    confidence: float = 0.95,
    safety: Sequence[str] = (),
) -> Evidence:
    """How much better a metric is in some runs than in others, each run with a seed of its own.

    The interval is Welch's ("The generalization of Student's problem when several different population
    variances are involved", 1947). A safety metric gets its upper bound by Student's t. Raises
    ``InvalidInput`` for fewer than two runs on a side, a seed that repeats, or a result without the metric.
    """
    if not _is_finite(confidence) or not 0.5 < confidence < 1:
        raise InvalidInput(f"`confidence` must be above 0.5 and below 1; got {confidence}.")
    for side, name in ((runs, "jobs"), (against, "baseline_jobs")):
        if len({run.seed for run in side}) < len(side) or len(side) < 2:
            raise InvalidInput(f"`{name}` must be two or more jobs, each with a seed of its own.")
    ours, theirs = ([run.number(metric) for run in side] for side in (runs, against))
    effect, margin = fmean(ours) - fmean(theirs), _welch(ours, theirs, confidence)
    return Evidence(
        version_id=runs[0].version_id,
        baseline=baseline,
        seeds=min(len(runs), len(against)),
        effect=effect,
        low=effect - margin,
        high=effect + margin,
        confidence=confidence,
        safety={name: _upper([run.number(name) for run in runs], confidence) for name in safety},
        source=EvidenceSource.RUNS,
        metric=metric,
        jobs=tuple(run.job_id for run in runs),
        baseline_jobs=tuple(run.job_id for run in against),
        measured_at=min(run.finished_at for run in (*runs, *against)),
    )


def _welch(ours: Sequence[float], theirs: Sequence[float], confidence: float) -> float:
    """Half the width of the interval of the difference of two means."""
    parts = [variance(values) / len(values) for values in (ours, theirs)]
    if sum(parts) == 0:
        return 0.0
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(values) - 1) for part, values in zip(parts, (ours, theirs), strict=True)
    )
    return float(student_t(freedom, confidence) * math.sqrt(sum(parts)))


def _upper(values: Sequence[float], confidence: float) -> float:
    return float(
        fmean(values) + student_t(len(values) - 1, confidence) * math.sqrt(variance(values) / len(values))
    )


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


#: What holds where no policy asks for evidence: the gate is never simply open.
DEFAULT = RequiredEvidence()
