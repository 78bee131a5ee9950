"""What a launcher answers a supervisor about checkpoints, with a real database and no Ray."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gaelp_ray.actors.launcher import Launcher, run_terms
from gaelp_ray.config import Settings
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.errors import Forbidden
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training.checkpoints import Saved
from tests.builders import World, an_order


def a_launcher(world: World, attempt: Attempt, **order: Any) -> tuple[Launcher, str]:
    """A launcher that owns the attempt, and the attempt's token."""
    token = str(world.token(attempt.id))
    launcher = object.__new__(Launcher)
    launcher._runtime = SimpleNamespace(store=world.store)  # type: ignore[assignment]
    owned = an_order("m:f", attempt_id=attempt.id, job_id=attempt.job_id, token=token, **order)
    launcher._owned = {attempt.id: SimpleNamespace(order=owned)}  # type: ignore[dict-item]
    return launcher, token


def saved(attempt: Attempt, step: int) -> Saved:
    address = f"checkpoints/job-{attempt.job_id}/attempt-{attempt.number}/step-{step:09d}"
    return Saved(f"/before/it/moved/{address}", f"{step:064d}", 5, address)


def test_checkpoints_are_answered_with_what_is_let_go_and_found_again(world: World) -> None:
    attempt = world.running()
    launcher, token = a_launcher(world, attempt)
    let_go = [
        asyncio.run(launcher.save_checkpoint(attempt.id, token, 0, step, saved(attempt, step), {}, []))
        for step in (30, 1, 2)
    ]
    assert let_go == [[], [], [saved(attempt, 30).uri]]
    points = asyncio.run(launcher.resume_points(attempt.id, token, 0))
    assert [point.address for point in points.own] == [saved(attempt, step).address for step in (2, 1)]
    assert points.inputs == ()


def test_inputs_are_those_of_the_job_that_was_named(world: World) -> None:
    trained, attempt = world.running(), world.running()
    launcher, token = a_launcher(world, trained)
    asyncio.run(launcher.save_checkpoint(trained.id, token, 0, 7, saved(trained, 7), {}, []))
    launcher, token = a_launcher(world, attempt, from_job=trained.job_id)
    points = asyncio.run(launcher.resume_points(attempt.id, token, 0))
    assert ([point.step for point in points.own], [point.step for point in points.inputs]) == ([], [7])


def test_the_checkpoint_of_an_attempt_that_has_ended_is_given_back_to_be_deleted(world: World) -> None:
    attempt = world.running()
    launcher, token = a_launcher(world, attempt)
    world.finish(attempt, EndCause.NODE_LOST)
    gone = asyncio.run(launcher.save_checkpoint(attempt.id, token, 0, 1, saved(attempt, 1), {}, []))
    assert gone == [saved(attempt, 1).uri]


def test_only_the_process_that_runs_an_attempt_is_answered(world: World) -> None:
    attempt = world.running()
    launcher, _ = a_launcher(world, attempt)
    with pytest.raises(Forbidden):
        asyncio.run(launcher.resume_points(attempt.id, "another", 0))
    with pytest.raises(Forbidden):
        asyncio.run(launcher.resumed(attempt.id, "another", 0, 3, "words"))


def test_where_an_attempt_goes_on_is_told_to_its_owner(world: World) -> None:
    attempt = world.running()
    launcher, token = a_launcher(world, attempt)
    asyncio.run(launcher.resumed(attempt.id, token, 0, 3, "It goes on from step 3."))
    assert world.job(attempt.job_id).notices == ("It goes on from step 3.",)
    assert world.attempts(attempt.job_id)[-1].resumed_from_step == 3


def test_what_attempts_are_granted_holds_no_environment_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://ann:s3cret-pass@index/simple")
    settings = Settings(home=tmp_path, installer="pip", install_timeout_s=7, environments_limit_bytes=9)
    terms = run_terms(settings)
    assert b"s3cret-pass" not in pickle.dumps(terms)
    assert terms.installation is not None
    assert (terms.installation.root, terms.installation.installer) == (tmp_path / "environments", "pip")
    assert (terms.installation.timeout_s, terms.installation.limit_bytes) == (7, 9)
    assert terms.private == (str(tmp_path), str(tmp_path / "storage"))
    elsewhere = run_terms(Settings(home=tmp_path, storage="s3://bucket/a", environments=Path("/var/gaelp")))
    assert elsewhere.private == (str(tmp_path),)
    assert elsewhere.installation is not None
    assert elsewhere.installation.root == Path("/var/gaelp")
