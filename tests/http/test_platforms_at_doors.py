"""A platform has one name, an order one platform, and reconciling again changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.replica import Replica


def period() -> dict[str, str]:
    now = datetime.now(UTC)
    return {"since": (now - timedelta(days=1)).isoformat(), "until": (now + timedelta(days=1)).isoformat()}


@pytest.fixture
def order(replica: Replica) -> tuple[int, str]:
    """A budget, and the key of a hold of 20 on it."""
    name = f"team{next(replica._names)}"
    budget = replica.post("/budgets", {"scope": "team", "subject": name, "money": "real"}).json()["id"]
    hold = {"key": name, "amount_micros": 20}
    assert replica.post(f"/budgets/{budget}/holds", hold).status_code == 201
    return budget, f"user root {name}"


def report(replica: Replica, platform: str, order: str, cost: int, number: int = 1, **fields: Any) -> Any:
    given = {
        "order_key": order,
        "number": number,
        "campaign": "spring",
        "currency": "USD",
        "cost_micros": cost,
        "final": True,
        "reported_at": datetime.now(UTC).isoformat(),
    }
    return replica.post(f"/platforms/{platform}/reports", {"reports": [given | fields]})


def posted(replica: Replica, budget: int) -> int:
    return int(replica.get(f"/budgets/{budget}/balance").json()["posted_micros"])


def test_a_platform_is_one_however_it_is_written(replica: Replica, order: tuple[int, str]) -> None:
    budget, key = order
    assert report(replica, "search", key, 10).json() == {"received": 1, "new": 1}
    assert report(replica, "Search", key, 12).json() == {"received": 1, "new": 0}
    assert report(replica, "%EF%BC%B3earch%20", key, 12, 2).json() == {"received": 1, "new": 1}
    booked = []
    for name in ("search", "Search", "SEARCH", "search"):
        items = replica.post(f"/platforms/{name}/reconcile", period()).json()["items"]
        booked.append((len(items), posted(replica, budget)))
    assert booked == [(1, 12), (0, 12), (0, 12), (0, 12)]
    found = replica.get("/platforms/SEARCH/differences", params=period()).json()["items"]
    assert [each for each in found if each["order_key"] == key] == []


def test_an_order_is_of_the_platform_that_reported_it_first(replica: Replica, order: tuple[int, str]) -> None:
    budget, key = order
    assert report(replica, "search", key, 10).status_code == 200
    refused = report(replica, "social", key, 12)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "'search'" in refused.json()["detail"]
    for name in ("search", "social", "search"):
        replica.post(f"/platforms/{name}/reconcile", period())
        assert posted(replica, budget) == 10


@pytest.mark.parametrize("name", [".", "..", "a%2Fb", "%20", "a%00b", "x" * 101])
def test_no_platform_is_called(replica: Replica, order: tuple[int, str], name: str) -> None:
    assert report(replica, name, order[1], 1).status_code in (404, 405, 422)


@pytest.mark.parametrize("at", ["30 days", "8999-01-01T00:00:00Z"])
def test_nothing_is_reported_before_its_time(replica: Replica, order: tuple[int, str], at: str) -> None:
    later = (datetime.now(UTC) + timedelta(days=30)).isoformat() if at == "30 days" else at
    refused = report(replica, "search", order[1], 1, reported_at=later)
    assert refused.status_code == 422
    assert "`reported_at` lies in the future" in refused.json()["detail"]
    soon = (datetime.now(UTC) + timedelta(minutes=4)).isoformat()
    assert report(replica, "search", order[1], 1, reported_at=soon).status_code == 200
