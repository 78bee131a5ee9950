"""Does a policy beat the best fixed bid?

A policy and the baseline play the same held-out days, and what is judged are the differences day by day: good
and bad days move both alike and cancel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from gaelp_ray.domain.intervals import student_t
from gaelp_ray.training.environments import AD_AUCTION
from gaelp_ray.training.environments.rollout import Actor, make, play_all
from gaelp_ray.training.environments.seeds import TUNING, held_out, is_held_out
from gaelp_ray.training.environments.settings import require
from gaelp_ray.training.trainers.policy import Policy

if TYPE_CHECKING:
    from gaelp_ray.training.context import TrainingContext

Array = NDArray[np.float64]

CONFIDENCE = 0.95

#: Bids tried in each of the two passes of the search for the best one.
GRID = 13

DEFAULT_DAYS = 100


class FixedBid:
    """The baseline: one bid, whatever the observation.

    Args:
        bid: the one entry of every action.
    """

    def __init__(self, bid: float) -> None:
        self._action = np.array([bid], dtype=np.float32)

    def act(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """The bid, shape (1,)."""
        return self._action


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A policy against the best fixed bid on the same days.

    Attributes:
        days: held-out days played.
        reward: the policy's mean reward a day, in the environment's unit.
        baseline_bid: the fixed bid, an action.
        baseline_reward: its mean reward a day.
        difference: mean over the days of the policy's reward minus the baseline's.
        lower: lower end of the 95% confidence interval of ``difference``.
        upper: upper end of it.
    """

    days: int
    reward: float
    baseline_bid: float
    baseline_reward: float
    difference: float
    lower: float
    upper: float

    @property
    def beats_baseline(self) -> bool:
        """Whether the whole confidence interval lies above zero."""
        return self.lower > 0


def evaluate(
    policy: Actor, *, environment: str, environment_config: Mapping[str, Any], seeds: Sequence[int]
) -> Evaluation:
    """Compare ``policy`` with the best fixed bid on the days of ``seeds``.

    The bid is tuned on other days (`seeds.TUNING`), so neither side has seen the days it is judged on.

    Args:
        policy: what is judged; its action has one entry.
        environment: id of a registered environment.
        environment_config: keyword arguments of that environment.
        seeds: two or more different seeds that `seeds.is_held_out` allows.

    Raises:
        ValueError: a seed repeats or is not held out, or the action space is not one bounded number.
    """
    require(len(set(seeds)) == len(seeds) >= 2, "an evaluation needs two or more different seeds")
    require(all(is_held_out(seed) for seed in seeds), "an evaluation may only use held-out seeds")
    bid = best_fixed_bid(environment=environment, environment_config=environment_config)
    with closing(make(environment, environment_config)) as market:
        rewards = _rewards(market, policy, seeds)
        baseline = _rewards(market, FixedBid(bid), seeds)
    lower, upper = paired_interval(rewards - baseline)
    return Evaluation(
        days=len(seeds),
        reward=float(rewards.mean()),
        baseline_bid=bid,
        baseline_reward=float(baseline.mean()),
        difference=float((rewards - baseline).mean()),
        lower=lower,
        upper=upper,
    )


def best_fixed_bid(
    *, environment: str, environment_config: Mapping[str, Any], seeds: Sequence[int] = TUNING
) -> float:
    """The fixed action with the highest mean reward on the days of ``seeds``.

    Searched on an even grid over the action's range, then on one between the best point's neighbours.

    Raises:
        ValueError: the action space is not one bounded number.
    """
    with closing(make(environment, environment_config)) as market:
        space = market.action_space
        if not (isinstance(space, Box) and space.shape == (1,) and space.is_bounded()):
            raise ValueError(f"a fixed bid needs an action of one bounded number, not {space}")
        low, high = float(space.low[0]), float(space.high[0])
        for _ in range(2):
            bids = np.linspace(low, high, GRID)
            worth = [_rewards(market, FixedBid(bid), seeds).mean() for bid in bids]
            best = int(np.argmax(worth))
            low, high = float(bids[max(best - 1, 0)]), float(bids[min(best + 1, GRID - 1)])
    return float(bids[best])


def paired_interval(differences: Array) -> tuple[float, float]:
    """The 95% confidence interval of the mean of ``differences``, shape (n,) with n at least 2.

    Student's t interval ("The Probable Error of a Mean", 1908) on the paired differences. It takes their mean
    to be about normal, which tens of days make it.
    """
    count = len(differences)
    margin = student_t(count - 1) * float(differences.std(ddof=1)) / count**0.5
    mean = float(differences.mean())
    return mean - margin, mean + margin


def evaluate_job(ctx: TrainingContext) -> dict[str, Any]:
    """Evaluate a trained policy; the entry point of an evaluation job.

    Args:
        ctx: ``config`` holds ``checkpoint_dir``, the local directory of the checkpoint, and may hold
            ``seeds``, how many held-out days to play (100 by default), ``environment`` and
            ``environment_config`` as in training.

    Returns:
        The fields of `Evaluation` and ``beats_baseline``. The same are reported as step 1 of 1, with
        ``beats_baseline`` as 0 or 1.

    Raises:
        ValueError: ``checkpoint_dir`` is missing or holds no policy, or a setting is wrong.
        FileNotFoundError: ``checkpoint_dir`` holds no policy file.
    """
    config = ctx.config
    require(
        "checkpoint_dir" in config, "config needs checkpoint_dir, the directory of the checkpoint to evaluate"
    )
    days = config.get("seeds", DEFAULT_DAYS)
    require(isinstance(days, int), f"seeds must be a number of days, got {days!r}")
    evaluation = evaluate(
        Policy.load(Path(config["checkpoint_dir"])),
        environment=config.get("environment", AD_AUCTION),
        environment_config=config.get("environment_config", {}),
        seeds=held_out(days),
    )
    results = asdict(evaluation) | {"beats_baseline": evaluation.beats_baseline}
    ctx.report({name: float(value) for name, value in results.items()}, step=1, total_steps=1)
    return results


def _rewards(market: gymnasium.Env[Any, Any], actor: Actor, seeds: Sequence[int]) -> Array:
    return np.array([episode.reward for episode in play_all(market, actor, seeds)])
