"""Money is whole micros; what is not exactly money is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.money import MAX_MICROS, micros_from_units, units_from_micros

READ: dict[str, tuple[Any, int]] = {
    "nothing": (0, 0),
    "whole units": (5000, 5_000_000_000),
    "a float": (5000.0, 5_000_000_000),
    "a tenth is exactly a tenth": (0.1, 100_000),
    "cents": (19.99, 19_990_000),
    "one micro": (0.000001, 1),
    "one micro as text": ("0.000001", 1),
    "a Decimal": (Decimal("1.5"), 1_500_000),
    "an exponent": ("5e3", 5_000_000_000),
    "zeros to no end": ("1." + "0" * 60, 1_000_000),
    "the most": (9_223_372_036_854, 9_223_372_036_854_000_000),
    "negative zero": (-0.0, 0),
}


@pytest.mark.parametrize("case", READ)
def test_an_amount_is_read_exactly(case: str) -> None:
    amount, micros = READ[case]
    assert micros_from_units(amount) == micros
    assert type(micros_from_units(amount)) is int


REFUSED: dict[str, tuple[Any, str]] = {
    "NaN": (float("nan"), "must be a finite number"),
    "NaN as text": ("nan", "must be a finite number"),
    "a signalling NaN": ("sNaN", "must be a finite number"),
    "infinity": (float("inf"), "must be a finite number"),
    "minus infinity": (float("-inf"), "must be a finite number"),
    "negative": (-0.01, "must not be negative"),
    "seven decimals": ("0.0000001", "at most six decimals"),
    "decimals past the precision of arithmetic": ("1." + "0" * 40 + "1", "at most six decimals"),
    "overflow": (10**30, "is too large"),
    "just over the most": (9_223_372_036_855, "is too large"),
    "an astronomic exponent": ("1e999999", "is too large"),
    "true": (True, "not a boolean"),
    "false": (False, "not a boolean"),
    "a word": ("much", "must be a number such as 5000.0"),
    "nothing at all": ("", "must be a number such as 5000.0"),
    "a currency": ("$5", "must be a number such as 5000.0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_amount_is_refused(case: str) -> None:
    amount, words = REFUSED[case]
    with pytest.raises(InvalidInput, match=f"^`budget_limit` .*{words}"):
        micros_from_units(amount, field="budget_limit")


def test_no_amount_that_is_read_overflows_its_column() -> None:
    assert micros_from_units(MAX_MICROS // 10**6) <= MAX_MICROS


def test_micros_are_shown_in_units() -> None:
    assert units_from_micros(19_990_000) == 19.99
