"""Where a training run stands."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaelp_ray.training.trainers.adam import Adam
from gaelp_ray.training.trainers.policy import Policy

PROGRESS_FILE = "trainer.json"


@dataclass
class Progress:
    """All a run needs to go on exactly as if it had never stopped.

    Attributes:
        policy: the policy so far.
        optimiser: what the optimiser remembers.
        rng: the source of all of the run's randomness.
        iteration: iterations completed.
        reward: mean reward of the policy on the reference days; NaN before the first iteration.
        best_reward: the best of those so far.
    """

    policy: Policy
    optimiser: Adam
    rng: np.random.Generator
    iteration: int = 0
    reward: float = float("nan")
    best_reward: float = float("-inf")

    def save(self, directory: Path) -> None:
        """Write ``policy.npz`` and ``trainer.json`` into ``directory``, made if need be."""
        directory.mkdir(parents=True, exist_ok=True)
        self.policy.save(directory)
        state = {
            "iteration": self.iteration,
            "reward": self.reward,
            "best_reward": self.best_reward,
            "optimiser": {
                "first": self.optimiser.first.tolist(),
                "second": self.optimiser.second.tolist(),
                "steps": self.optimiser.steps,
            },
            "rng": self.rng.bit_generator.state,
        }
        (directory / PROGRESS_FILE).write_text(json.dumps(state, indent=2))

    @classmethod
    def load(cls, directory: Path) -> Progress:
        """Read what `save` wrote; JSON keeps every float and integer exactly.

        Raises:
            FileNotFoundError: a file is missing.
            ValueError: a file is not what `save` writes.
        """
        try:
            state = json.loads((directory / PROGRESS_FILE).read_text())
            rng = np.random.default_rng()
            rng.bit_generator.state = state["rng"]
            optimiser = state["optimiser"]
            return cls(
                policy=Policy.load(directory),
                optimiser=Adam(
                    np.array(optimiser["first"]), np.array(optimiser["second"]), optimiser["steps"]
                ),
                rng=rng,
                iteration=state["iteration"],
                reward=state["reward"],
                best_reward=state["best_reward"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{directory / PROGRESS_FILE} does not hold a run's progress") from error
