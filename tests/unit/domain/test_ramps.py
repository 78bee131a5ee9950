"""A ramp goes up one stage at a time, and back at once."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ramps import LIVE_RAMPS, Bar, Health, Ramp, RampState, Stage, assess, begin, step
from tests.builders import T0

HOUR = timedelta(hours=1)
STAGES = (Stage(5, HOUR), Stage(50, 2 * HOUR), Stage(100, HOUR))


def walk(*steps: tuple[float, Health]) -> Ramp:
    """A ramp after these hours and healths."""
    ramp = begin(STAGES, 1000, T0)
    for hours, health in steps:
        ramp = step(ramp, health, "because", T0 + hours * HOUR)
    return ramp


GOOD, UNKNOWN, BAD = Health.HEALTHY, Health.UNKNOWN, Health.UNHEALTHY
WALKS: dict[str, tuple[tuple[tuple[float, Health], ...], RampState, int]] = {
    "it begins as a canary": ((), RampState.CANARY, 50),
    "it waits for its time": (((0.99, GOOD),), RampState.CANARY, 50),
    "it goes up when its time was held": (((1, GOOD),), RampState.RAMPING, 500),
    "it waits until something is known": (((1, UNKNOWN), (9, UNKNOWN)), RampState.CANARY, 50),
    "and goes on then": (((9, UNKNOWN), (9, GOOD)), RampState.RAMPING, 500),
    "each stage has a time of its own": (((1, GOOD), (2.9, GOOD)), RampState.RAMPING, 500),
    "it does not jump over a stage": (((100, GOOD),), RampState.RAMPING, 500),
    "it reaches its last stage": (((1, GOOD), (3, GOOD)), RampState.RAMPING, 1000),
    "it is full when that was held": (((1, GOOD), (3, GOOD), (4, GOOD)), RampState.FULL, 1000),
    "a canary is rolled back at once": (((0, BAD),), RampState.ROLLED_BACK, 0),
    "a ramp is rolled back": (((1, GOOD), (1, BAD)), RampState.ROLLED_BACK, 0),
    "what was rolled back stays so": (((0, BAD), (9, GOOD)), RampState.ROLLED_BACK, 0),
    "what is full stays so": (((1, GOOD), (3, GOOD), (4, GOOD), (5, BAD)), RampState.FULL, 1000),
}


@pytest.mark.parametrize("case", WALKS)
def test_a_ramp_moves_by_time_and_health(case: str) -> None:
    steps, state, day_micros = WALKS[case]
    ramp = walk(*steps)
    assert (ramp.state, ramp.day_micros) == (state, day_micros)
    if state is RampState.ROLLED_BACK:
        assert ramp.reason == "because"


@given(st.lists(st.tuples(st.floats(0, 6), st.sampled_from(Health)), max_size=12))
def test_no_walk_spends_more_than_its_stage_allows(steps: list[tuple[float, Health]]) -> None:
    ramp, now = begin(STAGES, 1000, T0), T0
    for hours, health in steps:
        now += hours * HOUR
        after = step(ramp, health, "why", now)
        assert after.stage - ramp.stage in (0, 1)
        if ramp.state in LIVE_RAMPS and health is BAD:
            assert after.day_micros == 0
        if after.day_micros > ramp.day_micros:
            assert health is GOOD
            assert now - ramp.stage_since >= ramp.stages[ramp.stage].holds_for
        ramp = after


HEALTHS: dict[str, tuple[list[float], str | None, Health]] = {
    "too little is known": ([1, 1], None, UNKNOWN),
    "all is well": ([0, 1, 9], None, GOOD),
    "at the bar": ([1, 1, 1], None, GOOD),
    "the median is too low": ([0, 0, 9], None, BAD),
    "something is no number": ([9, 9, 9, math.nan], None, BAD),
    "trouble outweighs all": ([9, 9, 9], "halted", BAD),
    "trouble with little known": ([], "halted", BAD),
}


@pytest.mark.parametrize("case", HEALTHS)
def test_health_is_the_median_and_no_trouble(case: str) -> None:
    values, trouble, expected = HEALTHS[case]
    assert assess(values, Bar(min_samples=3, min_value=1), trouble=trouble)[0] is expected


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (Stage(50, HOUR),),
        (Stage(0, HOUR), Stage(100, HOUR)),
        (Stage(50, HOUR), Stage(50, HOUR), Stage(100, HOUR)),
        (Stage(100, timedelta(0)),),
        (Stage(True, HOUR), Stage(100, HOUR)),
        (Stage(5.5, HOUR), Stage(100, HOUR)),  # type: ignore[arg-type]
    ],
)
def test_stages_grow_to_the_whole(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(InvalidInput):
        begin(stages, 1000, T0)
