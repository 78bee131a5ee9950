from __future__ import annotations

import importlib
import math
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp_ray.training import environments
from gaelp_ray.training.environments import AD_AUCTION
from gaelp_ray.training.environments.auction import AdAuctionEnv

SMALL = {"auctions_per_day": 600}

RICH_RIVALS = [
    {"name": "one", "bid_micros": 800_000, "budget_micros": 10**12},
    {"name": "two", "bid_micros": 500_000, "budget_micros": 10**12, "spread": 0.8},
]

bids = st.lists(st.floats(0, 1, width=32), min_size=24, max_size=24)
seeds = st.integers(0, 2**31 - 1)


def step(env: AdAuctionEnv, bid: float) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    return env.step(np.array([bid], dtype=np.float32))


def day(env: AdAuctionEnv, seed: int, bid: float = 0.3) -> list[dict[str, Any]]:
    """The infos of a day at one bid."""
    env.reset(seed=seed)
    return [step(env, bid)[4] for _ in range(env.config.periods)]


def total(infos: list[dict[str, Any]], name: str) -> int:
    return sum(info[name] for info in infos)


def test_gymnasium_finds_nothing_to_complain_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(AD_AUCTION).unwrapped)


def test_registering_twice_is_harmless() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(environments)
    assert gymnasium.spec(AD_AUCTION).id == "gaelp/AdAuction-v0"


def test_importing_the_package_does_not_import_the_environment() -> None:
    check = (
        "import sys, gaelp_ray.training.environments;"
        "sys.exit('gaelp_ray.training.environments.auction' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@settings(deadline=None, max_examples=60)
@given(bids=bids, seed=seeds, budget=st.integers(0, 20_000_000))
def test_spend_never_exceeds_the_daily_budget(bids: list[float], seed: int, budget: int) -> None:
    env = AdAuctionEnv(**SMALL, daily_budget_micros=budget)
    env.reset(seed=seed)
    spent = 0
    for bid in bids:
        info = step(env, bid)[4]
        assert info["spend_micros"] >= 0
        spent += info["spend_micros"]
        assert info["budget_left_micros"] == budget - spent >= 0


def test_a_high_bid_uses_the_budget_up_to_less_than_one_click() -> None:
    env = AdAuctionEnv(daily_budget_micros=20_000_000)
    assert 0 <= day(env, seed=5, bid=1.0)[-1]["budget_left_micros"] < env.config.max_bid_micros


@settings(deadline=None, max_examples=30)
@given(bids=bids, seed=seeds)
def test_the_reward_is_value_minus_spend_and_observations_stay_in_their_space(
    bids: list[float], seed: int
) -> None:
    env = AdAuctionEnv(**SMALL)
    observation, _ = env.reset(seed=seed)
    assert observation in env.observation_space
    for number, bid in enumerate(bids, start=1):
        observation, reward, terminated, truncated, info = step(env, bid)
        assert observation in env.observation_space
        assert reward * 1e6 == pytest.approx(info["value_micros"] - info["spend_micros"])
        assert info["value_micros"] == info["conversions"] * env.config.conversion_value_micros
        assert info["clicks"] <= info["impressions"]
        assert info["spend_micros"] <= bid * env.config.max_bid_micros * info["clicks"] + 1
        assert (terminated, truncated) == (number == 24, False)


def test_the_same_seed_gives_the_same_trajectory() -> None:
    bids = np.random.default_rng(1).random(24)
    runs = []
    for _ in range(2):
        env = AdAuctionEnv(**SMALL)
        trajectory = [env.reset(seed=7)[0].tolist()]
        for bid in bids:
            observation, reward, _, _, info = step(env, bid)
            trajectory.append([observation.tolist(), reward, info])
        runs.append(trajectory)
    assert runs[0] == runs[1]


def test_different_seeds_and_successive_days_differ() -> None:
    env = AdAuctionEnv(**SMALL)
    first, other = day(env, seed=1), day(env, seed=2)
    assert first != other
    env.reset(seed=1)
    env.reset()
    assert [step(env, 0.3)[4] for _ in range(24)] not in (first, other)


@settings(deadline=None, max_examples=25)
@given(seed=seeds, low=st.floats(0, 1), high=st.floats(0, 1))
def test_one_seed_is_one_market_so_a_higher_bid_wins_all_a_lower_one_does(
    seed: int, low: float, high: float
) -> None:
    env = AdAuctionEnv(**SMALL, competitors=RICH_RIVALS, daily_budget_micros=10**12)
    low, high = sorted((low, high))
    fewer, more = day(env, seed, low), day(env, seed, high)
    for name in ("impressions", "clicks", "spend_micros"):
        assert all(a[name] <= b[name] for a, b in zip(fewer, more, strict=True))


@settings(deadline=None, max_examples=25)
@given(seed=seeds, delay=st.floats(1, 200))
def test_a_longer_delay_moves_conversions_but_pays_each_exactly_once(seed: int, delay: float) -> None:
    prompt = day(AdAuctionEnv(**SMALL, mean_delay_periods=1.0), seed)
    late = day(AdAuctionEnv(**SMALL, mean_delay_periods=delay), seed)
    assert [info["clicks"] for info in prompt] == [info["clicks"] for info in late]
    assert total(prompt, "conversions") == total(late, "conversions")
    assert (
        np.cumsum([i["conversions"] for i in prompt]) >= np.cumsum([i["conversions"] for i in late])
    ).all()


def test_a_conversion_arrives_a_period_after_its_click_but_within_the_day() -> None:
    # With a mean delay of one period every delay is one period.
    env = AdAuctionEnv(
        conversion_rate=1.0, conversion_variation=0.0, mean_delay_periods=1.0, daily_budget_micros=10**12
    )
    infos = day(env, seed=3, bid=1.0)
    clicks = [info["clicks"] for info in infos]
    arrived = [info["conversions"] for info in infos]
    assert clicks[0] > 0
    assert arrived[0] == 0
    assert all(later <= earlier for later, earlier in zip(arrived[1:-1], clicks[:-2], strict=True))
    # In the evening the conversion rate reaches one, its cap: every click converts.
    assert arrived[20:22] == clicks[19:21]
    assert arrived[-1] <= clicks[-2] + clicks[-1]


def test_conversions_outstanding_at_the_end_of_the_day_are_settled_with_the_last_step() -> None:
    infos = day(AdAuctionEnv(mean_delay_periods=1e6), seed=4)
    assert total(infos[:-1], "conversions") == 0
    assert infos[-1]["conversions"] > 0


def test_shoppers_follow_the_time_of_day() -> None:
    env = AdAuctionEnv(competitors=RICH_RIVALS, daily_budget_micros=10**12)
    days = [day(env, seed, bid=1.0) for seed in range(5)]
    night, evening = (sum(infos[hour]["impressions"] for infos in days) for hour in (4, 20))
    assert evening > 3 * night


def test_rivals_pay_for_their_clicks_and_leave_the_market_to_the_agent() -> None:
    def evening_impressions(rival_budget: int) -> int:
        rival = {"name": "one", "bid_micros": 2_000_000, "budget_micros": rival_budget, "spread": 0.0}
        env = AdAuctionEnv(competitors=[rival], competition_variation=0.0, daily_budget_micros=10**12)
        return total(day(env, seed=6, bid=0.25)[18:], "impressions")

    # The rival outbids the agent's 1.00 all day, and pays the agent's bid for its clicks.
    assert evening_impressions(10**12) == 0
    assert evening_impressions(50_000_000) > 1_000


def test_a_bid_outside_the_bounds_is_clipped() -> None:
    env = AdAuctionEnv(**SMALL)
    assert day(env, 1, -3.0) == day(env, 1, 0.0)
    assert total(day(env, 1, 0.0), "impressions") == 0
    assert day(env, 1, 7.0) == day(env, 1, 1.0)


@pytest.mark.parametrize("action", [[math.nan], [math.inf], [0.1, 0.2], 0.1])
def test_an_action_that_is_not_one_finite_number_is_refused(action: Any) -> None:
    env = AdAuctionEnv(**SMALL)
    env.reset(seed=1)
    with pytest.raises(ValueError, match="one finite bid"):
        env.step(np.array(action, dtype=np.float32))


def test_a_step_needs_a_day_that_has_begun_and_is_not_over() -> None:
    env = AdAuctionEnv(**SMALL)
    with pytest.raises(ResetNeeded):
        step(env, 0.5)
    day(env, seed=1)
    with pytest.raises(ResetNeeded):
        step(env, 0.5)


def test_competitors_may_be_given_as_mappings() -> None:
    env = gymnasium.make(AD_AUCTION, competitors=RICH_RIVALS, periods=12).unwrapped
    assert isinstance(env, AdAuctionEnv)
    assert [rival.name for rival in env.config.competitors] == ["one", "two"]
    assert len(day(env, seed=1)) == 12


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"budget": 3}, "unknown AuctionConfig setting.*budget; known: periods,.*competitors"),
        ({"periods": 0}, "periods must be positive"),
        ({"periods": 24.0}, "periods must be an integer"),
        ({"periods": True}, "periods must be an integer"),
        ({"auctions_per_day": "many"}, "auctions_per_day must be an integer"),
        ({"daily_budget_micros": -1}, "daily_budget_micros must not be negative"),
        ({"reserve_micros": 5_000_000}, "reserve_micros must not exceed max_bid_micros"),
        ({"click_rate": 0.0}, "click_rate must lie in"),
        ({"conversion_rate": 1.1}, "conversion_rate must lie in"),
        ({"conversion_rate": math.nan}, "conversion_rate must be a finite number"),
        ({"mean_delay_periods": 0.5}, "mean_delay_periods must be at least 1"),
        ({"traffic_variation": -0.1}, "traffic_variation must lie in"),
        ({"competitors": []}, "at least one rival"),
        ({"competitors": "brand"}, "competitors must be a list"),
        ({"competitors": ["brand"]}, "must be a mapping"),
        ({"competitors": [{"name": "brand"}]}, "Competitor needs bid_micros, budget_micros"),
        ({"competitors": [RICH_RIVALS[0] | {"mood": 1}]}, "unknown Competitor setting.*mood"),
    ],
)
def test_a_wrong_setting_is_refused_with_a_clear_message(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        AdAuctionEnv(**settings)
