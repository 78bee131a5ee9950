"""Kill switches, policies, violations, approvals, roles, promotion, ramps, platforms and the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cli_service import Run, Service, problem

SWITCH = {"scope": "agent", "subject": "7", "engaged": True, "reason": "it overspends", "by": "ann"}
POLICY = {
    "id": 1,
    "name": "safe",
    "version": 2,
    "currency": "EUR",
    "rules": [{"rule": "bid_cap", "max_micros": 5}],
    "attached_to": [{"scope": "type", "subject": "real_deployment"}],
}
APPROVAL = {
    "id": 3,
    "purpose": "promotion",
    "subject": "version 12",
    "state": "requested",
    "reason": "it is better",
    "needed": 2,
    "requested_by": "ann",
    "votes": [{"voter": "bob", "approves": True, "reason": "ok"}],
}
PROMOTION = {
    "agent_id": 7,
    "version": "2.0.0",
    "version_id": 12,
    "promoted": False,
    "missing": ["It has 3 seeds, and 10 are needed."],
    "approvals_needed": 2,
    "approved": False,
    "approval_subject": "version 12",
}
RAMP = {
    "id": 4,
    "agent_id": 7,
    "version_id": 12,
    "account_id": 9,
    "state": "rolled_back",
    "stage": 0,
    "stages": [{"percent": 5, "holds_for_seconds": 86400}, {"percent": 100, "holds_for_seconds": 86400}],
    "day_micros": 0,
    "full_day_micros": 1000,
    "metric": "profit",
    "min_samples": 6,
    "min_value": 0.5,
    "reason": "The median is -1.",
}


@pytest.mark.parametrize(
    ("words", "body", "said"),
    [
        ("agent 7 --reason odd", {"scope": "agent", "subject": "7", "reason": "odd"}, "Agent 7"),
        ("user ann", {"scope": "user", "subject": "ann", "reason": "emergency"}, "User ann"),
        ("campaign spring", {"scope": "campaign", "subject": "spring", "reason": "emergency"}, "Campaign"),
        ("global", {"scope": "global", "subject": "", "reason": "emergency"}, "Everything"),
    ],
)
def test_one_short_command_stops(
    gaelp: Run, service: Service, words: str, body: dict[str, str], said: str
) -> None:
    service.answers["POST /kill-switches"] = SWITCH
    ran = gaelp("kill", *words.split())
    assert (ran.code, service.sent("POST /kill-switches")) == (0, [body])
    assert said in ran.out
    assert "gaelp kill release" in ran.out


def test_a_release_needs_a_reason(gaelp: Run, service: Service) -> None:
    service.answers["POST /kill-switches/release"] = SWITCH | {"engaged": False}
    assert gaelp("kill", "release", "agent", "7").code == 2
    ran = gaelp("kill", "release", "agent", "7", "--reason", "looked at")
    assert ran.out == "Agent 7 may spend again.\n"
    assert service.sent("POST /kill-switches/release") == [
        {"scope": "agent", "subject": "7", "reason": "looked at"}
    ]


def test_what_is_stopped_is_listed(gaelp: Run, service: Service) -> None:
    service.answers["GET /kill-switches"] = {"items": [SWITCH]}
    assert "it overspends" in gaelp("kill", "list").out
    service.answers["GET /kill-switches"] = {"items": []}
    assert gaelp("kill", "list").out == "Nothing is stopped.\n"


def test_a_policy_is_written_from_a_file_and_shown_as_one(
    gaelp: Run, service: Service, tmp_path: Path
) -> None:
    service.answers["POST /policies/safe"] = service.answers["GET /policies/safe"] = POLICY
    file = tmp_path / "safe.json"
    file.write_text(gaelp("policies", "show", "safe").out)
    ran = gaelp("policies", "write", "safe", str(file))
    assert "safe@2 is written" in ran.out
    assert service.sent("POST /policies/safe") == [{"currency": "EUR", "rules": POLICY["rules"]}]


@pytest.mark.parametrize("text", ["{", "[1]"], ids=["no JSON", "no object"])
def test_a_file_that_holds_no_policy_is_refused_here(
    gaelp: Run, service: Service, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    assert gaelp("policies", "write", "safe", str(file)).code == 1
    assert service.requests == []


def test_policies_are_listed_attached_and_taken_away(gaelp: Run, service: Service) -> None:
    service.answers["GET /policies"] = service.answers["GET /agents/7/policies"] = {"items": [POLICY]}
    service.answers["PUT /policies/safe/attachments"] = POLICY
    service.answers["DELETE /policies/safe/attachments"] = httpx.Response(204)
    for words in (("list",), ("list", "--agent", "7")):
        listed = gaelp("policies", *words).out
        assert "safe@2" in listed
        assert "type real_deployment" in listed
    attached = gaelp("policies", "attach", "safe", "type", "real_deployment", "--version", "2")
    assert attached.out == "safe@2 binds type real_deployment.\n"
    assert gaelp("policies", "detach", "safe", "global").out == "safe binds every agent no more.\n"


def test_a_policy_is_tried_on_the_past(gaelp: Run, service: Service) -> None:
    item = {"at": "2026-01-02T00:00:00Z", "amount_micros": 9, "currency": "EUR", "verdict": "deny"}
    service.answers["POST /policies:dry-run"] = {
        "verdicts": {"deny": 1, "allow": 2},
        "items": [item | {"reasons": ["It costs too much."]}],
    }
    ran = gaelp("policies", "dry-run", "7", "--policy", "safe")
    assert "It costs too much." in ran.out
    assert "1 deny, 2 allow" in ran.out
    assert gaelp("policies", "dry-run", "7").code == 2


def test_violations_are_listed_and_counted(gaelp: Run, service: Service) -> None:
    violation = {"id": 1, "agent_id": 7, "severity": "halt", "code": "drawdown", "message": "50 are lost."}
    for path in ("/violations", "/agents/7/violations"):
        service.answers[f"GET {path}"] = {"items": [violation]}
    counts = {"items": [{"severity": "halt", "code": "drawdown", "count": 4}]}
    service.answers["GET /violations/counts"] = counts
    assert "50 are lost." in gaelp("violations").out
    assert "50 are lost." in gaelp("violations", "7", "--severity", "halt").out
    assert gaelp("violations", "--counts", "--json").json["items"] == counts["items"]


def test_approvals_are_asked_for_and_voted_on(gaelp: Run, service: Service) -> None:
    service.answers |= {
        "POST /approvals": APPROVAL,
        "POST /approvals/3/approve": APPROVAL | {"state": "approved"},
        "POST /approvals/3/reject": APPROVAL | {"state": "rejected"},
        "POST /approvals/3/withdraw": APPROVAL | {"state": "withdrawn"},
        "GET /approvals/3": APPROVAL,
        "GET /approvals": {"items": [APPROVAL]},
    }
    words = ("request", "promotion", "version 12", "--reason", "it is better", "--hours", "2")
    assert "1 of 2" in gaelp("approvals", *words).out
    assert service.sent("POST /approvals")[0]["ttl_seconds"] == 7200
    assert "approved" in gaelp("approvals", "approve", "3", "--reason", "ok").out
    assert "rejected" in gaelp("approvals", "reject", "3", "--reason", "no").out
    assert "withdrawn" in gaelp("approvals", "withdraw", "3").out
    assert "bob approved: ok" in gaelp("approvals", "show", "3").out
    assert "version 12" in gaelp("approvals", "list", "--purpose", "promotion").out


def test_roles_are_granted_listed_and_revoked(gaelp: Run, service: Service) -> None:
    service.answers["PUT /roles/ann/operator"] = httpx.Response(204)
    service.answers["DELETE /roles/ann/operator"] = httpx.Response(204)
    service.answers["GET /roles"] = {"items": [{"user": "ann", "role": "operator", "by": "root"}]}
    assert gaelp("roles", "grant", "ann", "operator").out == "ann is operator.\n"
    assert "root" in gaelp("roles", "list").out
    assert gaelp("roles", "revoke", "ann", "operator").out == "ann is operator no more.\n"
    assert gaelp("roles", "grant", "ann", "king").code == 2


def test_a_version_is_promoted_step_by_step(gaelp: Run, service: Service) -> None:
    base = "/agents/7/versions/2.0.0"
    evidence: dict[str, Any] = {"id": 1, "version_id": 12, "baseline": "1.0.0", "seeds": 10}
    evidence |= {"effect": 2.0, "low": 1.0, "high": 3.0, "confidence": 0.95, "safety": {"loss": 0.1}}
    service.answers[f"POST {base}/evidence"] = evidence
    service.answers[f"GET {base}/evidence"] = {"items": [evidence]}
    service.answers[f"GET {base}/promotion"] = PROMOTION
    service.answers[f"POST {base}/promotion"] = PROMOTION | {"promoted": True}
    said = "Evidence 1 is recorded: 2, from 1 to 3, 10 seeds.\n"
    words = "--baseline 1.0.0 --job 21 --job 22 --baseline-job 11 --baseline-job 12 --metric profit"
    assert gaelp("promote", "record", "7", "2.0.0", *words.split()).out == said
    assert service.sent(f"POST {base}/evidence")[0] == {
        "baseline": "1.0.0", "jobs": [21, 22], "baseline_jobs": [11, 12], "metric": "profit",
    }  # fmt: skip
    words = "--baseline 1.0.0 --seeds 10 --effect 2 --low 1 --high 3 --safety loss=0.1"
    assert gaelp("promote", "record-external", "7", "2.0.0", *words.split()).out == said
    typed = service.sent(f"POST {base}/evidence")[1]
    assert (typed["source"], typed["safety"]) == ("external", {"loss": 0.1})
    assert gaelp("promote", "record-external", "7", "2.0.0", *words.split(), "--safety", "x=y").code == 1
    assert "1.0.0" in gaelp("promote", "evidence", "7", "2.0.0").out
    status = gaelp("promote", "status", "7", "2.0.0").out
    assert "It has 3 seeds" in status
    assert "2 people must approve 'version 12'" in status
    assert gaelp("promote", "version", "7", "2.0.0").out == "Version 2.0.0 may spend real money.\n"


def test_a_refused_promotion_says_what_is_missing(gaelp: Run, service: Service) -> None:
    refusal = problem("not_eligible", "Version 12 may not spend real money yet: no evidence.", 409)
    service.answers["POST /agents/7/versions/2.0.0/promotion"] = refusal
    ran = gaelp("promote", "version", "7", "2.0.0")
    assert (ran.code, ran.err) == (1, "Version 12 may not spend real money yet: no evidence.\n")


def test_ramps_are_started_watched_and_rolled_back(gaelp: Run, service: Service) -> None:
    service.answers |= {
        "POST /ramps": RAMP | {"state": "canary", "reason": ""},
        "GET /ramps": {"items": [RAMP]},
        "GET /ramps/4": RAMP,
        "POST /ramps/4/rollback": RAMP,
    }
    words = "start 7 2.0.0 --account 9 --day-micros 1000 --metric profit --at-least 0.5 --stage 5:24"
    assert "canary" in gaelp("ramps", *words.split(), "--stage", "100:0.5").out
    assert service.sent("POST /ramps")[0]["stages"] == [
        {"percent": 5, "holds_for_seconds": 86400.0},
        {"percent": 100, "holds_for_seconds": 1800.0},
    ]
    assert gaelp("ramps", *words.split(), "--stage", "half").code == 1
    assert "The median is -1." in gaelp("ramps", "list").out
    assert "5 % for 24 h" in gaelp("ramps", "show", "4").out
    assert "rolled_back" in gaelp("ramps", "rollback", "4", "--reason", "r").out


def test_platforms_are_reconciled(gaelp: Run, service: Service, tmp_path: Path) -> None:
    difference = {"kind": "differs", "order_key": "o 1", "reported_micros": 40, "booked_micros": 30}
    service.answers |= {
        "POST /platforms/p/reports": {"received": 2, "new": 1},
        "GET /platforms/p/differences": {"items": [difference]},
        "POST /platforms/p/reconcile": {"items": [{"operation": "correct", "amount_micros": 10}]},
    }
    file = tmp_path / "reports.json"
    file.write_text(json.dumps([{"order_key": "o 1"}]))
    assert gaelp("platforms", "report", "p", str(file)).out == "2 reports, 1 of them new.\n"
    period = ("--since", "2026-01-01", "--until", "2026-02-01")
    assert "o 1" in gaelp("platforms", "differences", "p", *period, "--placed", "o 1").out
    assert service.requests[-1].url.params["placed"] == "o 1"
    assert "correct" in gaelp("platforms", "reconcile", "p", *period).out
    file.write_text("{}")
    assert gaelp("platforms", "report", "p", str(file)).code == 1


def test_changes_are_listed_with_who_and_what(gaelp: Run, service: Service) -> None:
    record = {
        "seq": 5,
        "at": "2026-01-02T00:00:00Z",
        "actor": "ann",
        "action": "limit.set",
        "subject": "account 7",
        "before": {"day": 5},
        "after": {"day": None},
    }
    service.answers["GET /audit"] = {"items": [record]}
    ran = gaelp("audit", "list", "--actor", "ann", "--after", "4")
    assert "limit.set" in ran.out
    assert "day=5" in ran.out
    assert dict(service.requests[0].url.params) == {"actor": "ann", "limit": "100", "after": "4"}
