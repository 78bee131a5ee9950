"""Checkpoints: the last saved is the newest, what is in use stays, and what nobody refers to goes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory

from gaelp_ray.actors import orphans
from gaelp_ray.actors.orphans import OrphanCollector
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.errors import GaelpError, InvalidInput
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import jobs as job_service
from gaelp_ray.services import launching
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import migrate
from gaelp_ray.store.engine import Store
from tests.builders import ANN, BOB, LAUNCHER, World
from tests.conftest import Sql


def steps(world: World, job_id: int) -> list[int]:
    return [c.step for c in world.store.read(job_service.checkpoints, job_id, by=ANN)]


def save(world: World, attempt: Attempt, step: int, number: int, **fields: Any) -> None:
    """A checkpoint of a step that may have several."""
    folder = f"checkpoints/job-{attempt.job_id}/attempt-{attempt.number}/step-{step:09d}-{number}"
    world.save_checkpoint(attempt, step, uri=f"/old/{folder}", address=folder, **fields)


def test_a_second_phase_is_resumed_from_its_own_last_step(world: World) -> None:
    attempt = world.running()
    for number, step in enumerate((10, 20, 30, 1, 2, 3, 4)):
        save(world, attempt, step, number)
    assert steps(world, attempt.job_id) == [3, 4]
    world.finish(attempt, EndCause.PREEMPTED)
    world.tick()
    [order] = world.store.read(launching.take_orders, LAUNCHER, stop_grace_s=5.0, now=world.now).launches
    assert order.resume_from is not None
    assert order.resume_from.step == 4
    points = world.store.read(launching.resume_points, attempt.job_id, None)
    assert [point.step for point in points.own] == [4, 3]


def test_the_best_is_kept_in_the_order_of_saving_too(world: World) -> None:
    attempt = world.running()
    rewards = [(10, 9.0), (20, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    for number, (step, reward) in enumerate(rewards):
        save(world, attempt, step, number, metrics={"reward": reward})
    assert steps(world, attempt.job_id) == [10, 2, 3]


def test_a_checkpoint_that_another_job_works_on_is_kept_until_that_has_ended(world: World) -> None:
    trained = world.running()
    save(world, trained, 1, 1)
    world.carry_out()
    job = world.submit(training_config={"from_job": trained.job_id})
    world.tick()
    [order] = world.carry_out().launches
    assert order.input_checkpoint is not None
    evaluation = world.attempts(job)[-1]
    for number in range(2, 6):
        save(world, trained, number, number)
    assert steps(world, trained.job_id) == [1, 4, 5]
    assert world.claim(evaluation)
    world.finish(evaluation, EndCause.SUCCESS)
    save(world, trained, 6, 6)
    assert steps(world, trained.job_id) == [5, 6]


def test_where_an_attempt_goes_on_after_all_is_remembered_and_its_owner_told(world: World) -> None:
    attempt = world.running()
    token = world.token(attempt.id)
    world.store.transact(
        attempt_service.resumed, attempt.id, token, step=None, words="It starts from the beginning."
    )
    assert world.attempts(attempt.job_id)[-1].resumed_from_step is None
    world.store.transact(attempt_service.resumed, attempt.id, token, step=3, words="It goes on from step 3.")
    assert world.attempts(attempt.job_id)[-1].resumed_from_step == 3
    assert world.job(attempt.job_id).notices == ("It starts from the beginning.", "It goes on from step 3.")


#: id: (how the source stands, words of the refusal)
NO_SOURCES = {
    "queued": "is queued and has no checkpoint",
    "running": "is running and has no checkpoint",
    "completed": "ended as completed and has no checkpoint",
    "failed": "ended as failed and has no checkpoint",
    "cancelled": "ended as cancelled and has no checkpoint",
    "let go": "has no checkpoint",
}


@pytest.mark.parametrize("case", NO_SOURCES)
def test_a_job_is_not_taken_that_would_start_from_a_job_that_is(world: World, sql: Sql, case: str) -> None:
    if case in ("queued", "cancelled"):
        source = world.submit()
        if case == "cancelled":
            world.cancel(source)
    else:
        attempt = world.running()
        source = world.job(attempt.job_id)
        if case == "let go":
            save(world, attempt, 1, 1)
            sql("UPDATE checkpoints SET deleted_at = now()")
        elif case != "running":
            world.finish(attempt, EndCause.SUCCESS if case == "completed" else EndCause.MISCONFIGURED)
    before = sql("SELECT count(*) FROM jobs")
    with pytest.raises(InvalidInput, match=f"job {source.id} .*{NO_SOURCES[case]}"):
        world.submit(training_config={"from_job": source.id})
    assert sql("SELECT count(*) FROM jobs") == before


@pytest.mark.parametrize("source", [0, -1, 2**63, 10**30, 1.0, True, None, "1", [1]])
def test_a_job_to_start_from_is_named_by_its_id(world: World, source: object) -> None:
    with pytest.raises(InvalidInput, match="must be the id of a job"):
        world.submit(training_config={"from_job": source})


def test_a_job_of_somebody_else_is_no_source_whether_it_has_checkpoints_or_not(world: World) -> None:
    attempt = world.running()
    words = set()
    for number in (1, 2):
        with pytest.raises(GaelpError) as refused:
            world.submit(by=BOB, training_config={"from_job": attempt.job_id})
        words.add(refused.value.message)
        save(world, attempt, number, number)
    assert len(words) == 1


def test_records_of_an_earlier_release_are_found_under_the_present_root(empty_database_url: str) -> None:
    store = Store(empty_database_url, pool_size=4)
    migrate.upgrade(store.engine)
    world = World(store)
    attempt = world.running()
    for number, root in enumerate(("/home/ann/.gaelp/storage", "s3://bucket/deep", "memory://odd"), start=1):
        folder = f"checkpoints/job-{attempt.job_id}/attempt-1/step-{number:09d}"
        world.save_checkpoint(attempt, number, uri=f"{root}/{folder}" if number < 3 else root)
    config = migrate._config()
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        before = ScriptDirectory.from_config(config).get_revision("0011").down_revision
        command.downgrade(config, str(before))
        command.upgrade(config, "head")
    found = [each.address for each in store.read(checkpoint_store.of_job, attempt.job_id)]
    folder = f"checkpoints/job-{attempt.job_id}/attempt-1/step"
    assert found == [f"{folder}-000000002", ""]
    store.close()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def collector(world: World, storage: Path, monkeypatch: pytest.MonkeyPatch) -> OrphanCollector:
    """A collector to whom it is two hours later."""
    monkeypatch.setattr(orphans, "utc_now", lambda: world.now + timedelta(hours=2))
    monkeypatch.setattr(orphans.meters, "count", lambda *_args, **_labels: None)
    settings = SimpleNamespace(storage_uri=str(storage))
    return OrphanCollector(SimpleNamespace(store=world.store, settings=settings))  # type: ignore[arg-type]


def a_folder(storage: Path, attempt: Attempt, name: str) -> Path:
    folder = storage / f"checkpoints/job-{attempt.job_id}/attempt-{attempt.number}" / name
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "weights").write_text("x")
    return folder


def recorded(world: World, storage: Path, attempt: Attempt, step: int) -> Path:
    folder = a_folder(storage, attempt, f"step-{step:09d}")
    world.save_checkpoint(attempt, step, uri=f"/before/it/moved/{folder.relative_to(storage)}", address="")
    return folder


def test_folders_that_nobody_refers_to_are_collected(
    world: World, storage: Path, collector: OrphanCollector
) -> None:
    attempt, live = world.running(), world.running()
    let_go = recorded(world, storage, attempt, 1)
    kept = [recorded(world, storage, attempt, step) for step in (2, 3)]
    cut_off = a_folder(storage, attempt, "step-000000004")
    being_saved = a_folder(storage, live, "step-000000001")
    foreign = storage / "checkpoints/job-999/attempt-1/step-000000001"
    other = a_folder(storage, attempt, "notes")
    foreign.mkdir(parents=True)
    assert asyncio.run(collector.collect()) == 0, "while it lives, it may still save"
    world.finish(attempt, EndCause.NODE_LOST)
    assert asyncio.run(collector.collect()) == 2
    assert [path.exists() for path in (let_go, cut_off)] == [False, False]
    assert all(path.exists() for path in (*kept, being_saved, foreign, other))
    assert asyncio.run(collector.collect()) == 0


def test_what_ended_a_moment_ago_is_left_alone(
    world: World, storage: Path, collector: OrphanCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = world.running()
    cut_off = a_folder(storage, attempt, "step-000000001")
    world.finish(attempt, EndCause.NODE_LOST)
    monkeypatch.setattr(orphans, "utc_now", lambda: world.now + timedelta(minutes=59))
    assert asyncio.run(collector.collect()) == 0
    assert cut_off.exists()
    monkeypatch.setattr(orphans, "utc_now", lambda: world.now + timedelta(minutes=61))
    assert asyncio.run(collector.collect()) == 1


def test_a_folder_that_cannot_be_removed_does_not_keep_the_others(
    world: World, storage: Path, collector: OrphanCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = [world.running() for _ in range(3)]
    folders = [a_folder(storage, attempt, "step-000000001") for attempt in attempts]
    for attempt in attempts:
        world.finish(attempt, EndCause.NODE_LOST)
    delete = orphans.checkpoints.delete

    def fail_once(uri: str) -> None:
        if uri == str(folders[0]):
            raise PermissionError
        delete(uri)

    monkeypatch.setattr(orphans.checkpoints, "delete", fail_once)
    assert asyncio.run(collector.collect()) == 2
    assert [folder.exists() for folder in folders] == [True, False, False]


def test_only_so_many_attempts_are_looked_at_in_a_round(
    world: World, storage: Path, collector: OrphanCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "BATCH", 2)
    attempts = [world.running() for _ in range(5)]
    for attempt in attempts:
        a_folder(storage, attempt, "step-000000001")
        world.finish(attempt, EndCause.NODE_LOST)
    assert [asyncio.run(collector.collect()) for _ in range(4)] == [2, 2, 1, 0]
