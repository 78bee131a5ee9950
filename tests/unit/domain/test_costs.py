"""What running time costs, and how it is paid for in slices."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.costs import SHARES, Run, Terms, cost
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import AtExpiry
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.requests import ACCELERATOR_LABEL, Spot
from tests.builders import T0, a_request, at

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
PRICES = PriceTable("EUR", 40_000, 5_000, {"A100": 2_500_000, "T4": 500_000, "*": 1_000_000}, 600_000)
TERMS = Terms(PRICES, slice=10 * MINUTE, notice=MINUTE)


def a_run(**fields: Any) -> Run:
    return Run(uuid.UUID(int=1), 7, **{"hour_micros": 3_600_000} | fields)


@pytest.mark.parametrize(
    ("hour_micros", "length", "micros"),
    [
        (3_600_000, timedelta(seconds=1), 1_000),
        (3_600_000, timedelta(0), 0),
        (3_600_000, -MINUTE, 0),
        (1, timedelta(microseconds=1), 1),
        (0, HOUR, 0),
        (7, HOUR, 7),
    ],
)
def test_running_time_is_rounded_up_and_never_refunded(
    hour_micros: int, length: timedelta, micros: int
) -> None:
    assert cost(hour_micros, length) == micros


@given(
    hour_micros=st.integers(0, 10**12),
    cuts=st.lists(st.integers(0, 10**9), max_size=8),
    end=st.integers(0, 10**9),
)
def test_a_run_costs_the_same_however_often_it_is_booked(hour_micros: int, cuts: list[int], end: int) -> None:
    booked = 0
    for micros in [*sorted(cut for cut in cuts if cut <= end), end]:
        run = a_run(hour_micros=hour_micros, since=T0, booked_micros=booked)
        booked += run.due_micros(T0 + timedelta(microseconds=micros))
    assert booked == cost(hour_micros, timedelta(microseconds=end))


def test_what_never_ran_costs_nothing() -> None:
    assert a_run().due_micros(at(1000)) == 0
    assert a_run(since=at(10)).due_micros(at(5)) == 0, "a clock that went back makes no refund"


def test_a_slice_pays_for_its_notice_too_and_counts_as_spent_when_nobody_comes_back() -> None:
    hold = a_run(slices=2).next_hold((3, 4), "EUR", TERMS)
    assert (hold.amount_micros, hold.ttl, hold.at_expiry) == (660_000, 11 * MINUTE, AtExpiry.SPEND)
    assert (hold.key, hold.account_ids, hold.job_id) == (f"attempt {uuid.UUID(int=1)} slice 3", (3, 4), 7)
    shorter = a_run(slices=2).next_hold((3, 4), "EUR", TERMS, share=4)
    assert (shorter.amount_micros, shorter.ttl, shorter.key) == (210_000, 3.5 * MINUTE, hold.key)


@pytest.mark.parametrize("share", SHARES)
def test_the_notice_is_never_cut(share: int) -> None:
    assert TERMS.length(share) > TERMS.notice


A100 = ((ACCELERATOR_LABEL, "A100"),)
SOME = ((ACCELERATOR_LABEL, "in(A100, T4)"),)
OTHERS = ((ACCELERATOR_LABEL, "!A100"),)
NONE = ((ACCELERATOR_LABEL, "B300"),)


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"cpu": 2, "memory_gib": 4}, 100_000),
        ({"cpu": 2, "memory_gib": 4, "workers": 3}, 300_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 1}, 2_500_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 1, "selector": A100}, 2_500_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 1, "selector": SOME}, 2_500_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 1, "selector": OTHERS}, 1_000_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 1, "selector": NONE}, 1_000_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 0.5, "spot": Spot.ONLY}, 500_000),
        ({"cpu": 0, "memory_gib": 0, "gpu": 1, "spot": Spot.PREFER}, 2_500_000),
    ],
)
def test_the_most_that_a_request_may_cost_is_of_the_dearest_node_it_may_get(
    fields: dict[str, Any], most: int
) -> None:
    assert PRICES.most_per_hour(a_request(**fields)) == most


@pytest.mark.parametrize(("accelerator", "price"), [("T4", 500_000), ("B300", 1_000_000), (None, 1_000_000)])
def test_what_a_request_costs_is_of_the_node_it_got(accelerator: str | None, price: int) -> None:
    request = a_request(0, 0, 1)
    assert PRICES.per_hour(request, accelerator=accelerator, spot=False) == price
    assert PRICES.per_hour(request, accelerator=accelerator, spot=True) == price * 2 // 5


def test_a_gpu_without_a_price_is_refused_and_on_an_unpriced_node_costs_as_the_dearest() -> None:
    prices = PriceTable("EUR", 0, 0, {"A100": 9, "T4": 2})
    with pytest.raises(InvalidInput, match="no price; priced are A100, T4"):
        prices.most_per_hour(a_request(0, 0, 1, selector=NONE))
    assert prices.per_hour(a_request(0, 0, 1), accelerator="B300", spot=False) == 9
