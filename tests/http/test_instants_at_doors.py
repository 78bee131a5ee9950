"""Instants at every door that takes one."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute

from serve_app.app import create_app
from tests.replica import Replica

ROUTES = [each for each in create_app(body_limit_bytes=1000).routes if isinstance(each, APIRoute)]
IN_QUERIES = [
    (route.path, field.alias)
    for route in ROUTES
    for field in route.dependant.query_params
    if "datetime" in str(field.field_info.annotation)
]
REFUSED = {
    "past the last year in UTC": "9999-12-31T23:59:59-12:00",
    "the last moment of all": "9999-12-31T23:59:59.999999Z",
    "the first year too late": "9000-01-01T00:00:00Z",
    "late only in UTC": "8999-12-31T23:59:59-00:01",
    "before the first year in UTC": "1970-01-01T00:30:00+01:00",
    "the first year of all": "0001-01-01T00:00:00+14:00",
    "year zero": "0000-01-01T00:00:00Z",
    "no zone": "2030-01-01T00:00:00",
    "a date": "2030-01-01",
    "a number as text": "1893456000",
    "a leap second": "2016-12-31T23:59:60Z",
    "no such day": "2030-02-30T00:00:00Z",
    "no such hour": "2030-01-01T24:00:00Z",
    "no such offset": "2030-01-01T00:00:00+24:00",
    "no such minute of an offset": "2030-01-01T00:00:00+01:60",
    "a plus that became a space": "2030-01-01T00:00:00 01:00",
    "digits of another script": "٢٠٣٠-01-01T00:00:00Z",
    "spaces around": " 2030-01-01T00:00:00Z ",
    "five digits": "10000-01-01T00:00:00Z",
    "a year": "2020",
    "a word": "now",
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_query_takes(replica: Replica, case: str) -> None:
    agent = replica.agent("root")
    budget = replica.post("/budgets", {"scope": "team", "subject": "t", "money": "real"}).json()
    known = {"agent_id": agent["id"], "budget_id": budget["id"], "members": "users", "name": "root"}
    for path, name in IN_QUERIES:
        url = re.sub(r"\{(\w+)\}", lambda found: str(known[found[1]]), path)
        span = {"since": "2025-01-01T00:00:00Z", "until": "2025-01-02T00:00:00Z"}
        needed = span if ("compliance" in url or "differences" in url) else {}
        answer = replica.get(url, params=needed | {name: REFUSED[case]})
        assert answer.status_code == 422, (url, name, answer.text)
        assert answer.json()["detail"].startswith(f"`{name}` "), (url, answer.text)


def bodies(at: Any, agent: int) -> dict[str, tuple[str, dict[str, Any]]]:
    report = {"order_key": "k", "number": 1, "campaign": "c", "currency": "EUR", "cost_micros": 1}
    return {
        "deadline": ("/jobs", {"agent_id": agent, "deadline": at}),
        "at": (f"/agents/{agent}/metrics", {"metrics": {"ctr": 0.2}, "at": at}),
        "closes_at": ("/budgets", {"scope": "team", "subject": "x", "money": "real", "closes_at": at}),
        "occurred_at": ("/budgets/1/spends", {"key": "k", "amount_micros": 1, "occurred_at": at}),
        "counted_at": (
            "/budgets/1/corrections",
            {"key": "k", "delta_micros": 1, "counted_at": at, "reason": "r"},
        ),
        "reported_at": ("/platforms/ads/reports", {"reports": [report | {"reported_at": at}]}),
        "since": ("/platforms/ads/reconcile", {"since": at, "until": "2025-01-01T00:00:00Z"}),
        "until": ("/policies:dry-run", {"agent_id": agent, "name": "p", "until": at}),
    }


@pytest.mark.parametrize("case", [*REFUSED, "a number", "a fraction", "true", "an object"])
def test_no_body_takes(replica: Replica, case: str) -> None:
    agent = replica.agent("root")
    value = {"a number": 1893456000, "a fraction": 1.5, "true": True, "an object": {}}.get(
        case, REFUSED.get(case)
    )
    for name, (path, body) in bodies(value, agent["id"]).items():
        answer = replica.post(path, body)
        assert answer.status_code == 422, (name, answer.text)
        assert name in answer.json()["detail"], answer.text


WRITTEN = {
    "in UTC": ("2030-01-31T18:00:00Z", "2030-01-31T18:00:00Z"),
    "with small letters": ("2030-01-31t18:00:00z", "2030-01-31T18:00:00Z"),
    "with a space": ("2030-01-31 18:00:00Z", "2030-01-31T18:00:00Z"),
    "elsewhere": ("2030-01-31T18:00:00+05:30", "2030-01-31T12:30:00Z"),
    "elsewhere, without a colon": ("2030-01-31T18:00:00-0330", "2030-01-31T21:30:00Z"),
    "without seconds": ("2030-01-31T18:00Z", "2030-01-31T18:00:00Z"),
    "with more digits than are kept": ("2030-01-31T18:00:00.1234567899Z", "2030-01-31T18:00:00.123456Z"),
    "in the last year": ("8999-12-31T23:59:59.999999Z", "8999-12-31T23:59:59.999999Z"),
    "late only where it is written": ("9000-01-01T00:00:00+01:00", "8999-12-31T23:00:00Z"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_an_instant_is_read_and_shown_in_utc(replica: Replica, case: str) -> None:
    given, shown = WRITTEN[case]
    job = replica.job(replica.agent(), deadline=given)
    assert job["deadline"] == shown
    assert replica.get(f"/jobs/{job['id']}", user="ann").json()["deadline"] == shown
    for path in (f"/jobs/{job['id']}/why", "/jobs", f"/jobs/{job['id']}/events"):
        assert replica.get(path, user="ann").status_code == 200


def test_the_first_instant_is_taken(replica: Replica) -> None:
    agent = replica.agent()
    body = {"metrics": {"ctr": 0.2}, "at": "1970-01-01T00:00:00Z"}
    assert replica.post(f"/agents/{agent['id']}/metrics", body, user="ann").status_code == 201
    [point] = replica.get(f"/agents/{agent['id']}/metrics", user="ann").json()["items"]
    assert point["at"] == "1970-01-01T00:00:00Z"


def test_nothing_was_measured_in_the_future(replica: Replica) -> None:
    agent = replica.agent()
    for ahead, status in (
        (timedelta(minutes=1), 201),
        (timedelta(minutes=30), 422),
        (timedelta(days=30), 422),
    ):
        at = (datetime.now(UTC) + ahead).isoformat()
        answer = replica.post(
            f"/agents/{agent['id']}/metrics", {"metrics": {"ctr": 0.2}, "at": at}, user="ann"
        )
        assert answer.status_code == status, answer.text
    assert "lies in the future" in answer.json()["detail"]
    assert len(replica.get(f"/agents/{agent['id']}/metrics", user="ann").json()["items"]) == 1


SPANS = ["/compliance", "/savings", "/quotas/users/root/usage/history"]


@pytest.mark.parametrize("path", SPANS)
def test_a_span_goes_forward_and_may_begin_with_the_first_instant(replica: Replica, path: str) -> None:
    first, last = "1970-01-01T00:00:00Z", "8999-12-31T23:59:59Z"
    assert replica.get(path, params={"since": first, "until": last}).status_code == 200
    backward = replica.get(path, params={"since": last, "until": first})
    assert (backward.status_code, "before" in backward.json()["detail"]) == (422, True)


@pytest.mark.parametrize("path", ["/savings", "/quotas/users/root/usage/history"])
@pytest.mark.parametrize("until", ["1970-01-01T00:00:00Z", "8999-12-31T23:59:59Z"])
def test_a_span_without_a_beginning_never_overflows(replica: Replica, path: str, until: str) -> None:
    assert replica.get(path, params={"until": until}).status_code == 200
