"""Callers race over HTTP for one budget while guards, replicas and the database die: nothing is overspent."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.service import Service, eventually

pytestmark = pytest.mark.chaos

LIMIT = 600
CALLERS = 8
#: Holds that each asks for; in all more than there is room for.
ASKED = 150


class Caller:
    """Holds one micro after the other; each request is sent until it is answered, always with its own key."""

    def __init__(self, service: Service, budget_id: int, name: str, granted: list[str]) -> None:
        self._service, self._address, self._name = service, f"/budgets/{budget_id}/holds", name
        self._granted = granted

    def run(self) -> tuple[int, int]:
        """How many were granted and refused."""
        with self._service.client() as api:
            statuses = [self._hold(api, f"{self._name}/{n}") for n in range(ASKED)]
        return statuses.count(201), statuses.count(402)

    def _hold(self, api: httpx.Client, key: str) -> int:
        while True:
            try:
                answer = api.post(self._address, json={"key": key, "amount_micros": 1, "ttl_seconds": 3600})
            except httpx.HTTPError:
                continue
            if answer.status_code < 500:
                if answer.status_code == 201:
                    self._granted.append(key)
                return answer.status_code
            time.sleep(0.02)


def kill_until(service: Service, granted: list[str], racing: threading.Event) -> None:
    """One death after each fifth of what may be granted, for as long as the race goes on."""
    deaths = [
        lambda: service.kill("ray::BudgetGuard"),
        lambda: service.kill("ray::ServeReplica:gaelp:api"),
        lambda: (service.database("stop"), service.database("start")),
        lambda: service.kill("ray::BudgetGuard"),
    ]
    random.Random(7).shuffle(deaths)
    for number, death in enumerate(deaths, start=1):
        mark = number * LIMIT // (len(deaths) + 1)
        eventually(lambda mark=mark: len(granted) >= mark or not racing.is_set(), within_s=120)  # type: ignore[misc]
        death()


def test_callers_share_a_budget_to_the_micro_whatever_dies(service: Service, api: httpx.Client) -> None:
    name = f"race-{os.getpid()}-{time.time_ns()}"
    body = {"scope": "campaign", "subject": name, "money": "simulated", "limits_micros": {"total": LIMIT}}
    budget = api.post("/budgets", json=body).json()["id"]
    granted: list[str] = []
    callers = [Caller(service, budget, f"{name}/{n}", granted) for n in range(CALLERS)]
    racing = threading.Event()
    racing.set()

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        killing = pool.submit(kill_until, service, granted, racing)
        ends = [future.result(timeout=300) for future in [pool.submit(each.run) for each in callers]]
        racing.clear()
        killing.result(timeout=60)

    assert [sum(each) for each in zip(*ends, strict=True)] == [LIMIT, CALLERS * ASKED - LIMIT]
    eventually(lambda: api.get(f"/budgets/{budget}").is_success, what="the service answers")
    [total] = api.get(f"/budgets/{budget}").json()["usages"]
    assert (total["pending_micros"], total["posted_micros"]) == (LIMIT, 0)
    found = api.get(f"/budgets/{budget}/holds", params={"limit": 1000}).json()["items"]
    assert sorted(hold["key"] for hold in found) == sorted(granted), "acknowledged once, booked once"
