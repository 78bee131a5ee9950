"""Every command that lists gives one shape to programs, and the way to the next page."""

from __future__ import annotations

from typing import Any

import pytest
from cli_service import AGENT, JOB, Run, Service

PAGED: dict[str, str] = {
    "agents list": "/agents",
    "jobs list": "/jobs",
    "approvals list": "/approvals",
    "audit list": "/audit",
    "budgets list": "/budgets",
    "budgets statement 7": "/budgets/7/statement",
    "budgets alerts": "/budget-alerts",
    "metrics 7": "/agents/7/metrics",
    "policies list": "/policies",
    "quotas list": "/quotas",
    "ramps list": "/ramps",
    "violations": "/violations",
}
WHOLE: dict[str, str] = {
    "agents versions 7": "/agents/7/versions",
    "budgets holds 7": "/budgets/7/holds",
    "holds list": "/holds",
    "jobs events 1": "/jobs/1/events",
    "kill list": "/kill-switches",
    "policies list --agent 7": "/agents/7/policies",
    "promote evidence 7 1.0.0": "/agents/7/versions/1.0.0/evidence",
    "roles list": "/roles",
    "violations --counts": "/violations/counts",
}


def answering(service: Service, **answer: Any) -> None:
    """Whatever is asked for is an empty list, but for the things that a list belongs to."""

    def lists(request: Any) -> Any:
        import httpx  # noqa: PLC0415

        service.requests.append(request)
        path = request.url.path.removeprefix("/api/v1")
        single = {"/agents/7": AGENT, "/jobs/1": JOB}
        return httpx.Response(200, json=single.get(path, {"items": [], **answer}))

    service.__class__.__call__ = lambda _, request: lists(request)  # type: ignore[method-assign]


@pytest.fixture
def lists(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(Service, "__call__", Service.__call__)
    return service


@pytest.mark.parametrize("words", PAGED, ids=str)
def test_a_list_goes_on_where_the_page_before_ended(gaelp: Run, lists: Service, words: str) -> None:
    answering(lists, next_cursor="77")

    ran = gaelp(*words.split(), "--cursor", "55", "--json")

    assert ran.json == {"items": [], "next_cursor": "77"}
    assert lists.requests[-1].url.params["cursor"] == "55"
    assert "--cursor 77" in gaelp(*words.split()).err


@pytest.mark.parametrize("words", WHOLE, ids=str)
def test_a_list_without_pages_has_the_same_shape(gaelp: Run, lists: Service, words: str) -> None:
    answering(lists)

    assert gaelp(*words.split(), "--json").json == {"items": [], "next_cursor": None}


def test_the_history_of_a_job_has_pages_too(gaelp: Run, lists: Service) -> None:
    event = {"id": 3, "event": "admit", "from_state": "queued", "to_state": "admitted"}
    answering(lists, items=[event])

    assert gaelp("jobs", "events", "1", "--limit", "1", "--json").json["next_cursor"] == "3"

    gaelp("jobs", "events", "1", "--cursor", "3")
    assert lists.requests[-1].url.params["after"] == "3"
    assert gaelp("jobs", "events", "1", "--cursor", "x").code == 2
