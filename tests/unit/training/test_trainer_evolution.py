from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gaelp_ray.training.environments import AD_AUCTION, seeds
from gaelp_ray.training.environments.rollout import make, play_all
from gaelp_ray.training.trainers.evolution import FIRST_DAYS, FIRST_SHARES, train
from gaelp_ray.training.trainers.policy import Policy

TINY = {"periods": 6, "auctions_per_day": 200}
QUICK = {"epochs": 6, "population": 4, "days": 1, "checkpoint_every": 2}


class Checkpoint(NamedTuple):
    path: Path
    step: int
    metrics: Mapping[str, float]


class Report(NamedTuple):
    metrics: Mapping[str, float]
    step: int
    total_steps: int | None
    checkpoint: Path | None


class Job:
    """A training context that keeps what it is told, and stores checkpoints as the service would."""

    def __init__(
        self,
        root: Path,
        hyperparameters: Mapping[str, Any] = QUICK,
        *,
        settings: Mapping[str, Any] = TINY,
        seed: int = 3,
        stop_at: int | None = None,
        resume: Checkpoint | None = None,
        low_reward: float | None = None,
    ) -> None:
        self.config = {"environment_config": settings}
        self.hyperparameters = hyperparameters
        self.seed = seed
        self.budget = self
        self.clips_rewards = low_reward is not None
        self.low_reward = low_reward
        self.charges: dict[str, int] = {}
        self.reports: list[Report] = []
        self._root = root
        self._stop_at = stop_at
        self._resume = resume

    def spend(self, amount_micros: int, *, key: str) -> None:
        assert type(amount_micros) is int
        assert key not in self.charges
        self.charges[key] = amount_micros

    def report(
        self,
        metrics: Mapping[str, float],
        *,
        step: int,
        total_steps: int | None = None,
        checkpoint: Path | None = None,
    ) -> None:
        kept = None
        if checkpoint is not None:
            kept = self._root / f"kept-{step}"
            shutil.copytree(checkpoint, kept, dirs_exist_ok=True)
            shutil.rmtree(checkpoint)
        self.reports.append(Report(dict(metrics), step, total_steps, kept))

    def clip_reward(self, reward: float) -> float:
        assert self.low_reward is not None
        return max(reward, self.low_reward)

    def latest_checkpoint(self) -> Checkpoint | None:
        return self._resume

    def should_stop(self) -> bool:
        return self._stop_at is not None and len(self.reports) + 1 >= self._stop_at

    def scratch(self) -> Path:
        folder = self._root / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def last_checkpoint(self) -> Checkpoint:
        report = [each for each in self.reports if each.checkpoint][-1]
        assert report.checkpoint is not None
        return Checkpoint(report.checkpoint, report.step, report.metrics)


def run(job: Job) -> dict[str, Any]:
    return train(job)  # type: ignore[arg-type]


def learned(job: Job) -> list[float]:
    return Policy.load(job.last_checkpoint().path).parameters.tolist()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = Job(tmp_path_factory.mktemp("uninterrupted"))
    run(job)
    return job


def test_it_reports_every_iteration_and_checkpoints_every_second(uninterrupted: Job) -> None:
    assert [(each.step, each.total_steps) for each in uninterrupted.reports] == [(n, 6) for n in range(1, 7)]
    assert [each.step for each in uninterrupted.reports if each.checkpoint] == [2, 4, 6]
    for report in uninterrupted.reports:
        assert set(report.metrics) == {"reward", "best_reward", "population_reward", "spend"}
        assert np.isfinite(list(report.metrics.values())).all()


def test_it_charges_each_iteration_once_with_the_spend_it_reports(uninterrupted: Job) -> None:
    charged = {f"iteration-{each.step}": each.metrics["spend"] for each in uninterrupted.reports}
    assert {key: micros / 1e6 for key, micros in uninterrupted.charges.items()} == charged
    assert all(micros > 0 for micros in uninterrupted.charges.values())


def test_it_learns_from_rewards_as_they_were_cut(tmp_path: Path, uninterrupted: Job) -> None:
    job = Job(tmp_path, low_reward=1000.0)
    run(job)
    assert {each.metrics["reward"] for each in job.reports} == {TINY["periods"] * 1000.0}
    assert max(each.metrics["reward"] for each in uninterrupted.reports) < 1000


def test_the_last_iteration_is_saved_even_off_the_rhythm(tmp_path: Path) -> None:
    job = Job(tmp_path, QUICK | {"epochs": 3})
    run(job)
    assert [each.step for each in job.reports if each.checkpoint] == [2, 3]


def test_it_returns_a_summary_of_what_it_reported(tmp_path: Path) -> None:
    job = Job(tmp_path)
    summary = run(job)
    rewards = [each.metrics["reward"] for each in job.reports]
    assert summary == {
        "final_reward": rewards[-1],
        "best_reward": max(rewards),
        "iterations": 6,
        "policy": "policy.npz",
    }
    assert (job.last_checkpoint().path / summary["policy"]).is_file()


def test_a_seed_fixes_the_result_and_another_changes_it(tmp_path: Path, uninterrupted: Job) -> None:
    same, other = Job(tmp_path / "same"), Job(tmp_path / "other", seed=4)
    run(same)
    run(other)
    assert learned(same) == learned(uninterrupted)
    assert [each.metrics for each in same.reports] == [each.metrics for each in uninterrupted.reports]
    assert learned(other) != learned(uninterrupted)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_stopped_run_resumes_to_exactly_the_uninterrupted_result(
    tmp_path: Path, uninterrupted: Job, stop_at: int
) -> None:
    first = Job(tmp_path / "first", stop_at=stop_at)
    assert run(first)["iterations"] == stop_at
    assert first.last_checkpoint().step == stop_at
    second = Job(tmp_path / "second", resume=first.last_checkpoint())
    summary = run(second)
    assert summary["iterations"] == 6
    assert learned(second) == learned(uninterrupted)
    assert [r.metrics for r in first.reports + second.reports] == [r.metrics for r in uninterrupted.reports]
    assert first.charges | second.charges == uninterrupted.charges


def test_a_crashed_run_repeats_the_lost_iterations_exactly(tmp_path: Path, uninterrupted: Job) -> None:
    def die(metrics: Mapping[str, float], *, step: int, **rest: Any) -> None:
        Job.report(first, metrics, step=step, **rest)
        if step == 3:
            raise KeyboardInterrupt

    first = Job(tmp_path / "first")
    first.report = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(first)
    assert first.last_checkpoint().step == 2
    second = Job(tmp_path / "second", resume=first.last_checkpoint())
    run(second)
    assert learned(second) == learned(uninterrupted)
    assert first.charges["iteration-3"] == second.charges["iteration-3"]


def test_resuming_a_finished_run_does_nothing_and_returns_its_summary(
    tmp_path: Path, uninterrupted: Job
) -> None:
    again = Job(tmp_path, resume=uninterrupted.last_checkpoint())
    summary = run(again)
    assert again.reports == []
    assert summary["final_reward"] == uninterrupted.reports[-1].metrics["reward"]


def test_a_checkpoint_for_other_spaces_is_refused(tmp_path: Path, uninterrupted: Job) -> None:
    path = tmp_path / "foreign"
    shutil.copytree(uninterrupted.last_checkpoint().path, path)
    Policy(np.zeros((1, 3)), np.zeros(1), np.zeros(1), np.ones(1)).save(path)
    with pytest.raises(ValueError, match="another environment"):
        run(Job(tmp_path, resume=Checkpoint(path, 6, {})))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path, uninterrupted: Job) -> None:
    path = tmp_path / "damaged"
    shutil.copytree(uninterrupted.last_checkpoint().path, path)
    (path / "trainer.json").write_text(json.dumps({"iteration": 2}))
    with pytest.raises(ValueError, match=r"trainer\.json does not hold"):
        run(Job(tmp_path, resume=Checkpoint(path, 6, {})))


def test_training_starts_from_the_best_constant_action(tmp_path: Path) -> None:
    job = Job(tmp_path, {"epochs": 1, "population": 2, "days": 1, "learning_rate": 1e-9})
    run(job)
    market = make(AD_AUCTION, TINY)
    days = seeds.training(np.random.default_rng(job.seed), FIRST_DAYS)

    def worth(share: float) -> float:
        return sum(day.reward for day in play_all(market, Policy.constant(market, share), days))

    best = Policy.constant(market, max(FIRST_SHARES, key=worth))
    assert learned(job) == pytest.approx(best.parameters.tolist(), abs=1e-6)


def test_training_earns_more_than_it_did_at_first(tmp_path: Path) -> None:
    job = Job(tmp_path, {"epochs": 15, "population": 16, "days": 2}, settings={"auctions_per_day": 2_000})
    summary = run(job)
    assert summary["final_reward"] > 1.3 * job.reports[0].metrics["reward"] > 0


def test_it_trains_in_any_environment_of_flat_boxes(tmp_path: Path) -> None:
    job = Job(tmp_path, {"epochs": 1, "population": 2, "days": 1}, settings={})
    job.config["environment"] = "MountainCarContinuous-v0"  # type: ignore[assignment]
    run(job)
    assert Policy.load(job.last_checkpoint().path).weights.shape == (1, 2)
    assert job.charges == {}


@pytest.mark.parametrize(
    ("hyperparameters", "complaint"),
    [
        ({"lr": 0.1}, "unknown Hyperparameters setting.*lr; known: epochs, learning_rate, population, noise"),
        ({"epochs": 0}, "epochs must be positive, got 0"),
        ({"epochs": 2.5}, "epochs must be an integer, got 2.5"),
        ({"epochs": "many"}, "epochs must be an integer, got 'many'"),
        ({"days": True}, "days must be an integer, got True"),
        ({"learning_rate": -0.1}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be a finite number"),
        ({"population": 7}, "population must be even, got 7"),
        ({"noise": None}, "noise must be a finite number"),
        ({"checkpoint_every": 0}, "checkpoint_every must be positive"),
    ],
)
def test_wrong_hyperparameters_are_refused_before_any_work(
    tmp_path: Path, hyperparameters: dict[str, Any], complaint: str
) -> None:
    job = Job(tmp_path, hyperparameters)
    with pytest.raises(ValueError, match=complaint):
        run(job)
    assert job.reports == []


def test_wrong_environment_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown AuctionConfig setting"):
        run(Job(tmp_path, settings={"budget": 1}))
