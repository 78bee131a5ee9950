"""No list, greeting or page is large, whatever was stored; the item shows what a list leaves out."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from gaelp_ray.domain.access import Principal
from serve_app.paging import MAX_BYTES
from serve_app.routers.live import _greeting
from tests.replica import Replica

LARGE = {"weights": "x" * 900_000}


def whole(replica: Replica, path: str, **params: Any) -> tuple[list[dict[str, Any]], int]:
    """Every item of every page, and the size of the largest page."""
    items: list[dict[str, Any]] = []
    largest, cursor = 0, None
    while True:
        answer = replica.get(path, params=params | {"limit": 1000} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        largest = max(largest, len(answer.content))
        items += answer.json()["items"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return items, largest


def test_a_list_of_agents_leaves_out_what_is_large_and_says_so(replica: Replica) -> None:
    large = [replica.agent("root", config=LARGE)["id"] for _ in range(5)]
    small = replica.agent("root", config={"a": 1})["id"]
    items, largest = whole(replica, "/agents")
    found = {each["id"]: each for each in items}
    assert largest < 20_000
    for agent_id in large:
        assert (found[agent_id]["config"], found[agent_id]["left_out"]) == (None, ["config"])
        item = replica.get(f"/agents/{agent_id}").json()
        assert (item["config"], item["left_out"]) == (LARGE, [])
    assert (found[small]["config"], found[small]["left_out"]) == ({"a": 1}, [])


def test_a_list_of_versions_comes_in_pages_and_each_version_in_full(replica: Replica) -> None:
    agent = replica.agent("root", version="0")
    for number in range(1, 4):
        body = {"version": str(number), "config": LARGE, "environment_vars": {"A": "y" * 5000}}
        assert replica.post(f"/agents/{agent['id']}/versions", body).status_code == 201
    items, largest = whole(replica, f"/agents/{agent['id']}/versions")
    assert [each["version"] for each in items] == ["3", "2", "1", "0"]
    assert items[0]["left_out"] == ["config", "environment_vars"]
    assert largest < 20_000
    first = replica.get(f"/agents/{agent['id']}/versions", params={"limit": 1}).json()
    assert first["next_cursor"] is not None
    assert replica.get(f"/agents/{agent['id']}/versions/2").json()["config"] == LARGE
    assert replica.get(f"/agents/{agent['id']}/versions/9").status_code == 404


@pytest.fixture
def job(replica: Replica) -> dict[str, Any]:
    """A job with large fields and a large result."""
    made = replica.job(replica.agent("root"), "root", hyperparameters=LARGE, training_config={"b": 1})
    with replica.context.store.engine.begin() as tx:
        result = "jsonb_build_object('r', repeat('z', 5000000))"
        tx.execute(text(f"UPDATE jobs SET result = {result} WHERE id = :id"), {"id": made["id"]})
    return made


def test_a_list_of_jobs_carries_no_results(replica: Replica, job: dict[str, Any]) -> None:
    items, largest = whole(replica, "/jobs")
    [found] = [each for each in items if each["id"] == job["id"]]
    assert (found["result"], found["hyperparameters"], found["training_config"]) == (None, None, {"b": 1})
    assert found["left_out"] == ["hyperparameters", "result"]
    assert largest < 100_000
    item = replica.get(f"/jobs/{job['id']}").json()
    assert (len(item["result"]["r"]), item["hyperparameters"], item["left_out"]) == (5_000_000, LARGE, [])


def test_the_greeting_of_a_watcher_is_small(replica: Replica, job: dict[str, Any]) -> None:
    asked = _greeting(job["agent_id"], Principal("root", admin=True))
    greeting = asyncio.run_coroutine_threadsafe(asked, replica._loop).result(timeout=30)
    [shown] = greeting["jobs"]
    assert (shown["id"], shown["result"]) == (job["id"], None)
    assert shown["left_out"] == ["hyperparameters", "result"]
    assert len(str(greeting)) < 20_000


def test_a_page_of_many_large_points_ends_sooner_and_the_next_goes_on(replica: Replica) -> None:
    agent = replica.agent("root")
    values = {f"{'m' * 90}{number}": number / 3 for number in range(200)}
    with replica.context.store.engine.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO metric_points (agent_id, at, values, source) "
                "SELECT :agent, :at, CAST(:values AS jsonb), 'test' FROM generate_series(1, 300)"
            ),
            {"agent": agent["id"], "at": datetime.now(UTC), "values": json.dumps(values)},
        )
    items, largest = whole(replica, f"/agents/{agent['id']}/metrics")
    assert len(items) == len({each["id"] for each in items}) == 300
    assert MAX_BYTES < largest < MAX_BYTES + 100_000


def test_a_page_of_the_audit_ends_sooner_and_the_next_goes_on(replica: Replica) -> None:
    blocked = [f"category {number} {'c' * 60}" for number in range(800)]
    rules = {"rules": [{"rule": "categories", "blocked": blocked}] * 10}
    for _ in range(4):
        assert replica.post("/policies/wordy", rules).status_code == 201
    items, largest = whole(replica, "/audit", action="policy.write")
    assert len(items) == 4
    assert largest < 2 * MAX_BYTES
    policies, largest = whole(replica, "/policies", name="wordy")
    assert [each["version"] for each in policies] == [1, 2, 3, 4]
    assert largest < 2 * MAX_BYTES
