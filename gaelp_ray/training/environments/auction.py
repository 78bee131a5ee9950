"""The second-price ad-auction environment, ``gaelp/AdAuction-v0``."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from gaelp_ray.domain.money import units_from_micros
from gaelp_ray.training.environments.clearing import Clearing, clear
from gaelp_ray.training.environments.competitors import Rivals
from gaelp_ray.training.environments.config import AuctionConfig
from gaelp_ray.training.environments.dashboard import OBSERVATION_SIZE, Dashboard
from gaelp_ray.training.environments.day import MarketDay
from gaelp_ray.training.environments.settings import build
from gaelp_ray.training.environments.traffic import traffic_left

Observation = NDArray[np.float32]
Action = NDArray[np.float32]


class AdAuctionEnv(gymnasium.Env[Observation, Action]):
    """One advertiser buying clicks through one day, on a budget, against rivals with budgets of their own.

    **Episode.** One day in ``config.periods`` equal periods, one step each; it terminates after the last
    and never truncates. A period brings a Poisson number of auctions that follows the time of day. The
    levels of traffic, of conversions and of every rival's bids differ from day to day and are not shown.
    All chance comes from ``np_random`` at `reset`, so one seed is one market whatever the agent bids.

    **Action.** ``Box(0, 1, (1,), float32)``: the bid per click for every auction of the period, as a share
    of ``max_bid_micros``. A bid outside the bounds is clipped to them.

    **Auction.** Single-slot, pay-per-click, second price: see `clear`. The day's spend never exceeds
    ``daily_budget_micros``: the agent sits out the rest of a period from the first click it cannot pay in
    full.

    **Conversions.** A click converts with a probability that follows the time of day. The conversion
    arrives a geometric number of periods later (mean ``mean_delay_periods``, at least one); those still
    outstanding at the end of the day arrive with the last step, so each counts exactly once.

    **Reward.** Value of the conversions that arrived in the period minus the period's spend, in currency
    units. It sums to the day's profit.

    **Observation.** ``Box(-1, 1, (12,), float32)``, what the advertiser knows before it bids:

    ==  ====================================================================================
    0   share of the day elapsed, 0 to 1
    1   sine of the time of day (period of one day)
    2   cosine of the time of day
    3   sine of twice the time of day
    4   cosine of twice the time of day
    5   forecast conversion rate of the coming period, relative to the day's best
    6   share of the budget left, 0 to 1
    7   pace: (b - t) / (b + t), with b the share of the budget left and t the forecast share
        of the day's traffic left
    8   share of the last period's auctions won
    9   average price of a click in the last period, relative to the highest bid allowed; 0
        without clicks
    10  traffic so far against its forecast: tanh(log((seen + 8) / (forecast + 8)))
    11  conversions so far against the forecast for the clicks bought, in the same form
    ==  ====================================================================================

    **Info** of a step (integers, of that period; money in micros): ``spend_micros``, ``impressions``,
    ``clicks``, ``conversions`` and ``value_micros`` (of those that arrived), and ``budget_left_micros``
    after it.

    Args:
        **settings: fields of `AuctionConfig`.

    Raises:
        ValueError: a setting is unknown or out of its range.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it an instance variable

    def __init__(self, **settings: Any) -> None:
        self.config = build(AuctionConfig, settings)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (OBSERVATION_SIZE,), np.float32)
        self._rivals = Rivals(self.config.competitors, traffic_left(self.config.periods).tolist())
        self._dashboard = Dashboard(self.config)
        self._period = self.config.periods

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Draw a new day and restore all budgets.

        Args:
            seed: fixes this day and those after it; None goes on with the current random stream.
            options: ignored.
        """
        super().reset(seed=seed)
        self._day = MarketDay.draw(self.config, self.np_random)
        self._rivals.start_day()
        self._dashboard.start_day()
        self._period = 0
        self._budget_left = self.config.daily_budget_micros
        self._arrivals = [0] * self.config.periods
        return self._dashboard.observation(0, self._budget_left), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Bid for one period.

        Raises:
            ValueError: the action is not one finite number.
            ResetNeeded: the day is over or has not begun.
        """
        if self._period == self.config.periods:
            raise ResetNeeded("the day is over or has not begun: call reset() first")
        result = self._trade(self._bid_micros(action))
        conversions = self._arrivals[self._period]
        value = conversions * self.config.conversion_value_micros
        info = {
            "spend_micros": int(result.prices.sum()),
            "impressions": int(np.count_nonzero(result.won)),
            "clicks": len(result.bought),
            "conversions": conversions,
            "value_micros": value,
        }
        self._dashboard.record(
            self._period,
            auctions=len(result.won),
            impressions=info["impressions"],
            clicks=info["clicks"],
            conversions=conversions,
            spend=info["spend_micros"],
        )
        self._period += 1
        self._budget_left -= info["spend_micros"]
        info["budget_left_micros"] = self._budget_left
        observation = self._dashboard.observation(self._period, self._budget_left)
        over = self._period == self.config.periods
        return observation, units_from_micros(value - info["spend_micros"]), over, False, info

    def _trade(self, bid: int) -> Clearing:
        """Hold the period's auctions, with all that follows but the agent's own accounts."""
        day = self._day
        batch = slice(day.starts[self._period], day.starts[self._period + 1])
        strengths = np.array(self._rivals.strengths(self._period), dtype=np.float32)
        competing = np.empty((len(strengths) + 1, batch.stop - batch.start), dtype=np.int64)
        competing[:-1] = day.bids[:, batch] * strengths[:, None]
        competing[-1] = self.config.reserve_micros
        result = clear(bid, competing, day.clicked[batch], budget=self._budget_left)
        self._rivals.pay(result.rival_spend[:-1])
        self._expect_conversions(day.delay[batch][result.bought])
        return result

    def _expect_conversions(self, delays: NDArray[np.int64]) -> None:
        """Note when the conversions among the clicks bought arrive; a delay of 0 is none."""
        last = self.config.periods - 1
        for delay in delays[delays > 0].tolist():
            self._arrivals[min(self._period + delay, last)] += 1

    def _bid_micros(self, action: Action) -> int:
        bid = float(action[0]) if np.shape(action) == (1,) else math.nan
        if not math.isfinite(bid):
            raise ValueError(f"an action must hold one finite bid, got {action!r}")
        return round(min(max(bid, 0.0), 1.0) * self.config.max_bid_micros)
