"""What an advertiser sees of its own day."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gaelp_ray.training.environments.config import AuctionConfig
from gaelp_ray.training.environments.traffic import conversion_profile, traffic_left, traffic_share

OBSERVATION_SIZE = 12

#: How many counts a forecast is worth against the day's own count.
PRIOR = 8.0


class Dashboard:
    """Running totals of one day and the observation made of them.

    Only what an advertiser could know is used: its own results, and forecasts of traffic and conversions by
    time of day. How busy, ready to buy or contested the day really is stays hidden.
    """

    def __init__(self, config: AuctionConfig) -> None:
        self._config = config
        self._forecast_auctions = (config.auctions_per_day * traffic_share(config.periods)).tolist()
        self._forecast_rate = (config.conversion_rate * conversion_profile(config.periods)).tolist()
        # One entry past the last period, for the observation that closes the day.
        self._traffic_left = [*traffic_left(config.periods).tolist(), 0.0]
        self._clock = _clock(config.periods)
        self.start_day()

    def start_day(self) -> None:
        """Forget the last day."""
        self._auctions = self._conversions = 0
        self._expected_auctions = self._expected_conversions = 0.0
        self._expected_outstanding = 0.0
        self._win_rate = self._price = 0.0

    def record(
        self, period: int, *, auctions: int, impressions: int, clicks: int, conversions: int, spend: int
    ) -> None:
        """Add the results of ``period``: ``conversions`` that arrived in it, ``spend`` in micros."""
        # A geometric delay has no memory: the same share of what is outstanding arrives in every period.
        arriving = self._expected_outstanding / self._config.mean_delay_periods
        self._expected_conversions += arriving
        self._expected_outstanding += clicks * self._forecast_rate[period] - arriving
        self._conversions += conversions
        self._auctions += auctions
        self._expected_auctions += self._forecast_auctions[period]
        self._win_rate = impressions / auctions if auctions else 0.0
        self._price = spend / clicks / self._config.max_bid_micros if clicks else 0.0

    def observation(self, period: int, budget_left: int) -> NDArray[np.float32]:
        """What is shown before ``period``, shape (12,), every entry in [-1, 1]; `AdAuctionEnv` lists them."""
        budget = budget_left / self._config.daily_budget_micros if budget_left else 0.0
        traffic = self._traffic_left[period]
        return np.array(
            [
                *self._clock[period],
                budget,
                (budget - traffic) / (budget + traffic) if budget + traffic else 0.0,
                self._win_rate,
                self._price,
                _lift(self._auctions, self._expected_auctions),
                _lift(self._conversions, self._expected_conversions),
            ],
            dtype=np.float32,
        )


def _clock(periods: int) -> list[list[float]]:
    """The entries that depend on the time alone, for each period and for the end of the day."""
    elapsed = np.arange(periods + 1) / periods
    angle = 2 * np.pi * elapsed
    readiness = conversion_profile(periods)
    readiness = np.append(readiness, readiness[0]) / readiness.max()
    waves = [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    table: list[list[float]] = np.stack([elapsed, *waves, readiness], axis=1).tolist()
    return table


def _lift(seen: float, expected: float) -> float:
    """How far ``seen`` exceeds ``expected``, shrunk towards zero while little is known; in [-1, 1]."""
    return math.tanh(math.log((seen + PRIOR) / (expected + PRIOR)))
