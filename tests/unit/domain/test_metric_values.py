"""Metrics are finite numbers with plain names."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.metrics import MAX_VALUES, check_step, check_values, read_values


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


class Tensor:
    """A scalar of somebody else's library."""

    ndim = 0
    dtype = "torch.float32"

    def __float__(self) -> float:
        return 0.5


class Hostile:
    def __float__(self) -> float:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_scalars_of_libraries_are_numbers() -> None:
    given = {"a": np.float32(0.5), "b": np.int64(2), "c": np.array(1.5), "d": Tensor(), "e": Fraction(1, 4)}
    assert check_values(given) == {"a": 0.5, "b": 2.0, "c": 1.5, "d": 0.5, "e": 0.25}


NO_NUMBERS: dict[str, Any] = {
    "text": "0.5",
    "bytes": b"1",
    "a truth": True,
    "a truth of numpy": np.bool_(True),
    "an array": np.array([1.0]),
    "a complex number": 1j,
    "a signalling NaN": Decimal("sNaN"),
    "what fails": Hostile(),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_what_is_no_number_is_refused_by_its_name(case: str) -> None:
    with pytest.raises(InvalidInput, match="'loss' must be a number"):
        check_values({"loss": NO_NUMBERS[case]})


@pytest.mark.parametrize("given", [[1.0], "loss", None, 3, {("a",)}])
def test_what_is_no_mapping_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="must map names to numbers"):
        check_values(given)


def test_a_report_may_hold_values_that_are_not_finite() -> None:
    assert read_values({"loss": float("inf")}) == {"loss": float("inf")}
    assert read_values({}) == {}


@pytest.mark.parametrize(("given", "step"), [(0, 0), (2**63 - 1, 2**63 - 1), (np.int64(7), 7), (2.0, 2)])
def test_a_step_is_a_whole_number(given: Any, step: int) -> None:
    assert check_step(given) == step


@pytest.mark.parametrize(
    "given",
    [
        -1,
        2**63,
        10**400,
        2.5,
        float("nan"),
        float("inf"),
        True,
        np.bool_(True),
        "3",
        None,
        1j,
        [1],
        Hostile(),
    ],
)
def test_what_is_no_step_is_refused(given: Any) -> None:
    with pytest.raises(InvalidInput, match="`total_steps` must be below"):
        check_step(given, field_name="total_steps")
