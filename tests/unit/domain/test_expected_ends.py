"""When an attempt will end, by what is known of it so far."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from gaelp_ray.domain.attempts import expected_ends
from gaelp_ray.domain.jobs import Progress
from tests.builders import T0, at

UNKNOWN: dict[str, Any] = {
    "started_at": T0,
    "now": at(100),
    "progress": Progress(),
    "resumed_from_step": None,
    "expected_s": None,
    "expected_p90_s": None,
    "timeout_s": None,
}
CASES: dict[str, tuple[dict[str, Any], tuple[datetime | None, datetime | None]]] = {
    "nothing is known": ({}, (None, None)),
    "a prediction counts from the start": (
        {"expected_s": 300.0, "expected_p90_s": 900.0},
        (at(300), at(900)),
    ),
    "its own pace is better than a prediction": (
        {"progress": Progress(10, 50), "expected_s": 300.0, "expected_p90_s": 900.0},
        (at(500), at(900)),
    ),
    "a pace that is worse than the 90th percentile moves both": (
        {"progress": Progress(1, 50), "expected_p90_s": 900.0},
        (at(5000), at(5000)),
    ),
    "the pace is that of this attempt": (
        {"progress": Progress(40, 50), "resumed_from_step": 30},
        (at(200), at(200)),
    ),
    "before its first step the prediction holds": (
        {"progress": Progress(30, 50), "resumed_from_step": 30, "expected_s": 300.0},
        (at(300), None),
    ),
    "a time limit ends it in any case": (
        {"expected_s": 300.0, "expected_p90_s": 900.0, "timeout_s": 200.0},
        (at(200), at(200)),
    ),
    "a time limit alone says when at the latest": ({"timeout_s": 200.0}, (None, at(200))),
}


@pytest.mark.parametrize("case", CASES)
def test_an_attempt_is_expected_to_end_when(case: str) -> None:
    known, expected = CASES[case]
    assert expected_ends(**UNKNOWN | known) == expected
