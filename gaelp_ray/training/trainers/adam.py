"""The optimiser."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIRST_DECAY = 0.9
SECOND_DECAY = 0.99
EPSILON = 1e-8


@dataclass(frozen=True, eq=False)
class Adam:
    """Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015), as an immutable value.

    The second decay is 0.99 rather than the customary 0.999: a run has tens of updates, not thousands.

    Attributes:
        first: running mean of the gradient.
        second: running mean of its square.
        steps: gradients seen.
    """

    first: Array
    second: Array
    steps: int = 0

    @classmethod
    def fresh(cls, size: int) -> Adam:
        """The optimiser of ``size`` parameters before its first gradient."""
        return cls(np.zeros(size), np.zeros(size))

    def seeing(self, gradient: Array) -> Adam:
        """The optimiser after one more gradient."""
        return Adam(
            first=FIRST_DECAY * self.first + (1 - FIRST_DECAY) * gradient,
            second=SECOND_DECAY * self.second + (1 - SECOND_DECAY) * gradient**2,
            steps=self.steps + 1,
        )

    @property
    def direction(self) -> Array:
        """The step to take, to be scaled by the learning rate; needs one gradient at least."""
        first = self.first / (1 - FIRST_DECAY**self.steps)
        second = self.second / (1 - SECOND_DECAY**self.steps)
        step: Array = first / (np.sqrt(second) + EPSILON)
        return step
