"""Whoever runs jobs pays for them: their budget lets them start, renews them, and stops them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service import Service, eventually, home

Json = dict[str, Any]
_NAMES = itertools.count(1)


class Payer:
    """A user with jobs, and the account that pays for them."""

    def __init__(self, service: Service, admin: httpx.Client, api: httpx.Client, name: str) -> None:
        self.service, self.admin, self.api = service, admin, api
        self.agent = service.agent(api)
        [found] = admin.get("/budgets", params={"scope": "user", "subject": name}).json()["items"]
        self.budget_id = found["id"]

    def submit(self, entrypoint: str = "trainers:wait", **fields: Any) -> Json:
        return self.service.submit(self.api, self.agent, entrypoint=entrypoint, **fields)

    def limit(self, micros: int | None) -> None:
        body = {"limit_micros": micros}
        answer = self.admin.put(f"/budgets/{self.budget_id}/limits/total", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text

    def used(self) -> tuple[int, int]:
        budget = self.api.get(f"/budgets/{self.budget_id}").json()
        [total] = [window for window in budget["usages"] if window["period"] == "total"]
        return total["pending_micros"], total["posted_micros"]

    def told(self, job: Json, code: str) -> str:
        """Why a job waits, once it waits for that."""

        def waits() -> Json | None:
            waiting: Json | None = self.service.job(self.api, job).get("waiting")
            return waiting if waiting is not None and waiting["code"] == code else None

        found = eventually(waits, what=f"job {job['id']} waits with {code}")
        assert found is not None
        return str(found["message"])

    def settled(self, *jobs: Json) -> int:
        """What all was booked for, once nothing is held any more: that of these jobs."""
        eventually(lambda: self.used()[0] == 0, what="nothing is held")
        booked = sum(self.service.job(self.api, job)["cost"]["booked_micros"] for job in jobs)
        assert self.used() == (0, booked)
        return booked


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One of its own: slices so short would have others' jobs make way when the machine is slow."""
    with home() as folder:
        running = Service(folder, GAELP_COMPUTE_SLICE="PT4S", GAELP_REPLICAS="1", GAELP_LAUNCHERS="1")
        try:
            running.up()
            yield running
        finally:
            running.down()


@pytest.fixture
def payer(service: Service, api: httpx.Client) -> Iterator[Payer]:
    name = f"payer-{next(_NAMES)}"
    with service.client(service.token(name)) as own:
        yield Payer(service, api, own, name)


def test_what_ran_is_booked_and_slices_follow_each_other(service: Service, payer: Payer) -> None:
    job = payer.submit("trainers:count", hyperparameters={"steps": 60, "pause_s": 0.1})
    service.wait_step(payer.api, job, 1)
    pending, _ = payer.used()
    assert pending > 0
    eventually(lambda: payer.used()[1] > 0, what="a slice was booked while it ran")
    assert service.wait(payer.api, job)["status"] == "completed"
    assert 0 < payer.settled(job) < pending, "six seconds of thirty-six"


def test_a_job_is_stopped_when_nothing_is_left_and_nothing_is_overspent(
    service: Service, payer: Payer
) -> None:
    job = payer.submit()
    service.wait(payer.api, job, "running")
    pending, _ = payer.used()
    payer.limit(pending)
    shown = service.client().get(f"{service.url}/metrics").text
    named = f'account="{payer.budget_id}",period="total",scope="user"'
    assert f"gaelp_budget_limit_micros{{{named}}} {float(pending)}" in shown
    ended = service.wait(payer.api, job)
    assert (ended["status"], ended["cause"]) == ("failed", "budget")
    assert payer.settled(job) <= pending
    waiting = payer.submit()
    assert "budget of user" in payer.told(waiting, "BudgetExceeded")
    payer.limit(None)
    service.wait(payer.api, waiting, "running")
    payer.api.post(f"/jobs/{waiting['id']}/cancel")
    service.wait(payer.api, waiting)
    payer.settled(job, waiting)


def test_whoever_dies_the_books_agree_with_the_attempts(service: Service, payer: Payer) -> None:
    steps = 60
    jobs = [
        payer.submit("trainers:count", hyperparameters={"steps": steps, "pause_s": 0.1}) for _ in range(2)
    ]
    for job in jobs:
        service.wait_step(payer.api, job, 3)
    service.kill("ray::Launcher", every=True)
    for job in jobs:
        assert service.wait(payer.api, job)["status"] == "completed"
    assert payer.settled(*jobs) > 0
    attempts = [
        attempt for job in jobs for attempt in payer.api.get(f"/jobs/{job['id']}/attempts").json()["items"]
    ]
    assert len(attempts) > len(jobs), "some were lost"
    assert sum(attempt["cost_micros"] for attempt in attempts) == payer.used()[1]


def test_a_ledger_that_does_not_answer_stops_a_job_and_never_fails_it(service: Service, payer: Payer) -> None:
    job = payer.submit("trainers:count", hyperparameters={"steps": 150, "pause_s": 0.1})
    service.wait_step(payer.api, job, 3)
    service.database("stop")
    try:
        eventually(lambda: not service.processes("ray::job-"), what="nothing runs that nobody can prove paid")
    finally:
        service.database("start")
    assert service.wait(payer.api, job)["status"] == "completed"
    first, *_ = payer.api.get(f"/jobs/{job['id']}/attempts").json()["items"]
    assert first["cause"] == "preempted"
    payer.settled(job)


def test_a_kill_switch_sends_a_job_back_to_the_queue_until_it_is_released(
    service: Service, api: httpx.Client, payer: Payer
) -> None:
    job = payer.submit()
    service.wait(payer.api, job, "running")
    target = {"scope": "agent", "subject": str(payer.agent["id"])}
    assert api.post("/kill-switches", json=target | {"reason": "it went wild"}).status_code < 300
    assert "it went wild" in payer.told(job, "Deactivated")
    assert api.post("/kill-switches/release", json=target | {"reason": "tamed"}).status_code < 300
    service.wait(payer.api, job, "running")
    payer.api.post(f"/jobs/{job['id']}/cancel")
    assert service.wait(payer.api, job)["status"] == "cancelled"
    payer.settled(job)
