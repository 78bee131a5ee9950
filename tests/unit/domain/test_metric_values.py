"""Metrics are finite numbers with plain names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.metrics import MAX_VALUES, check_values


def test_numbers_of_any_kind_become_floats() -> None:
    assert check_values({"ctr": 0.031, "clicks": 4, "eval/roas": Decimal("2.5")}) == {
        "ctr": 0.031,
        "clicks": 4.0,
        "eval/roas": 2.5,
    }


REFUSED: dict[str, tuple[dict[Any, Any], str]] = {
    "nothing": ({}, "at least one value"),
    "too much": ({f"m{i}": 1.0 for i in range(MAX_VALUES + 1)}, "at most 200 values; got 201"),
    "NaN": ({"ctr": float("nan")}, "'ctr' must be a finite number; got nan"),
    "infinity": ({"ctr": float("-inf")}, "'ctr' must be a finite number; got -inf"),
    "a word": ({"ctr": "high"}, "'ctr' must be a number; got 'high'"),
    "none": ({"ctr": None}, "'ctr' must be a number; got None"),
    "a list": ({"ctr": [1]}, "'ctr' must be a number"),
    "a number too large for a float": ({"ctr": 10**400}, "'ctr' must be a number"),
    "an empty name": ({"": 1}, "'' is not a metric name"),
    "a name with a space": ({"click rate": 1}, "'click rate' is not a metric name"),
    "a name with a line's end": ({"ctr\n": 1}, "is not a metric name"),
    "a number as name": ({7: 1}, "7 is not a metric name"),
    "a long name": ({"m" * 101: 1}, "is not a metric name"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_metric_is_refused(case: str) -> None:
    values, words = REFUSED[case]
    with pytest.raises(InvalidInput, match=words):
        check_values(values)


def test_the_most_values_are_taken() -> None:
    assert len(check_values({f"m{i}": 1.0 for i in range(MAX_VALUES)})) == MAX_VALUES
