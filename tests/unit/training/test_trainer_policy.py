from __future__ import annotations

from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, Space
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gaelp_ray.training.trainers.policy import Policy


class Shell(gymnasium.Env[object, object]):
    """An environment of which only the spaces matter."""

    def __init__(self, observations: Space[object], actions: Space[object]) -> None:
        self.observation_space = observations
        self.action_space = actions


def constant(share: float = 0.5) -> Policy:
    seen = Box(-1, 1, (3,))
    return Policy.constant(Shell(seen, Box(np.float32([0, -2]), np.float32([4, 2]))), share)  # type: ignore[arg-type]


def random_policy() -> Policy:
    return constant().with_parameters(np.random.default_rng(0).standard_normal(8))


@pytest.mark.parametrize(("share", "action"), [(0.5, [2.0, 0.0]), (0.25, [1.0, -1.0])])
def test_a_constant_policy_plays_its_share_of_the_range(share: float, action: list[float]) -> None:
    assert constant(share).act(np.ones(3)).tolist() == pytest.approx(action)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3))
def test_actions_never_leave_their_bounds(observation: list[float]) -> None:
    action = random_policy().act(np.array(observation))
    assert action.dtype == np.float32
    assert (action >= [0, -2]).all()
    assert (action <= [4, 2]).all()


def test_parameters_go_in_as_they_come_out() -> None:
    parameters = np.arange(8.0)
    policy = constant().with_parameters(parameters)
    assert policy.parameters.tolist() == parameters.tolist()
    assert policy.weights.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert policy.bias.tolist() == [6, 7]


def test_a_saved_policy_loads_exactly(tmp_path: Path) -> None:
    policy = random_policy()
    policy.save(tmp_path)
    loaded = Policy.load(tmp_path)
    assert loaded.parameters.tolist() == policy.parameters.tolist()
    observation = np.array([0.1, -0.4, 0.9], dtype=np.float32)
    assert loaded.act(observation).tolist() == policy.act(observation).tolist()


def test_loading_a_missing_policy_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Policy.load(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"weights": np.zeros((1, 3))},
        {"weights": np.zeros((1, 3)), "bias": np.zeros(2), "low": np.zeros(1), "high": np.ones(1)},
        {"weights": np.full((1, 3), np.nan), "bias": np.zeros(1), "low": np.zeros(1), "high": np.ones(1)},
        {"weights": np.array([{}]), "bias": np.zeros(1), "low": np.zeros(1), "high": np.ones(1)},
    ],
    ids=["incomplete", "shapes", "not finite", "pickled"],
)
def test_a_file_that_holds_no_policy_is_refused(tmp_path: Path, arrays: dict[str, NDArray[object]]) -> None:
    np.savez(tmp_path / "policy.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"policy|allow_pickle"):
        Policy.load(tmp_path)


@pytest.mark.parametrize(
    ("observations", "actions"),
    [
        (Discrete(3), Box(0, 1, (1,))),
        (Box(0, 1, (2, 2)), Box(0, 1, (1,))),
        (Box(0, 1, (2,)), Discrete(3)),
        (Box(0, 1, (2,)), Box(0, np.inf, (1,))),
    ],
)
def test_spaces_a_linear_policy_cannot_serve_are_refused(
    observations: Space[object], actions: Space[object]
) -> None:
    with pytest.raises(ValueError, match="a linear policy needs"):
        Policy.constant(Shell(observations, actions))
