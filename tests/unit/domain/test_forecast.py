"""Predictions from past runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.forecast import (
    LATEST,
    LONGEST_S,
    Forecast,
    RunTime,
    RunTimes,
    after,
    bounded,
    forecast,
    quantile,
    run_time,
)
from gaelp_ray.domain.prices import PriceTable
from tests.builders import T0, a_request


def test_fewer_than_three_runs_say_nothing() -> None:
    assert run_time([10.0, 20.0]) is None
    assert run_time([30.0, 10.0, 20.0]) == RunTime(20.0, 28.0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (0.9, 3.7), (1.0, 4.0)])
def test_a_quantile_lies_between_its_neighbours(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(value)


def test_the_most_particular_kind_that_is_known_answers() -> None:
    times = RunTimes()
    for seconds in (100.0, 110.0, 120.0):
        times.learn(["gpu"], seconds)
    assert times.predict(["ann", "gpu"]) == RunTime(110.0, 118.0)
    for seconds in (1.0, 2.0, 3.0):
        times.learn(["ann", "gpu"], seconds)
    assert times.predict(["ann", "gpu"]) == RunTime(2.0, 2.8)
    assert times.predict(["bob"]) is None


def test_old_runs_are_forgotten() -> None:
    times = RunTimes(remembered=3)
    for seconds in (9000.0, 9000.0, 9000.0, 1.0, 2.0, 3.0):
        times.learn(["a"], seconds)
    assert times.predict(["a"]) == run_time([1.0, 2.0, 3.0])


@given(st.lists(st.floats(1, 1e6), min_size=3, max_size=40))
def test_a_prediction_lies_within_what_was_seen(seconds: list[float]) -> None:
    times = RunTimes()
    for each in seconds:
        times.learn(["a"], each)
    found = times.predict(["a"])
    assert found is not None
    assert min(seconds) <= found.median_s <= found.p90_s <= max(seconds) * (1 + 1e-9)


#: A core costs 36 an hour, 0.01 a second.
PRICES = PriceTable("EUR", 36_000_000, 0)
CENT = 10_000
PAST = RunTime(100.0, 300.0)

FORECASTS: dict[str, tuple[dict[str, Any], Forecast]] = {
    "nothing is known": ({}, Forecast(None, None)),
    "past runs": ({"past": PAST}, Forecast(100.0, 300.0, 100 * CENT, 300 * CENT)),
    "a guess alone": ({"guess_s": 50.0}, Forecast(50.0, None, 50 * CENT, None)),
    "a guess below past runs": (
        {"guess_s": 50.0, "past": PAST},
        Forecast(50.0, 300.0, 50 * CENT, 300 * CENT),
    ),
    "a guess above past runs": (
        {"guess_s": 500.0, "past": PAST},
        Forecast(500.0, 500.0, 500 * CENT, 500 * CENT),
    ),
    "a time limit alone": ({"timeout_s": 60.0}, Forecast(None, None, None, 60 * CENT)),
    "a time limit below both": (
        {"past": PAST, "timeout_s": 60.0},
        Forecast(100.0, 300.0, 60 * CENT, 60 * CENT),
    ),
    "a guess of ages": (
        {"guess_s": 1e300},
        Forecast(float(LONGEST_S), None, LONGEST_S * CENT, None),
    ),
}


@pytest.mark.parametrize("case", FORECASTS)
def test_a_forecast_of(case: str) -> None:
    fields, wanted = FORECASTS[case]
    given: dict[str, Any] = {"guess_s": None, "past": None, "timeout_s": None} | fields
    assert forecast(request=a_request(1, 0), prices=PRICES, **given) == wanted


def test_a_forecast_without_prices_costs_nothing_and_one_without_a_price_is_refused() -> None:
    given: dict[str, Any] = {"guess_s": 50.0, "past": None, "timeout_s": None}
    assert forecast(request=a_request(gpu=1), prices=None, **given) == Forecast(50.0, None)
    with pytest.raises(InvalidInput, match="no price"):
        forecast(request=a_request(gpu=1), prices=PriceTable("EUR", 0, 0), **given)


def test_what_budgets_must_have_left_is_the_ninetieth_percentile_or_else_the_median() -> None:
    assert Forecast(None, None, 5, 7).most_micros == 7
    assert Forecast(None, None, 5, None).most_micros == 5
    assert Forecast(None, None).most_micros is None


@pytest.mark.parametrize(
    ("seconds", "known"),
    [(None, None), (float("nan"), None), (-1.0, None), (0.0, 0.0), (5.0, 5.0), (float("inf"), LONGEST_S)],
)
def test_a_stored_length_counts_as_far_as_it_means_anything(
    seconds: float | None, known: float | None
) -> None:
    assert bounded(seconds) == known


@given(st.floats())
def test_no_prediction_leaves_the_calendar(seconds: float) -> None:
    assert T0 <= after(T0, seconds) <= LATEST


def test_a_moment_past_the_last_prediction_stays_where_it_is() -> None:
    far = datetime(9500, 1, 1, tzinfo=UTC)
    assert after(far, 1e9) == far
