"""The advertisers an agent bids against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaelp_ray.training.environments.settings import require, require_numbers

HOURS_PER_DAY = 24.0

#: How far a paced competitor may scale its bid down and up.
PACE_LIMITS = (0.3, 2.0)

#: Wider noise would make most bids nothing and a few absurd.
WIDEST_SPREAD = 2.0


@dataclass(frozen=True, kw_only=True)
class Competitor:
    """One rival advertiser.

    Its bid in an auction is ``bid_micros`` times log-normal noise of mean one and log-standard-deviation
    ``spread``. It bids from hour ``active_from`` to hour ``active_until`` while its day's budget lasts. A
    ``paced`` competitor also scales its bid by the share of its budget left over the share of the day's
    traffic left, within `PACE_LIMITS`: a simple form of the multiplicative pacing studied by Balseiro and
    Gur, "Learning in Repeated Auctions with Budgets", 2019.

    Raises:
        ValueError: a field is out of its range.
    """

    name: str
    bid_micros: int
    budget_micros: int
    spread: float = 0.4
    active_from: float = 0.0
    active_until: float = HOURS_PER_DAY
    paced: bool = False

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and self.name != "", "a competitor needs a name")
        require_numbers(self)
        require(self.bid_micros > 0, f"{self.name}: bid_micros must be positive")
        require(self.budget_micros >= 0, f"{self.name}: budget_micros must not be negative")
        require(0 <= self.spread <= WIDEST_SPREAD, f"{self.name}: spread must lie in [0, {WIDEST_SPREAD}]")
        require(
            0 <= self.active_from < self.active_until <= HOURS_PER_DAY,
            f"{self.name}: active hours must satisfy 0 <= active_from < active_until <= 24",
        )
        require(isinstance(self.paced, bool), f"{self.name}: paced must be true or false")


#: A paced all-day brand, a cheap long tail, one that front-loads its budget, and two that keep hours.
DEFAULT_COMPETITORS = (
    Competitor(name="brand", bid_micros=900_000, budget_micros=400_000_000, paced=True),
    Competitor(name="bargain-hunter", bid_micros=450_000, budget_micros=500_000_000, spread=0.7),
    Competitor(name="early-spender", bid_micros=1_500_000, budget_micros=200_000_000, active_from=6),
    Competitor(
        name="office-hours", bid_micros=1_200_000, budget_micros=400_000_000, active_from=8, active_until=18
    ),
    Competitor(
        name="prime-time", bid_micros=1_100_000, budget_micros=300_000_000, active_from=17, active_until=23
    ),
)


class Rivals:
    """The competitors during one day: who is bidding, how strongly, and what they have left to spend.

    Args:
        competitors: the rivals, in the order of every list here.
        traffic_left: for each period, the expected share of the day's traffic from its start on.
    """

    def __init__(self, competitors: Sequence[Competitor], traffic_left: Sequence[float]) -> None:
        self._competitors = competitors
        self._traffic_left = traffic_left
        self.start_day()

    def start_day(self) -> None:
        """Restore every budget."""
        self._left = [rival.budget_micros for rival in self._competitors]

    def strengths(self, period: int) -> list[float]:
        """Factor on each rival's bids in ``period``; zero for one that does not bid."""
        hour = period * HOURS_PER_DAY / len(self._traffic_left)
        due = self._traffic_left[period]
        return [
            _strength(rival, left, hour, due)
            for rival, left in zip(self._competitors, self._left, strict=True)
        ]

    def pay(self, spend: Sequence[int]) -> None:
        """Take each rival's ``spend`` in one period (micros) from its budget.

        A rival stops at the period after it runs dry, as on a platform that meters budgets in intervals;
        what the last period cost beyond its budget is forgiven.
        """
        self._left = [max(left - paid, 0) for left, paid in zip(self._left, spend, strict=True)]


def _strength(rival: Competitor, budget_left: int, hour: float, traffic_left: float) -> float:
    if budget_left == 0 or not rival.active_from <= hour < rival.active_until:
        return 0.0
    if not rival.paced:
        return 1.0
    slowest, fastest = PACE_LIMITS
    return min(max(budget_left / (rival.budget_micros * traffic_left), slowest), fastest)
