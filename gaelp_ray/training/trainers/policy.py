"""The policy the reference trainer learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

POLICY_FILE = "policy.npz"

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Policy:
    """A linear map of the observation, squashed by a logistic curve into the bounds of the action.

    Attributes:
        weights: shape (actions, observations).
        bias: shape (actions,).
        low: shape (actions,), least action, in the environment's unit.
        high: shape (actions,), greatest action.

    Raises:
        ValueError: the arrays do not fit together, or hold numbers that are not finite.
    """

    weights: Array
    bias: Array
    low: Array
    high: Array

    def __post_init__(self) -> None:
        rows = self.weights.shape[:1]
        if self.weights.size == 0 or any(each.shape != rows for each in (self.bias, self.low, self.high)):
            raise ValueError(
                "a policy needs a matrix of weights, and a bias and two bounds for each row of it"
            )
        if not all(np.isfinite(each).all() for each in (self.weights, self.bias, self.low, self.high)):
            raise ValueError("a policy must hold finite numbers")

    @classmethod
    def constant(cls, environment: gymnasium.Env[Any, Any], share: float = 0.5) -> Policy:
        """The policy that always plays the same action, ``share`` of the way from the least to the greatest.

        Args:
            environment: what is to be played.
            share: in (0, 1).

        Raises:
            ValueError: the spaces of ``environment`` are not flat boxes, or its actions are not bounded.
        """
        seen, action = environment.observation_space, environment.action_space
        if not (
            isinstance(seen, Box) and isinstance(action, Box) and len(seen.shape) == len(action.shape) == 1
        ):
            raise ValueError(f"a linear policy needs one-dimensional boxes, not {seen} and {action}")
        if not action.is_bounded():
            raise ValueError(f"a linear policy needs bounded actions, not {action}")
        return cls(
            weights=np.zeros((action.shape[0], seen.shape[0])),
            bias=np.full(action.shape[0], np.arctanh(2 * share - 1)),
            low=action.low.astype(np.float64),
            high=action.high.astype(np.float64),
        )

    def act(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """The action, shape (actions,), for an ``observation`` of shape (observations,)."""
        # tanh is the logistic curve at half the argument, and cannot overflow.
        share = 0.5 + 0.5 * np.tanh(self.weights @ observation + self.bias)
        action: NDArray[np.float32] = (self.low + (self.high - self.low) * share).astype(np.float32)
        return action

    @property
    def parameters(self) -> Array:
        """What is learned, flat: the weights row by row, then the bias."""
        return np.concatenate((self.weights.ravel(), self.bias))

    def with_parameters(self, parameters: Array) -> Policy:
        """The policy of the same shape that holds ``parameters``."""
        split = self.weights.size
        weights = parameters[:split].reshape(self.weights.shape)
        return replace(self, weights=weights, bias=parameters[split:])

    def save(self, directory: Path) -> None:
        """Write ``policy.npz`` into ``directory``, which must exist."""
        np.savez(directory / POLICY_FILE, weights=self.weights, bias=self.bias, low=self.low, high=self.high)

    @classmethod
    def load(cls, directory: Path) -> Policy:
        """Read the policy saved in ``directory``.

        Raises:
            FileNotFoundError: there is no ``policy.npz``.
            ValueError: the file does not hold a policy.
        """
        with np.load(directory / POLICY_FILE, allow_pickle=False) as arrays:
            try:
                return cls(**{name: np.asarray(arrays[name], np.float64) for name in arrays.files})
            except TypeError as error:
                raise ValueError(f"{directory / POLICY_FILE} does not hold a policy") from error
