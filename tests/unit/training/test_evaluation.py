from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gaelp_ray.training import evaluation
from gaelp_ray.training.environments import AD_AUCTION, seeds
from gaelp_ray.training.environments.rollout import make, play_all
from gaelp_ray.training.evaluation import FixedBid, best_fixed_bid, evaluate, evaluate_job, paired_interval
from gaelp_ray.training.trainers.evolution import train
from gaelp_ray.training.trainers.policy import Policy

TINY = {"periods": 6, "auctions_per_day": 300, "daily_budget_micros": 8_000_000}
SMALL = {"auctions_per_day": 2_000, "daily_budget_micros": 50_000_000}


class Job(SimpleNamespace):
    """A context for jobs of one attempt that never stop."""

    def __init__(self, folder: Path, **attributes: Any) -> None:
        super().__init__(seed=1, hyperparameters={}, reports=[], **attributes)
        self.folder = folder
        self.clips_rewards = False
        self.budget = SimpleNamespace(spend=lambda amount_micros, *, key: None)

    def report(self, metrics: Mapping[str, float], **rest: Any) -> None:
        self.reports.append((metrics, rest))

    def latest_checkpoint(self) -> None:
        return None

    def should_stop(self) -> bool:
        return False

    def scratch(self) -> Path:
        return self.folder


def test_a_trained_policy_beats_the_best_fixed_bid(tmp_path: Path) -> None:
    job = Job(tmp_path, config={"environment_config": SMALL})
    job.hyperparameters = {"epochs": 30, "population": 16, "days": 2}
    train(job)  # type: ignore[arg-type]
    result = evaluate(
        Policy.load(tmp_path / "checkpoint"),
        environment=AD_AUCTION,
        environment_config=SMALL,
        seeds=seeds.held_out(60),
    )
    assert result.baseline_reward > 0
    assert result.beats_baseline
    assert result.lower > 0.2 * result.baseline_reward


def test_the_baseline_does_not_beat_itself() -> None:
    bid = best_fixed_bid(environment=AD_AUCTION, environment_config=TINY)
    result = evaluate(
        FixedBid(bid), environment=AD_AUCTION, environment_config=TINY, seeds=seeds.held_out(10)
    )
    assert (result.difference, result.lower, result.upper) == (0, 0, 0)
    assert result.baseline_bid == bid
    assert not result.beats_baseline


def test_no_bid_of_a_fine_grid_is_much_better_than_the_best_fixed_bid() -> None:
    days = range(2**28, 2**28 + 10)
    best = best_fixed_bid(environment=AD_AUCTION, environment_config=TINY, seeds=days)
    market = make(AD_AUCTION, TINY)

    def worth(bid: float) -> float:
        return float(np.mean([each.reward for each in play_all(market, FixedBid(bid), days)]))

    grid = max(worth(bid) for bid in np.linspace(0, 1, 101))
    assert worth(best) > 0.9 * grid > 0


def test_the_interval_is_student_s() -> None:
    # Mean 3, standard error sqrt(2.5 / 5), and 2.776 from any table of t with 4 degrees of freedom.
    lower, upper = paired_interval(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    assert (lower, upper) == pytest.approx((3 - 2.776 * 0.5**0.5, 3 + 2.776 * 0.5**0.5), abs=1e-3)


@pytest.mark.parametrize(
    ("freedom", "value"), [(1, 12.706), (2, 4.303), (5, 2.571), (30, 2.042), (100, 1.984), (10**6, 1.960)]
)
def test_student_s_t_agrees_with_its_table(freedom: int, value: float) -> None:
    assert evaluation.student_t(freedom) == pytest.approx(value, abs=6e-4)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(1.0, 2.0, (2_000, 8))
    margin = evaluation.student_t(7) * draws.std(axis=1, ddof=1) / 8**0.5
    covered = np.abs(draws.mean(axis=1) - 1.0) <= margin
    assert 0.935 < covered.mean() < 0.965


@pytest.mark.parametrize(
    ("days", "complaint"),
    [
        ([1], "two or more"),
        ([1, 1, 2], "different seeds"),
        ([1, seeds.TUNING[0]], "held-out"),
        ([1, seeds.REFERENCE[0]], "held-out"),
        ([1, 2**30], "held-out"),
        ([-1, 1], "held-out"),
    ],
)
def test_days_that_were_learned_from_or_counted_twice_are_refused(days: list[int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        evaluate(FixedBid(0.2), environment=AD_AUCTION, environment_config=TINY, seeds=days)


def test_the_seeds_trained_on_are_never_held_out() -> None:
    drawn = seeds.training(np.random.default_rng(0), 1_000)
    assert not any(map(seeds.is_held_out, [*drawn, *seeds.REFERENCE, *seeds.TUNING]))
    assert not set(drawn) & {*seeds.REFERENCE, *seeds.TUNING}
    assert all(map(seeds.is_held_out, seeds.held_out(1_000)))
    with pytest.raises(ValueError, match="held-out seeds"):
        seeds.held_out(2**28 + 1)


def save_constant_policy(folder: Path) -> None:
    Policy.constant(make(AD_AUCTION, TINY), share=0.2).save(folder)


def test_an_evaluation_job_reports_and_returns_the_numbers(tmp_path: Path) -> None:
    save_constant_policy(tmp_path)
    config = {"checkpoint_dir": str(tmp_path), "seeds": 12, "environment_config": TINY}
    job = Job(tmp_path, config=config)
    results = evaluate_job(job)  # type: ignore[arg-type]
    [(metrics, rest)] = job.reports
    assert rest == {"step": 1, "total_steps": 1}
    assert metrics == results
    assert all(type(value) is float for value in metrics.values())
    assert results["days"] == 12
    assert results["lower"] <= results["difference"] <= results["upper"]
    assert results["difference"] == pytest.approx(results["reward"] - results["baseline_reward"])
    assert results["beats_baseline"] is (results["lower"] > 0)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [({}, "needs checkpoint_dir"), ({"seeds": "ten"}, "number of days"), ({"seeds": 1}, "two or more")],
)
def test_an_evaluation_job_refuses_wrong_settings(
    tmp_path: Path, config: dict[str, Any], complaint: str
) -> None:
    save_constant_policy(tmp_path)
    if config:
        config = config | {"checkpoint_dir": str(tmp_path)}
    with pytest.raises(ValueError, match=complaint):
        evaluate_job(Job(tmp_path, config=config))  # type: ignore[arg-type]
