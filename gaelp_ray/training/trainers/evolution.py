"""The reference trainer: an evolution strategy in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gaelp_ray.domain.money import units_from_micros
from gaelp_ray.training.environments import AD_AUCTION, seeds
from gaelp_ray.training.environments.rollout import Episode, make, play_all
from gaelp_ray.training.environments.settings import build
from gaelp_ray.training.trainers.adam import Adam
from gaelp_ray.training.trainers.hyperparameters import Hyperparameters
from gaelp_ray.training.trainers.policy import POLICY_FILE, Policy
from gaelp_ray.training.trainers.progress import Progress

if TYPE_CHECKING:
    from gaelp_ray.training.context import TrainingContext

Environment = gymnasium.Env[Any, Any]
Array = NDArray[np.float64]

#: Constant actions tried to start from, as shares of the range, and the episodes each is tried on.
FIRST_SHARES = [tenth / 10 for tenth in range(1, 10)]
FIRST_DAYS = 8


def train(ctx: TrainingContext) -> dict[str, Any]:
    """Train a linear bidding policy; the entry point of a training job.

    The run starts from the best constant action of a few days. Each iteration then tries mirrored
    perturbations of the policy on the same few days and moves its parameters towards the better ones
    (Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017:
    antithetic sampling and rank-shaped fitness; steps are those of `Adam`). It plays the policy on fixed
    reference days and reports ``reward`` (their mean, in the environment's unit) and ``best_reward``,
    ``population_reward`` (mean over the policies tried) and ``spend`` (currency units on the first reference
    day, which is also charged to ``ctx.budget``).

    A run is a function of ``ctx.seed``, the configuration and the hyperparameters: stopped anywhere and
    resumed from its last checkpoint, it ends with the parameters it would have had.

    Args:
        ctx: ``hyperparameters`` are fields of `Hyperparameters`. ``config`` may hold ``environment`` (an id,
            by default ``gaelp/AdAuction-v0``) and ``environment_config`` (its keyword arguments); the
            environment needs flat boxes for spaces.

    Returns:
        ``final_reward`` and ``best_reward`` on the reference days, ``iterations`` completed, and
        ``policy``, the name of the policy's file in a checkpoint.

    Raises:
        ValueError: a hyperparameter or environment setting is unknown or out of range, or the environment
            or the checkpoint does not fit.
        BudgetExhausted: the job's budget cannot carry the iteration; the last checkpoint stands.
    """
    settings = build(Hyperparameters, ctx.hyperparameters)
    name, options = ctx.config.get("environment", AD_AUCTION), ctx.config.get("environment_config", {})
    clip = ctx.clip_reward if ctx.clips_rewards else None
    with closing(make(name, options, reward=clip)) as environment:
        progress = _start_or_resume(ctx, environment)
        stopping = False
        while progress.iteration < settings.epochs and not stopping:
            population_reward = _improve(progress, settings, environment)
            spend_micros = _assess(progress, environment)
            # Charged before the checkpoint: a run resumed from before this iteration charges the same key
            # again, to no effect; one resumed from after it would never charge it.
            if spend_micros:
                ctx.budget.spend(amount_micros=spend_micros, key=f"iteration-{progress.iteration}")
            stopping = ctx.should_stop()
            last = progress.iteration == settings.epochs
            save = stopping or last or progress.iteration % settings.checkpoint_every == 0
            ctx.report(
                {
                    "reward": progress.reward,
                    "best_reward": progress.best_reward,
                    "population_reward": population_reward,
                    "spend": units_from_micros(spend_micros),
                },
                step=progress.iteration,
                total_steps=settings.epochs,
                checkpoint=_saved(progress, ctx.scratch()) if save else None,
            )
    return {
        "final_reward": progress.reward,
        "best_reward": progress.best_reward,
        "iterations": progress.iteration,
        "policy": POLICY_FILE,
    }


def _start_or_resume(ctx: TrainingContext, environment: Environment) -> Progress:
    checkpoint = ctx.latest_checkpoint()
    if checkpoint is None:
        return _start(environment, ctx.seed)
    progress = Progress.load(checkpoint.path)
    if progress.policy.weights.shape != Policy.constant(environment).weights.shape:
        raise ValueError(f"the checkpoint at step {checkpoint.step} is of a policy for another environment")
    return progress


def _start(environment: Environment, seed: int) -> Progress:
    """Begin from the best constant action.

    From one that spends the budget before the day is over, hardly any small step helps, and a run may stall.
    """
    rng = np.random.default_rng(seed)
    days = seeds.training(rng, FIRST_DAYS)
    constants = [Policy.constant(environment, share) for share in FIRST_SHARES]
    best = max(constants, key=lambda policy: _mean_reward(play_all(environment, policy, days)))
    return Progress(best, Adam.fresh(best.parameters.size), rng)


def _improve(progress: Progress, settings: Hyperparameters, environment: Environment) -> float:
    """Do one update of the policy; returns the mean reward of the policies tried."""
    centre = progress.policy.parameters
    noise = progress.rng.standard_normal((settings.population // 2, centre.size))
    # The same days for all: what differs between two policies is then the policy, not the weather.
    days = seeds.training(progress.rng, settings.days)

    def fitness(parameters: Array) -> float:
        return _mean_reward(play_all(environment, progress.policy.with_parameters(parameters), days))

    shift = settings.noise * noise
    rewards = np.array([(fitness(centre + each), fitness(centre - each)) for each in shift])
    shaped = _centred_ranks(rewards)
    gradient = (shaped[:, 0] - shaped[:, 1]) @ noise / (settings.population * settings.noise)
    progress.optimiser = progress.optimiser.seeing(gradient)
    progress.policy = progress.policy.with_parameters(
        centre + settings.learning_rate * progress.optimiser.direction
    )
    progress.iteration += 1
    return float(rewards.mean())


def _assess(progress: Progress, environment: Environment) -> int:
    """Note how the policy does on the reference days; returns its spend on the first of them, in micros."""
    episodes = play_all(environment, progress.policy, seeds.REFERENCE)
    progress.reward = _mean_reward(episodes)
    progress.best_reward = max(progress.best_reward, progress.reward)
    return episodes[0].spend_micros


def _saved(progress: Progress, scratch: Path) -> Path:
    directory = scratch / "checkpoint"
    progress.save(directory)
    return directory


def _mean_reward(episodes: Sequence[Episode]) -> float:
    return sum(episode.reward for episode in episodes) / len(episodes)


def _centred_ranks(values: Array) -> Array:
    """Ranks spread evenly over [-0.5, 0.5], so that neither scale nor outliers of the values matter."""
    ranks = values.ravel().argsort(kind="stable").argsort(kind="stable").reshape(values.shape)
    centred: Array = ranks / (values.size - 1) - 0.5
    return centred
