"""What evidence must show before a version may spend real money."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.promotion import Evidence, RequiredEvidence, all_missing, missing
from tests.builders import T0

NOW = T0 + timedelta(days=1)
REQUIRED = RequiredEvidence(min_seeds=10, min_effect=1.0, safety_metric="overspend", max_safety=0.05)


def an_evidence(**fields: Any) -> Evidence:
    given: dict[str, Any] = {"version_id": 1, "baseline": "1.0.0", "seeds": 10, "effect": 2.0, "low": 1.1}
    given |= {"high": 3.0, "confidence": 0.95, "safety": {"overspend": 0.05}, "recorded_at": T0}
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
