"""kill -9 of anything while jobs run: every job completes, exactly once, never twice at once."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import Service, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

#: What is killed, by the title of its process. The training process is the child; the worker, its supervisor.
VICTIMS = {
    "scheduler": "ray::Scheduler",
    "every launcher": "ray::Launcher",
    "metrics hub": "ray::MetricsHub",
    "an API replica": "ray::ServeReplica:gaelp:api",
    "a training worker": "ray::job-",
}
EVERY = {"every launcher"}
#: Deaths that take attempts with them.
COSTLY = {"every launcher", "a training worker"}


#: Where jobs wait until what is killed was killed, and the steps that they have saved by then.
GATE_AT = 5


def running_jobs(
    service: Service, api: httpx.Client, gate: Path, count: int, steps: int
) -> list[dict[str, Any]]:
    """Jobs that all run, and do not end before the gate is opened."""
    agent = service.agent(api)
    asked = {"steps": steps, "pause_s": 0.05, "gate": str(gate), "gate_at": GATE_AT}
    jobs = [service.submit(api, agent, name=f"chaos-{n}", hyperparameters=asked) for n in range(count)]
    for job in jobs:
        service.wait_step(api, job, 2)
    return jobs


def assert_completed_once(api: httpx.Client, job: dict[str, Any], steps: int) -> list[dict[str, Any]]:
    events = api.get(f"/jobs/{job['id']}/events").json()["items"]
    assert [e["event"] for e in events].count("succeed") == 1
    assert [e["event"] for e in events if e["event"] in ("fail", "cancel")] == []
    attempts: list[dict[str, Any]] = api.get(f"/jobs/{job['id']}/attempts").json()["items"]
    ended = [a["ended_at"] for a in attempts]
    assert None not in ended
    for earlier, later in itertools.pairwise(attempts):
        assert earlier["ended_at"] <= later["created_at"], "two attempts were live at once"
    query = {"job_id": job["id"], "limit": 1000}
    points = api.get(f"/agents/{job['agent_id']}/metrics", params=query).json()["items"]
    reported = {point["step"] for point in points}
    assert reported == set(range(1, steps + 1)), "a reported step was lost"
    return attempts


@pytest.mark.parametrize("victim", VICTIMS)
def test_every_job_completes_once_after_the_death_of(
    service: Service, api: httpx.Client, tmp_path: Path, victim: str
) -> None:
    steps, gate = 40, tmp_path / "gate"
    jobs = running_jobs(service, api, gate, count=3, steps=steps)
    service.kill(VICTIMS[victim], every=victim in EVERY)
    gate.touch()
    late = eventually(lambda: try_submit(service, api, jobs[0]["agent_id"]), what="a submit after the death")
    resumed = 0
    for job in jobs:
        ended = service.wait(api, job, "completed", within_s=120)
        attempts = assert_completed_once(api, job, steps)
        assert ended["result"]["counted_to"] == steps
        assert ended["failures"] == 0
        resumed += any(a["resumed_from_step"] for a in attempts)
        if victim not in COSTLY:
            assert len(attempts) == 1, "a death that costs no attempt must cost none"
    if victim in COSTLY:
        assert resumed, "somebody went on from a checkpoint"
    assert service.wait(api, late, within_s=120)["status"] == "completed"


def test_a_killed_training_process_goes_on_from_its_checkpoint(
    service: Service, api: httpx.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    (job,) = running_jobs(service, api, gate, count=1, steps=30)
    children = [
        child
        for worker in service.processes("ray::job-")
        for child in worker.children(recursive=True)
        if child.cmdline()[-2:] == ["-m", "gaelp_ray.training.child"]
    ]
    assert len(children) == 1
    for child in children:
        child.kill()
    gate.touch()
    ended = service.wait(api, job, "completed", within_s=120)
    attempts = assert_completed_once(api, job, 30)
    assert [a["cause"] for a in attempts] == ["node_lost", "success"]
    assert ended["result"]["resumed_from"] >= 2


def test_two_deaths_in_a_row_change_nothing(service: Service, api: httpx.Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    jobs = running_jobs(service, api, gate, count=2, steps=40)
    service.kill("ray::Scheduler")
    service.kill("ray::Launcher", every=True)
    service.kill("ray::MetricsHub")
    gate.touch()
    for job in jobs:
        service.wait(api, job, "completed", within_s=150)
        assert_completed_once(api, job, 40)


def try_submit(service: Service, api: httpx.Client, agent_id: int) -> dict[str, Any] | None:
    body = {"agent_id": agent_id, "name": "late", "hyperparameters": {"steps": 2}}
    try:
        answer = api.post("/jobs", json=body)
    except httpx.HTTPError:
        return None
    return answer.json() if answer.status_code == 201 else None
