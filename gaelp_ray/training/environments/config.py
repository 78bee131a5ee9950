"""What a simulated advertising day is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gaelp_ray.domain.money import MICROS_PER_UNIT
from gaelp_ray.training.environments.competitors import DEFAULT_COMPETITORS, Competitor
from gaelp_ray.training.environments.settings import build, require, require_numbers


@dataclass(frozen=True, kw_only=True)
class AuctionConfig:
    """Settings of the ad auction. Money is in integer micros, rates are probabilities.

    Attributes:
        periods: equal periods a day is cut into; one step each.
        auctions_per_day: expected number of auctions on an ordinary day.
        daily_budget_micros: what the agent may spend in a day.
        max_bid_micros: highest bid per click.
        reserve_micros: what the publisher bids for its own slot, so the least price of a click.
        conversion_value_micros: what one conversion is worth to the agent.
        click_rate: chance that the ad shown is clicked, whosever it is.
        conversion_rate: chance that a click on the agent's ad converts, on average over an ordinary day.
        mean_delay_periods: mean periods from click to conversion (geometric, at least 1).
        traffic_variation: log-standard-deviation of a day's traffic level.
        conversion_variation: log-standard-deviation of a day's conversion level.
        competition_variation: log-standard-deviation of each rival's bid level on a day.
        competitors: the rivals; a mapping of `Competitor` fields stands for one.

    Raises:
        ValueError: a field is out of its range.
    """

    periods: int = 24
    auctions_per_day: int = 6_000
    daily_budget_micros: int = 150 * MICROS_PER_UNIT
    max_bid_micros: int = 4 * MICROS_PER_UNIT
    reserve_micros: int = MICROS_PER_UNIT // 20
    conversion_value_micros: int = 12 * MICROS_PER_UNIT
    click_rate: float = 0.15
    conversion_rate: float = 0.2
    mean_delay_periods: float = 2.0
    traffic_variation: float = 0.2
    conversion_variation: float = 0.3
    competition_variation: float = 0.25
    competitors: tuple[Competitor, ...] = DEFAULT_COMPETITORS

    def __post_init__(self) -> None:
        require(isinstance(self.competitors, list | tuple), "competitors must be a list")
        object.__setattr__(self, "competitors", tuple(_competitor(each) for each in self.competitors))
        require_numbers(self)
        for name in (
            "periods",
            "auctions_per_day",
            "max_bid_micros",
            "reserve_micros",
            "conversion_value_micros",
        ):
            require(getattr(self, name) > 0, f"{name} must be positive")
        require(self.reserve_micros <= self.max_bid_micros, "reserve_micros must not exceed max_bid_micros")
        require(self.daily_budget_micros >= 0, "daily_budget_micros must not be negative")
        for name in ("click_rate", "conversion_rate"):
            require(0 < getattr(self, name) <= 1, f"{name} must lie in (0, 1]")
        require(self.mean_delay_periods >= 1, "mean_delay_periods must be at least 1")
        for name in ("traffic_variation", "conversion_variation", "competition_variation"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in [0, 1]")
        require(len(self.competitors) > 0, "competitors must name at least one rival")


def _competitor(settings: Competitor | Mapping[str, Any]) -> Competitor:
    if isinstance(settings, Competitor):
        return settings
    require(
        isinstance(settings, Mapping), f"a competitor must be a mapping of its settings, got {settings!r}"
    )
    return build(Competitor, settings)
