"""What evidence must show before a version may spend real money."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.promotion import (
    Evidence,
    EvidenceSource,
    RequiredEvidence,
    Run,
    all_missing,
    missing,
    of_evaluation,
    of_runs,
)
from tests.builders import T0

NOW = T0 + timedelta(days=1)
REQUIRED = RequiredEvidence(min_seeds=10, min_effect=1.0, safety_metric="overspend", max_safety=0.05)


def an_evidence(**fields: Any) -> Evidence:
    given: dict[str, Any] = {"version_id": 1, "baseline": "1.0.0", "seeds": 10, "effect": 2.0, "low": 1.1}
    given |= {"high": 3.0, "confidence": 0.95, "safety": {"overspend": 0.05}, "recorded_at": T0}
    given |= {"source": EvidenceSource.RUNS, "jobs": (1,)}
    return Evidence(**given | fields)


CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "enough": ({}, None),
    "too few seeds": ({"seeds": 9}, "9 seeds"),
    "an effect that may be too small": ({"low": 1.0}, "may be as low as 1"),
    "a loose interval": ({"confidence": 0.9}, "of 0.9"),
    "a safety bound passed": ({"safety": {"overspend": 0.0501}}, "overspend may be 0.0501"),
    "safety was not measured": ({"safety": {}}, "overspend may be inf"),
    "too old": ({"recorded_at": NOW - timedelta(days=31)}, "older than 30 days"),
    "just young enough": ({"recorded_at": NOW - timedelta(days=30)}, None),
    "never recorded": ({"recorded_at": None}, "older"),
    "recorded now, from runs of long ago": ({"measured_at": NOW - timedelta(days=31)}, "older than 30 days"),
    "typed in": ({"source": EvidenceSource.EXTERNAL, "jobs": ()}, "It was typed in"),
}


@pytest.mark.parametrize("case", CASES)
def test_evidence_must_show_each_thing(case: str) -> None:
    fields, lacking = CASES[case]
    found = missing(an_evidence(**fields), REQUIRED, NOW)
    assert len(found) == (lacking is not None)
    assert lacking is None or lacking in found[0]


def test_every_policy_asks_for_itself() -> None:
    strict = RequiredEvidence(min_seeds=50)
    assert len(all_missing(an_evidence(seeds=2), [REQUIRED, strict], NOW)) == 2


BAD: list[dict[str, Any]] = [
    {"effect": math.nan}, {"low": -math.inf}, {"safety": {"overspend": math.nan}}, {"seeds": 0},
    {"seeds": 1.0}, {"low": 2.5}, {"confidence": 1.0}, {"baseline": ""}, {"effect": True},
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD)
def test_what_is_no_evidence_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        an_evidence(**fields)


BAD_RULES: list[dict[str, Any]] = [
    {"min_seeds": 1}, {"min_effect": math.nan}, {"min_confidence": 0.5}, {"min_confidence": 1},
    {"safety_metric": "overspend"}, {"max_safety": 0.1}, {"safety_metric": "x", "max_safety": math.inf},
    {"max_age_days": 0}, {"approvals": -1}, {"approvals": True},
]  # fmt: skip


@pytest.mark.parametrize("fields", BAD_RULES)
def test_what_is_no_requirement_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        RequiredEvidence(**fields)


def a_run(job_id: int, *, seed: int | None = None, version: int = 1, **result: Any) -> Run:
    return Run(job_id, version, job_id if seed is None else seed, T0, result)


def test_an_evaluation_is_evidence_as_its_job_left_it() -> None:
    run = a_run(7, days=20, difference=2.0, lower=1.0, upper=3.0, overspend=0.01)
    found = of_evaluation(run, baseline="best fixed bid", safety=["overspend"])
    assert (found.seeds, found.effect, found.low, found.high) == (20, 2.0, 1.0, 3.0)
    assert (found.source, found.jobs, found.measured_at) == (EvidenceSource.RUNS, (7,), T0)
    assert found.safety == {"overspend": 0.01}


@pytest.mark.parametrize(
    "result",
    [
        {}, {"lower": None}, {"lower": "1"}, {"lower": True}, {"lower": math.nan}, {"lower": 10**400},
        {"lower": 1e200}, {"days": 2.5}, {"lower": 5.0},
    ],
)  # fmt: skip
def test_a_result_that_is_no_evaluation_is_none(result: dict[str, Any]) -> None:
    whole = {"days": 20, "difference": 2.0, "lower": 1.0, "upper": 3.0} if result else {}
    with pytest.raises(InvalidInput):
        of_evaluation(a_run(7, **whole | result), baseline="b")


def test_runs_are_compared_by_welchs_interval() -> None:
    """Against Welch's own way of counting: t of 4.07 degrees at 95 % is 2.76."""
    ours = [a_run(n, profit=value) for n, value in enumerate((10.0, 12.0, 14.0, 16.0))]
    theirs = [a_run(10 + n, version=2, profit=value) for n, value in enumerate((1.0, 2.0, 3.0))]
    found = of_runs(ours, theirs, metric="profit", baseline="old")
    assert (found.effect, found.seeds, found.metric) == (11.0, 3, "profit")
    assert found.high - found.effect == pytest.approx(2.757 * (20 / 3 / 4 + 1 / 3) ** 0.5, abs=0.02)
    assert (found.jobs, found.baseline_jobs) == ((0, 1, 2, 3), (10, 11, 12))


def test_a_metric_that_must_stay_low_has_an_upper_bound() -> None:
    ours = [a_run(n, profit=n, loss=value) for n, value in enumerate((0.1, 0.2, 0.3))]
    found = of_runs(
        ours, [a_run(8, profit=0.0), a_run(9, profit=1.0)], metric="profit", baseline="b", safety=["loss"]
    )
    assert found.safety["loss"] == pytest.approx(0.2 + 4.303 * 0.1 / 3**0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [([1], [8, 9]), ([1, 2], [9]), ([1, 2], []), ([], [8, 9])],
    ids=["one run", "one run of the baseline", "no baseline", "no run"],
)
def test_one_run_is_no_comparison(ours: list[int], theirs: list[int]) -> None:
    sides = [[a_run(n, profit=1.0) for n in side] for side in (ours, theirs)]
    with pytest.raises(InvalidInput, match="two or more jobs"):
        of_runs(*sides, metric="profit", baseline="b")


def test_a_seed_counts_once() -> None:
    twice = [a_run(1, seed=5, profit=1.0), a_run(2, seed=5, profit=1.0)]
    with pytest.raises(InvalidInput, match="a seed of its own"):
        of_runs(twice, [a_run(8, profit=0.0), a_run(9, profit=0.0)], metric="profit", baseline="b")
