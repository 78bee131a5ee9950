"""How a day of shoppers unfolds: how many look, and how ready they are to buy, by time of day.

The curves are stylised, not fitted: traffic has a lunch and an evening peak over a quiet night, and shoppers
convert best in the evening. They give an agent a reason to bid differently through the day. Every function
returns one number a period, for ``periods`` equal periods from midnight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gaelp_ray.training.environments.competitors import HOURS_PER_DAY

Curve = NDArray[np.float64]


def traffic_share(periods: int) -> Curve:
    """Expected share of the day's auctions in each period; sums to 1."""
    weight = 0.25 + _bump(periods, at=12.5, width=2.5) + 1.3 * _bump(periods, at=20.0, width=2.0)
    share: Curve = weight / weight.sum()
    return share


def traffic_left(periods: int) -> Curve:
    """Expected share of the day's auctions from the start of each period on; starts at 1."""
    left: Curve = traffic_share(periods)[::-1].cumsum()[::-1]
    return left


def conversion_profile(periods: int) -> Curve:
    """Factor on the conversion rate in each period; averages 1 over the day's expected traffic."""
    factor = 0.5 + 0.5 * _bump(periods, at=10.0, width=2.0) + 1.5 * _bump(periods, at=21.0, width=2.0)
    profile: Curve = factor / (factor @ traffic_share(periods))
    return profile


def _bump(periods: int, *, at: float, width: float) -> Curve:
    """A bell around hour ``at``, ``width`` hours to its shoulder, wrapped round midnight."""
    hours = (np.arange(periods) + 0.5) * (HOURS_PER_DAY / periods)
    apart = np.abs(hours - at)
    apart = np.minimum(apart, HOURS_PER_DAY - apart)
    bell: Curve = np.exp(-0.5 * (apart / width) ** 2)
    return bell
