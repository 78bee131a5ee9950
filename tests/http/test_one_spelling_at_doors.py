"""Ids, subjects, digits, zones and periods: one way to write them, and one answer to every other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serve_app.paging import MAX_BYTES
from tests.replica import Replica

CAP = {"currency": "USD", "rules": [{"rule": "bid_cap", "max_micros": 5}]}
SPEND = {"purpose": "spend", "reason": "a test", "amount_micros": 1, "currency": "USD"}
POLICY = {"purpose": "policy", "reason": "a test", "change": "detach from global"}


@pytest.mark.parametrize("subject", ["agent 1\u0665", "agent 01", "agent +1", "agent  1", "agent", "agent 0"])
def test_an_approval_names_what_it_is_for_by_its_id(replica: Replica, subject: str) -> None:
    answer = replica.post("/approvals", SPEND | {"subject": subject})
    assert (answer.status_code, "`subject`" in answer.text) == (422, True)


@pytest.mark.parametrize(
    "change", ["detach from agent 1\u0665", "detach from agent 01", "attach 1\u0665 to global"]
)
def test_a_change_of_a_policy_is_written_in_plain_digits(replica: Replica, change: str) -> None:
    assert replica.post("/approvals", POLICY | {"subject": "policy x", "change": change}).status_code == 422


def test_an_approval_of_a_policy_is_good_in_whatever_case_it_was_asked_for(replica: Replica) -> None:
    replica.post("/policies/Caps", CAP)
    asked = replica.post("/approvals", POLICY | {"subject": "policy CAPS"}, user="ann")
    assert (asked.status_code, asked.json()["subject"]) == (201, "policy Caps")
    for form in ("policy caps", "policy CAPS"):
        [found] = replica.get("/approvals", params={"subject": form}).json()["items"]
        assert found["id"] == asked.json()["id"]


NOT_IDS = ["01", "1 ", "+1", "\u0665", "x"]


@pytest.mark.parametrize("form", NOT_IDS, ids=ascii)
def test_no_list_is_empty_for_an_id_that_is_written_in_another_way(replica: Replica, form: str) -> None:
    for path, params in (
        ("/budgets", {"scope": "agent", "subject": form}),
        ("/approvals", {"subject": f"agent {form}"}),
        ("/audit", {"subject": f"agent {form}"}),
    ):
        assert replica.get(path, params=params).status_code == 422, path


def test_the_audit_is_searched_by_names_however_they_are_written(replica: Replica) -> None:
    assert replica.put("/roles/Zed/auditor").status_code == 204
    for params in ({"subject": "user Zed"}, {"subject": "user  ZED "}, {"actor": "Root"}, {"actor": " ROOT"}):
        found = replica.get("/audit", params=params | {"action": "role.grant"}).json()["items"]
        assert [each["subject"] for each in found] == ["user zed"], params
    replica.post("/policies/Audited", CAP)
    [found] = replica.get("/audit", params={"subject": "policy AUDITED@1"}).json()["items"]
    assert found["subject"] == "policy Audited@1"


@pytest.mark.parametrize("seq", ["01", "00", "\u0661", "+1", " 1"], ids=ascii)
def test_an_anchor_is_written_in_plain_digits(replica: Replica, seq: str) -> None:
    answer = replica.get("/audit/verify", params={"anchor": f"{seq}:{'a' * 64}"})
    assert answer.status_code == 422


NO_WORDS: list[dict[str, Any]] = [
    {"rule": "spend_cap", "period": each, "max_micros": 5} for each in ([], {}, ["day"], 1, None)
]
NO_WORDS += [{"rule": "anomaly", "metric": "ctr", "max_z": 3.0, "side": each} for each in ([], {})]
NO_WORDS += [{"rule": "bid_cap", "max_micros": 5, "on_breach": each} for each in ([], {})]
NO_WORDS += [
    {
        "rule": "allowed_hours",
        "timezone": "UTC",
        "hours": ["daily \u0660\u0660:\u0660\u0660-\u0662\u0664:\u0660\u0660"],
    },
    {"rule": "allowed_hours", "timezone": "localtime", "hours": ["daily 00:00-24:00"]},
]


@pytest.mark.parametrize("rule", NO_WORDS, ids=ascii)
def test_a_rule_of_other_words_is_refused_in_a_sentence(replica: Replica, rule: dict[str, Any]) -> None:
    policy = {"currency": "USD", "rules": [rule]}
    stored = replica.post("/policies/words", policy)
    tried = replica.post("/policies:dry-run", {"agent_id": replica.agent()["id"], "policy": policy})
    assert (stored.status_code, tried.status_code) == (422, 422)
    assert "rules[0]" in stored.json()["detail"]


@pytest.mark.parametrize("zone", ["localtime", "x" * 1000, "", "utc ", "Europe/berlin"], ids=lambda z: z[:10])
def test_days_begin_in_a_zone_that_there_is(replica: Replica, zone: str) -> None:
    agent = replica.agent()["id"]
    tried = replica.post("/policies:dry-run", {"agent_id": agent, "policy": CAP, "timezone": zone})
    opened = {"scope": "team", "subject": "zone", "money": "simulated", "timezone": zone}
    for answer in (tried, replica.post("/budgets", opened)):
        assert (answer.status_code, "`timezone`" in answer.json()["detail"]) == (422, True)


def test_no_period_begins_in_the_future(replica: Replica) -> None:
    agent = replica.agent()["id"]
    budget = replica.post("/budgets", {"scope": "team", "subject": "since", "money": "simulated"}).json()[
        "id"
    ]
    later = {"since": (datetime.now(UTC) + timedelta(days=1)).isoformat()}
    both = later | {"until": (datetime.now(UTC) + timedelta(days=2)).isoformat()}
    for path, params in (
        (f"/budgets/{budget}/statement", later),
        ("/savings", later),
        (f"/agents/{agent}/metrics", later),
        (f"/agents/{agent}/violations", later),
        ("/violations", later),
        ("/violations/counts", later),
        ("/compliance", both),
        ("/platforms/search/differences", both),
    ):
        answer = replica.get(path, params=params)
        assert (answer.status_code, "future" in answer.json()["detail"]) == (422, True), path
    assert replica.post("/platforms/search/reconcile", both).status_code == 422


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/health"])
def test_a_page_takes_no_parameter_that_it_does_not_know(replica: Replica, path: str) -> None:
    assert replica.get(path).status_code in (200, 307)
    refused = replica.get(path, params={"x": "1"})
    assert (refused.status_code, "query parameter 'x'" in refused.json()["detail"]) == (422, True)


def test_an_answer_is_small_whatever_was_sent(replica: Replica) -> None:
    long = "k" * 800_000
    for path, body in (
        ("/agents", {long: 1}),
        ("/budgets", {long: 1}),
        ("/budgets/1/operations", {"operations": [{"operation": "x" * 900_000}]}),
        ("/approvals", {"purpose": "x" * 900_000, "subject": "agent 1"}),
        ("/policies/long", {"currency": "USD", "rules": [{"rule": "x" * 900_000}]}),
        ("/policies/long", {"currency": "USD", "rules": [{long: 1}]}),
    ):
        answer = replica.post(path, body)
        assert answer.status_code == 422, path
        assert len(answer.content) < 10_000, path


def test_what_binds_an_agent_comes_in_pages(replica: Replica) -> None:
    agent = str(replica.agent(type="real_deployment")["id"])
    for n in range(3):
        replica.post(f"/policies/page {n}", CAP)
        replica.put(f"/policies/page {n}/attachments", {"scope": "agent", "subject": agent})
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = replica.get(f"/agents/{agent}/policies", params={"limit": "2"} | cursor).json()
        found += [each["name"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert found == ["page 0", "page 1", "page 2"]


def test_what_binds_an_agent_is_never_one_large_answer(replica: Replica) -> None:
    agent = str(replica.agent(type="real_deployment")["id"])
    blocked = [f"{n:05}" + "x" * 90 for n in range(8000)]
    for n in range(4):
        large = {"rules": [{"rule": "categories", "blocked": blocked}]}
        assert replica.post(f"/policies/large {n}", large).status_code == 201
        replica.put(f"/policies/large {n}/attachments", {"scope": "agent", "subject": agent})
    page = replica.get(f"/agents/{agent}/policies")
    assert len(page.content) < MAX_BYTES + 1_000_000
    rest = replica.get(f"/agents/{agent}/policies", params={"cursor": page.json()["next_cursor"]})
    found = [each["name"] for answer in (page, rest) for each in answer.json()["items"]]
    assert found == [f"large {n}" for n in range(4)]
