"""Rules for the rewards that an agent learns from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.safety.verdicts import is_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardClip:
    """Rewards outside are cut to the nearer end, so that no single one can teach too much."""

    kind: ClassVar[str] = "reward_clip"
    low: float
    high: float
    #: More of the rewards at an end than this is suspicious: the agent has found what pays the most.
    max_clipped_percent: int = 20

    def __post_init__(self) -> None:
        ends = (self.low, self.high)
        if any(
            isinstance(end, bool) or not isinstance(end, int | float) or not math.isfinite(end)
            for end in ends
        ):
            raise InvalidInput("`low` and `high` must be finite numbers.")
        if not self.low < self.high:
            raise InvalidInput(f"`low` must be below `high`; got {self.low} and {self.high}.")
        if not is_whole(self.max_clipped_percent) or not 0 <= self.max_clipped_percent <= 100:
            raise InvalidInput("`max_clipped_percent` must be a whole number from 0 to 100.")


def clip_reward(reward: float, rules: Iterable[RewardClip]) -> float:
    """The reward within every rule; where they leave nothing in common, the nearest end of the last.

    Raises ``InvalidInput`` for NaN. An infinity is cut like any other number, and refused without a rule.
    """
    if math.isnan(reward):
        raise InvalidInput("A reward must be a number; got NaN.")
    for rule in rules:
        reward = min(max(reward, rule.low), rule.high)
    if math.isinf(reward):
        raise InvalidInput(f"A reward must be finite; got {reward}.")
    return reward


class RewardWatch:
    """Cuts the rewards of one run, and says once of each rule when it cuts too many."""

    #: Rewards before anything is said of how many are cut.
    ENOUGH: ClassVar[int] = 100

    def __init__(self, rules: Iterable[RewardClip]) -> None:
        self.rules = tuple(rules)
        self._seen = 0
        self._outside = [0] * len(self.rules)
        self._told: set[int] = set()

    def clip(self, reward: float) -> float:
        """As ``clip_reward``."""
        clipped = clip_reward(reward, self.rules)
        self._seen += 1
        for place, rule in enumerate(self.rules):
            self._outside[place] += not rule.low <= reward <= rule.high
        return clipped

    def suspicion(self) -> str | None:
        """A sentence on a rule that cuts more than it allows, if it was not said before."""
        for place, rule in enumerate(self.rules):
            too_many = self._outside[place] * 100 > rule.max_clipped_percent * self._seen
            if self._seen >= self.ENOUGH and too_many and place not in self._told:
                self._told.add(place)
                return (
                    f"{self._outside[place]} of {self._seen} rewards lie outside {rule.low:g} to "
                    f"{rule.high:g} and were cut; {rule.max_clipped_percent} % may. Look whether it learns "
                    "what it should."
                )
        return None
