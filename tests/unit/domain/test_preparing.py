"""What preparing an attempt costs it: no running time, but its deadline does not wait."""

from __future__ import annotations

from typing import Any

import pytest

from gaelp_ray.domain.jobs import EndCause
from tests.builders import an_order

LIMIT, DEADLINE = EndCause.TIMEOUT, EndCause.DEADLINE
#: id: (what the order says, seconds of preparing, how long it may run then, and why no longer)
CASES: dict[str, tuple[dict[str, Any], float, float | None, EndCause]] = {
    "no limit": ({}, 100, None, LIMIT),
    "a time limit": ({"timeout_s": 60}, 100, 60, LIMIT),
    "a deadline far away": ({"timeout_s": 60, "left_s": 1000}, 100, 60, LIMIT),
    "a deadline that comes near": ({"timeout_s": 60, "left_s": 130}, 100, 30, DEADLINE),
    "a deadline alone": ({"timeout_s": 130, "timeout_cause": DEADLINE, "left_s": 130}, 100, 30, DEADLINE),
    "a deadline that has passed": ({"timeout_s": 60, "left_s": 90}, 100, 0, DEADLINE),
}


@pytest.mark.parametrize("case", CASES)
def test_after_preparing_an_attempt_has(case: str) -> None:
    fields, seconds, left_s, cause = CASES[case]
    order = an_order("m:f", **fields).prepared_in(seconds)
    assert (order.timeout_s, order.timeout_cause) == (left_s, cause)
