"""Predictions from past runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.forecast import RunTime, RunTimes, quantile, run_time


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
