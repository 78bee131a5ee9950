"""Making an environment and playing its episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import gymnasium
from gymnasium.wrappers import TransformReward
from numpy.typing import NDArray


class Actor(Protocol):
    """Anything that answers an observation with an action."""

    def act(self, observation: NDArray[Any]) -> NDArray[Any]:
        """The action to take on ``observation``."""
        ...


class Episode(NamedTuple):
    """Totals of one episode.

    Attributes:
        reward: sum of rewards, in the environment's unit (currency units in ``gaelp/AdAuction-v0``).
        spend_micros: sum of ``info["spend_micros"]``; 0 in an environment that reports none.
    """

    reward: float
    spend_micros: int


def make(
    environment: str, settings: Mapping[str, Any], *, reward: Callable[[float], float] | None = None
) -> gymnasium.Env[Any, Any]:
    """Make a registered environment, without the per-step checks that would double the cost of an episode.

    ``reward``: what every reward is passed through.

    Raises:
        ValueError: ``gaelp/AdAuction-v0`` refused ``settings``.
        gymnasium.error.Error: no such environment.
    """
    made: gymnasium.Env[Any, Any] = gymnasium.make(environment, disable_env_checker=True, **settings)
    return made if reward is None else TransformReward(made, lambda gained: reward(float(gained)))


def play(environment: gymnasium.Env[Any, Any], actor: Actor, seed: int) -> Episode:
    """Play the episode that ``seed`` starts to its end."""
    observation, _ = environment.reset(seed=seed)
    reward, spend, over = 0.0, 0, False
    while not over:
        observation, gained, terminated, truncated, info = environment.step(actor.act(observation))
        reward += float(gained)
        spend += int(info.get("spend_micros", 0))
        over = terminated or truncated
    return Episode(reward, spend)


def play_all(environment: gymnasium.Env[Any, Any], actor: Actor, seeds: Iterable[int]) -> list[Episode]:
    """Play one episode for each seed, in order."""
    return [play(environment, actor, seed) for seed in seeds]
