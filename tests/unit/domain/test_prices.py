"""The cost of an attempt is exact and never free by mistake."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.resources import Resources
from tests.builders import resources

HOUR = timedelta(hours=1)
PRICES = PriceTable("EUR", 40_000, 5_000, {"A100": 2_500_000, "T4": 350_000}, spot_discount_ppm=700_000)

#: Resources, lifetime, label, spot; micros.
COSTS: dict[str, tuple[Resources, timedelta, str | None, bool, int]] = {
    "an hour of a core": (resources(1, 0), HOUR, None, False, 40_000),
    "half an hour of four cores": (resources(4, 0), HOUR / 2, None, False, 80_000),
    "memory": (resources(0, 8), HOUR, None, False, 40_000),
    "all together": (resources(8, 32, 1), 2 * HOUR, "A100", False, 5_960_000),
    "half a GPU": (resources(0, 0, 0.5), HOUR, "T4", False, 175_000),
    "spot": (resources(1, 0), HOUR, None, True, 12_000),
    "the smallest time costs a micro": (resources(1, 0), timedelta(microseconds=1), None, False, 1),
    "no time": (resources(8, 32, 1), timedelta(0), "A100", False, 0),
    "a clock that went back": (resources(1, 0), -HOUR, None, False, 0),
    "storage is free": (Resources(storage_bytes=10**12), HOUR, None, False, 0),
}


@pytest.mark.parametrize("case", COSTS)
def test_a_cost_is_exact(case: str) -> None:
    held, lifetime, label, spot, expected = COSTS[case]
    assert PRICES.cost(held, lifetime, gpu_label=label, spot=spot) == expected


@pytest.mark.parametrize("label", ["H100", None, ""])
def test_a_gpu_without_a_price_is_not_free(label: str | None) -> None:
    with pytest.raises(InvalidInput, match=r"has no price; priced are A100, T4\."):
        PRICES.cost(resources(1, 1, 1), HOUR, gpu_label=label)


def test_a_cost_past_counting_is_refused() -> None:
    dear = PriceTable("EUR", 2**63 - 1, 0)
    with pytest.raises(InvalidInput, match="more than can be counted"):
        dear.cost(resources(2, 0), HOUR)


BAD: dict[str, dict[str, Any]] = {
    "a float": {"cpu_hour_micros": 0.5},
    "NaN": {"gib_hour_micros": float("nan")},
    "negative": {"cpu_hour_micros": -1},
    "true": {"gib_hour_micros": True},
    "a negative GPU": {"gpu_hour_micros": {"T4": -1}},
    "more than all off": {"spot_discount_ppm": 1_000_001},
    "a surcharge": {"spot_discount_ppm": -1},
}


@pytest.mark.parametrize("case", BAD)
def test_only_whole_prices_are_taken(case: str) -> None:
    with pytest.raises(InvalidInput):
        PriceTable(**{"currency": "EUR", "cpu_hour_micros": 1, "gib_hour_micros": 1} | BAD[case])
