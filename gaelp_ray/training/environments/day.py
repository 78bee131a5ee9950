"""One day's chances, drawn before the first bid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp_ray.training.environments.config import AuctionConfig
from gaelp_ray.training.environments.traffic import conversion_profile, traffic_share


@dataclass(frozen=True)
class MarketDay:
    """Everything chance decides about a day, for all of its auctions in order of time.

    The day is drawn whole, so a bid changes what an agent wins and never what it could have won: two
    policies on one seed meet the same shoppers and the same rivals (common random numbers).

    Attributes:
        starts: index of each period's first auction; one entry more counts them all.
        bids: shape (rivals, auctions), micros per click, before any rival paces itself or stops.
        clicked: shape (auctions,), whether the shopper clicks the ad shown.
        delay: shape (auctions,), periods from click to conversion, or 0 for a click that never converts.
    """

    starts: list[int]
    bids: NDArray[np.float32]
    clicked: NDArray[np.bool_]
    delay: NDArray[np.int64]

    @classmethod
    def draw(cls, config: AuctionConfig, rng: np.random.Generator) -> MarketDay:
        """Draw a day: first its levels of traffic and conversions, then its auctions."""
        traffic = _level(rng, config.traffic_variation)
        readiness = _level(rng, config.conversion_variation)
        counts = rng.poisson(config.auctions_per_day * traffic * traffic_share(config.periods))
        auctions = int(counts.sum())
        bids = _bids(config, rng, auctions)
        clicked = rng.random(auctions) < config.click_rate
        rate = np.minimum(config.conversion_rate * readiness * conversion_profile(config.periods), 1.0)
        converts = clicked & (rng.random(auctions) < np.repeat(rate, counts))
        delay = np.zeros(auctions, dtype=np.int64)
        # Drawn last, so that the delay's mean moves conversions in time and changes nothing else.
        delay[converts] = rng.geometric(1 / config.mean_delay_periods, int(converts.sum()))
        return cls(starts=[0, *counts.cumsum().tolist()], bids=bids, clicked=clicked, delay=delay)


def _bids(config: AuctionConfig, rng: np.random.Generator, auctions: int) -> NDArray[np.float32]:
    rivals = config.competitors
    # Single precision is cheaper to draw, and finer than a micro for bids of ordinary size.
    bids = rng.standard_normal((len(rivals), auctions), dtype=np.float32)
    for row, rival in zip(bids, rivals, strict=True):
        typical = rival.bid_micros * _level(rng, config.competition_variation)
        row[:] = np.exp(rival.spread * row + float(np.log(typical) - rival.spread**2 / 2))
    return bids


def _level(rng: np.random.Generator, variation: float) -> float:
    """A log-normal factor of mean one."""
    return float(np.exp(variation * rng.standard_normal() - variation**2 / 2))
