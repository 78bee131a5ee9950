"""Gangs on a real Ray cluster: all workers or none, one end for all, and no step done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.domain.jobs import EndCause, Job, JobState
from tests.integration.plane import Plane, kill
from tests.service import eventually

RANKS = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def a_gang(plane: Plane, folder: Path, **hyperparameters: Any) -> Job:
    given = {"folder": str(folder), "steps": 4} | hyperparameters
    agent = plane.agent("gangs:sum_up", gpu_milli=1000)
    return plane.submit(agent, workers=RANKS, spot="prefer", hyperparameters=given)


def pids(folder: Path, attempt: int) -> list[int]:
    """The processes of an attempt's ranks, once all have begun."""

    def begun() -> list[int] | None:
        files = [folder / f"rank-{rank}-attempt-{attempt}" for rank in range(RANKS)]
        words = [file.read_text() for file in files if file.exists()]
        return [int(word) for word in words if word] if len(words) == RANKS and all(words) else None

    found = eventually(begun, within_s=120, what=f"every rank of attempt {attempt} has begun")
    assert found is not None
    return found


def all_gone(processes: list[int]) -> bool:
    def gone(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return all(map(gone, processes))


def test_the_ranks_of_a_gang_work_together(plane: Plane, folder: Path) -> None:
    job = plane.wait(a_gang(plane, folder))
    assert job.state is JobState.SUCCEEDED, job.message
    assert job.result is not None
    assert (job.result["total"], job.result["attempt"]) == (4 * (1 + 2 + 3), 1)
    (attempt,) = plane.attempts(job)
    assert len(attempt.placement) == RANKS
    held = [(seat.node_id, number) for seat in attempt.placement for number in seat.gpus]
    assert len(set(held)) == RANKS, "each has a GPU of its own, and the claim knows which"
    lines = plane.log(job).splitlines()
    assert {line for line in lines if "here is" in line} == {
        f"[rank {rank}] here is {rank}" for rank in range(RANKS)
    }
    eventually(lambda: plane.groups() == [], what="the room of the gang is given back")


def test_when_one_rank_is_lost_all_end_and_go_on_from_the_checkpoint(plane: Plane, folder: Path) -> None:
    job = a_gang(plane, folder, gate=3)
    plane.wait_step(job, 2)
    first = pids(folder, attempt=1)
    kill(first[1])
    eventually(lambda: all_gone(first), what="the other ranks are stopped")
    second = pids(folder, attempt=2)
    assert not set(first) & set(second)
    (folder / "go").touch()
    ended = plane.wait(job)
    assert ended.state is JobState.SUCCEEDED, ended.message
    assert ended.result is not None
    assert (ended.result["total"], ended.result["resumed_from"]) == (4 * (1 + 2 + 3), 2)
    lost, whole = plane.attempts(job)
    assert (lost.cause, whole.cause) == (EndCause.NODE_LOST, EndCause.SUCCESS)
    assert lost.message is not None
    assert lost.message.startswith("Rank 1: "), "the loss, not what its peers made of it"
    assert (ended.failures, ended.losses) == (0, 1)
    eventually(lambda: plane.groups() == [], what="the room of both attempts is given back")


def test_a_cancel_reaches_every_rank(plane: Plane, folder: Path) -> None:
    job = a_gang(plane, folder, gate=2)
    plane.wait_step(job, 1)
    processes = pids(folder, attempt=1)
    plane.cancel(job)
    ended = plane.wait(job)
    assert (ended.state, ended.cause) == (JobState.CANCELLED, EndCause.CANCELLED)
    eventually(lambda: all_gone(processes), what="every rank has left")
    eventually(lambda: plane.groups() == [], what="the room is given back")


def test_a_gang_that_does_not_fit_starts_no_worker(plane: Plane, folder: Path) -> None:
    blocker = plane.submit(plane.agent("gangs:hold", gpu_milli=2000), spot="prefer")
    plane.wait(blocker, JobState.RUNNING)
    job = a_gang(plane, folder)
    waiting = eventually(lambda: plane.job(job) if plane.job(job).wait_code else None)
    assert waiting is not None
    assert (waiting.state, waiting.wait_code) == (JobState.QUEUED, "WaitingForCapacity")
    assert list(folder.iterdir()) == []
    plane.cancel(blocker)
    assert plane.wait(job).state is JobState.SUCCEEDED


def test_when_the_launcher_dies_its_gang_dies_with_it_and_goes_on(plane: Plane, folder: Path) -> None:
    job = a_gang(plane, folder, gate=3)
    plane.wait_step(job, 2)
    first = pids(folder, attempt=1)
    (launcher,) = plane.actors.launchers.values()
    kill(ray.get(launcher.pid.remote()))
    eventually(lambda: all_gone(first), what="no rank outlives the launcher")
    pids(folder, attempt=2)
    (folder / "go").touch()
    ended = plane.wait(job)
    assert ended.state is JobState.SUCCEEDED, ended.message
    assert ended.result is not None
    assert (ended.result["total"], ended.result["resumed_from"]) == (4 * (1 + 2 + 3), 2)
    eventually(lambda: plane.groups() == [], what="the room of the dead launcher's gang is given back too")


def test_when_a_node_is_lost_its_gang_ends_and_waits_for_room_again(plane: Plane, folder: Path) -> None:
    job = a_gang(plane, folder, gate=2)
    plane.wait_step(job, 1)
    first = pids(folder, attempt=1)
    (spot,) = [node.id for node in live_nodes() if node.spot]
    plane.lose(spot)
    waiting = plane.wait(job, JobState.QUEUED)
    (attempt,) = plane.attempts(job)
    assert attempt.cause is EndCause.NODE_LOST, attempt.message
    assert all_gone(first), "nobody runs when the next attempt may begin"
    assert (waiting.failures, waiting.losses) == (0, 1)
    eventually(lambda: plane.groups() == [], what="the room on the other node is given back")
    plane.cancel(job)
