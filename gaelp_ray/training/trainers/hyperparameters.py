"""What a user may tune about the reference trainer."""

from __future__ import annotations

from dataclasses import dataclass

from gaelp_ray.training.environments.settings import require, require_numbers


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """Settings of the evolution strategy.

    Attributes:
        epochs: iterations, each one update of the policy.
        learning_rate: size of an update of one parameter.
        population: policies tried in an iteration; even, as they come in mirrored pairs.
        noise: standard deviation of the parameters' perturbation.
        days: episodes each policy is tried on.
        checkpoint_every: iterations between checkpoints; the last iteration always saves one.

    Raises:
        ValueError: a value is out of its range.
    """

    epochs: int = 40
    learning_rate: float = 0.05
    population: int = 32
    noise: float = 0.1
    days: int = 3
    checkpoint_every: int = 5

    def __post_init__(self) -> None:
        require_numbers(self)
        for name in ("epochs", "learning_rate", "population", "noise", "days", "checkpoint_every"):
            require(getattr(self, name) > 0, f"{name} must be positive, got {getattr(self, name)}")
        require(self.population % 2 == 0, f"population must be even, got {self.population}")
