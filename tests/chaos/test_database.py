"""The database goes away for ten seconds while jobs run and users submit: nothing is lost or doubled."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service import Service, eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

OUTAGE_S = 10.0


class Submitter(threading.Thread):
    """Submits again and again, each submission until it is acknowledged, always with its own key."""

    def __init__(self, service: Service, agent_id: int) -> None:
        super().__init__(daemon=True)
        self._service, self._agent_id = service, agent_id
        self.done = threading.Event()
        self.acknowledged: dict[str, int] = {}
        self.refusals: list[httpx.Response] = []

    def run(self) -> None:
        with self._service.client() as api:
            number = 0
            while not self.done.is_set():
                number += 1
                self._submit(api, f"outage-{number}")
                self.done.wait(0.2)

    def _submit(self, api: httpx.Client, key: str) -> None:
        body = {"agent_id": self._agent_id, "name": key, "hyperparameters": {"steps": 1}}
        while True:
            try:
                answer = api.post("/jobs", json=body, headers={"Idempotency-Key": key})
            except httpx.HTTPError:
                continue
            if answer.status_code == 201:
                self.acknowledged[key] = answer.json()["id"]
                return
            self.refusals.append(answer)
            self.done.wait(0.1)


def test_ten_seconds_without_a_database_lose_nothing(
    service: Service, api: httpx.Client, tmp_path: Path
) -> None:
    # None of them ends before the database is gone, however slow the machine is.
    gate = tmp_path / "gate"
    at_gate = {"pause_s": 0.1, "gate": str(gate), "gate_at": 5}
    agent = service.agent(api, resource_requirements={"cpu": "250m", "memory": "256Mi"})
    steps = 250
    jobs = [
        service.submit(api, agent, entrypoint="trainers:count", hyperparameters=at_gate | {"steps": steps})
        for _ in range(3)
    ]
    spender = service.agent(api, entrypoint="trainers:spend", budget_limit=200.0)
    spending = service.submit(api, spender, hyperparameters=at_gate | {"steps": 200})
    for job in (*jobs, spending):
        service.wait_step(api, job, 2)
    submitter = Submitter(service, agent["id"])
    submitter.start()
    eventually(lambda: submitter.acknowledged, what="a first submission")

    service.database("stop")
    try:
        gate.touch()
        assert httpx.get(f"{service.url}/health", timeout=120).status_code == 200
        answer = api.get(f"/agents/{agent['id']}")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert answer.headers["retry-after"]
        time.sleep(OUTAGE_S)
    finally:
        service.database("start")

    before = len(submitter.acknowledged)
    eventually(
        lambda: len(submitter.acknowledged) > before + 3,
        what="submissions after the outage",
        progress=lambda: len(submitter.acknowledged),
    )
    submitter.done.set()
    submitter.join()

    assert {r.status_code for r in submitter.refusals} <= {503}
    ended = [service.wait(api, job, within_s=150) for job in jobs]
    assert [(j["status"], j["attempt"]) for j in ended] == [("completed", 1)] * 3, "no attempt was given up"
    for job in jobs:
        assert reported_steps(api, job) == set(range(1, steps + 1))
    spent = service.wait(api, spending, within_s=150)
    assert (spent["status"], spent["attempt"]) == ("completed", 1), "a spend waits for the ledger"
    assert api.get(f"/agents/{spender['id']}").json()["budget_spent"] == 200.0
    stored = named_jobs(api, agent["id"])
    for key, job_id in submitter.acknowledged.items():
        assert stored[key] == [job_id], "acknowledged once, stored once"
        assert service.wait(api, {"id": job_id}, within_s=120)["status"] == "completed"


def reported_steps(api: httpx.Client, job: dict[str, Any]) -> set[int]:
    query = {"job_id": job["id"], "limit": 1000}
    points = api.get(f"/agents/{job['agent_id']}/metrics", params=query).json()["items"]
    return {point["step"] for point in points}


def named_jobs(api: httpx.Client, agent_id: int) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for job in api.get("/jobs", params={"agent_id": agent_id, "limit": 1000}).json()["items"]:
        found.setdefault(job["name"], []).append(job["id"])
    return found
