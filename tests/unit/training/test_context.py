"""A training function's view of its job, and of life outside the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaelp_ray.domain.errors import Forbidden, InvalidInput
from gaelp_ray.training import TrainingContext, context, current_context
from gaelp_ray.training.reporter import ConsoleReporter


@pytest.fixture
def ctx() -> TrainingContext:
    return TrainingContext(ConsoleReporter(), seed=7)


def test_a_script_run_by_hand_reports_to_the_console(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(context, "_current", None)
    current_context().report({"reward": 0.5, "loss": 1.0}, step=1, total_steps=9)
    current_context().report({"reward": 0.25}, step=2)
    assert capsys.readouterr().out == "step 1/9  reward=0.5  loss=1\nstep 2  reward=0.25\n"
    assert current_context() is current_context()


def test_outside_the_service_nothing_stops_a_job_or_limits_it(ctx: TrainingContext) -> None:
    assert ctx.should_stop() is False
    assert ctx.stop_reason() is None
    assert (ctx.rank, ctx.world_size, ctx.peers) == (0, 1, ("127.0.0.1",))
    assert ctx.latest_checkpoint() is None
    ctx.budget.spend(5, key="a")
    with ctx.budget.lease(slice_micros=10) as budget:
        budget.spend(25)


def test_outside_the_service_no_order_is_placed(ctx: TrainingContext) -> None:
    with pytest.raises(Forbidden, match="submit one with `money: real`"):
        ctx.orders.place(5, key="a")


@pytest.mark.parametrize("key", ["", "a" * 121, "two\nlines", 7])
def test_a_key_is_a_short_text(ctx: TrainingContext, key: Any) -> None:
    with pytest.raises(InvalidInput, match="1 to 120 printable characters"):
        ctx.budget.spend(5, key=key)


def test_the_same_seed_gives_the_same_numbers(ctx: TrainingContext) -> None:
    again, other = TrainingContext(ConsoleReporter(), seed=7), TrainingContext(ConsoleReporter(), seed=8)
    drawn = ctx.rng.random(4).tolist()
    assert again.rng.random(4).tolist() == drawn
    assert other.rng.random(4).tolist() != drawn


def test_a_checkpoint_must_be_a_folder(ctx: TrainingContext, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("x")
    with pytest.raises(ValueError, match=r"`checkpoint` must be a folder .*weights is none"):
        ctx.report({}, step=1, checkpoint=tmp_path / "weights")


@pytest.mark.parametrize(("step", "total_steps"), [(2**63, None), (-(2**63), None), (1, 2**63)])
def test_a_step_past_counting_is_refused(ctx: TrainingContext, step: int, total_steps: int | None) -> None:
    with pytest.raises(InvalidInput, match=r"must be below 2\*\*63"):
        ctx.report({"reward": 1.0}, step=step, total_steps=total_steps)


def test_settings_are_the_jobs_own_copy() -> None:
    config = {"a": 1}
    own = TrainingContext(ConsoleReporter(), config=config)
    config["a"] = 2
    assert own.config == {"a": 1}


def test_the_scratch_folder_is_one_and_empty(ctx: TrainingContext) -> None:
    folder = ctx.scratch()
    assert folder == ctx.scratch()
    assert list(folder.iterdir()) == []
    folder.rmdir()
