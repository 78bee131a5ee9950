"""The demo of a budget against a service in memory: what it asks for, and what it finds fault with."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from cli_service import AGENT, JOB, RUNNING, Run, Service, problem

from gaelp_ray.cli import demo, demo_budget
from gaelp_ray.domain.money import MICROS_PER_UNIT

LIMIT = 25 * MICROS_PER_UNIT
#: What the demo runs, by name, and the ids of these jobs.
JOBS, NUMBERS = ("training", "evaluation", "canary", "until-it-is-gone"), (11, 12, 1, 2)
DONE = JOB | {"status": "completed", "phase": "succeeded", "waiting": None, "cause": "success"}
CANARY = RUNNING | {"progress": {"step": 5, "metrics": {"spend": 2.5}}}
CANCELLED = JOB | {"status": "cancelled", "phase": "cancelled", "waiting": None, "cause": "cancelled"}
EXHAUSTED = JOB | {
    "id": 2,
    "status": "failed",
    "phase": "failed",
    "waiting": None,
    "cause": "budget",
    "message": "Too little is left.",
}
RAMP = {
    "id": 1,
    "agent_id": 7,
    "version_id": 12,
    "account_id": 3,
    "state": "canary",
    "day_micros": 10 * MICROS_PER_UNIT,
    "full_day_micros": LIMIT,
}


def line(number: int, held: int, spent: int, balance: tuple[int, int]) -> dict[str, Any]:
    return {
        "id": number,
        "at": "2030-01-01T00:00:00Z",
        "operation": "settle" if spent else "hold",
        "key": f"line {number}",
        "pending_micros": held,
        "posted_micros": spent,
        "balance_pending_micros": balance[0],
        "balance_posted_micros": balance[1],
    }


STATEMENT = [line(1, LIMIT, 0, (LIMIT, 0)), line(2, -LIMIT, LIMIT - 5000, (0, LIMIT - 5000))]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to this machine."""
    done: list[str] = []
    monkeypatch.setattr(demo.local, "is_ours", lambda _: False)
    monkeypatch.setattr(demo.local, "start", lambda _: done.append("start"))
    monkeypatch.setattr(demo.local, "stop", lambda _: done.append("stop"))
    monkeypatch.setattr(demo_budget, "make", lambda _, user, **__: f"token-of-{user}")
    return done


@pytest.fixture
def market(service: Service, machine: list[str]) -> Service:
    """A service on which all goes well."""

    def submitted(request: httpx.Request) -> httpx.Response:
        number = next(n for n, name in enumerate(JOBS) if f'"{name}"'.encode() in request.content)
        return httpx.Response(201, json=JOB | {"id": NUMBERS[number]})

    approval = {"id": 4, "purpose": "promotion", "subject": "version 12", "state": "requested"}
    promotion = {"agent_id": 7, "version": "1.0.0", "version_id": 12, "promoted": False}
    policy = {"id": 1, "name": "demo-7", "version": 1}
    balance = {"at": "2030-01-01T00:00:00Z", "pending_micros": 0, "posted_micros": LIMIT - 5000}
    account = {"id": 3, "scope": "agent", "subject": "7", "currency": "USD", "money": "real"}
    violation = {
        "id": 1, "agent_id": 7, "severity": "clip", "code": "bid_cap", "message": "Too high.",
        "at": "2030-01-01T00:00:00Z",
    }  # fmt: skip
    change = {
        "seq": 1,
        "at": "2030-01-01T00:00:00Z",
        "actor": "admin",
        "action": "ramp.start",
        "subject": "1",
    }
    late = {"kind": "open", "order_key": "job 1 order 1.1", "reported_micros": 9, "booked_micros": 0}
    evidence = {
        "id": 1, "version_id": 12, "baseline": "b", "seeds": 20, "effect": 1.0, "low": 1.0, "high": 1.0,
        "confidence": 0.95,
    }  # fmt: skip
    service.answers |= {
        "POST /agents": AGENT | {"name": "demo-spender-1"},
        "GET /budgets": {"items": [account]},
        "POST /policies/demo-7": policy,
        "PUT /policies/demo-7/attachments": policy,
        "POST /agents/7/versions/1.0.0/evidence": evidence,
        "GET /agents/7/versions/1.0.0/promotion": promotion | {"approval_subject": "version 12"},
        "POST /agents/7/versions/1.0.0/promotion": promotion | {"promoted": True},
        "POST /approvals": approval,
        "PUT /roles/demo-approver-1/approver": httpx.Response(204),
        "PUT /roles/demo-approver-2/approver": httpx.Response(204),
        "POST /approvals/4/approve": approval,
        "POST /budgets/3/holds": problem("denied", "More than the cap.", 403),
        "POST /ramps": RAMP,
        "GET /ramps": {"items": [RAMP | {"state": "full", "day_micros": LIMIT}]},
        "POST /jobs": submitted,
        "GET /jobs/1": [JOB, CANARY, CANCELLED],
        "POST /jobs/1/cancel": CANARY,
        "GET /jobs/2": EXHAUSTED,
        "GET /jobs/11": DONE | {"id": 11},
        "GET /jobs/12": DONE | {"id": 12},
        "GET /budgets/3/balance": balance,
        "GET /budgets/3/statement": {"items": STATEMENT},
        "GET /platforms/sandbox/differences": [{"items": [late]}, {"items": []}],
        "POST /platforms/sandbox/reconcile": {"items": [{"operation": "settle", "amount_micros": 9}]},
        "GET /agents/7/violations": {"items": [violation]},
        "GET /audit": {"items": [change]},
        "GET /audit/verify": {"holds": True, "seq": 1, "hash": "a" * 64, "breaks": []},
    }
    return service


def test_the_demo_goes_through_the_whole_gate(gaelp: Run, market: Service, machine: list[str]) -> None:
    ran = gaelp("demo-budget")

    assert ran.code == 0, ran.out + ran.err
    assert machine == ["start", "stop"]
    (agent,) = market.sent("POST /agents")
    assert (agent["type"], agent["budget_limit"]) == ("real_deployment", 25.0)
    assert [vote["reason"] for vote in market.sent("POST /approvals/4/approve")] == [
        "The evidence is good."
    ] * 2
    voters = [r.headers["authorization"] for r in market.requests if r.url.path.endswith("/4/approve")]
    assert voters == ["Bearer token-of-demo-approver-1", "Bearer token-of-demo-approver-2"]
    training, evaluation, canary, last = market.sent("POST /jobs")
    assert (canary["money"], last["money"]) == ("real", "real")
    assert evaluation["training_config"]["from_job"] == 11
    assert "money" not in training
    (shown,) = market.sent("POST /agents/7/versions/1.0.0/evidence")
    assert shown["jobs"] == [12], "what it shows is read from a run"
    assert len(market.sent("POST /jobs/1/cancel")) == 1
    for words in ("job 1 order 1.1", "bid_cap", "ramp.start", "spent 24.995, held 0", "More than the cap."):
        assert words in ran.out


#: What is wrong with an answer, and words of the fault that is found.
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a line past the limit": (
        {"GET /budgets/3/statement": {"items": [line(1, 0, LIMIT + 1, (0, LIMIT + 1))]}},
        "25.000001 were held and spent, past the limit.",
    ),
    "lines that do not add up": (
        {"GET /budgets/3/statement": {"items": STATEMENT[:1]}},
        "The lines add up to",
    ),
    "another end of the job": (
        {"GET /jobs/2": EXHAUSTED | {"cause": "timeout"}},
        "ended for timeout, not because its budget was gone",
    ),
    "a budget that is not used up": (
        {"GET /budgets/3/balance": {"at": "2030-01-01T00:00:00Z", "pending_micros": 0, "posted_micros": 1}},
        "24.999999 are left",
    ),
    "an order that is not booked": (
        {"GET /platforms/sandbox/differences": {"items": [{"kind": "open", "order_key": "job 1 order 1.1"}]}},
        "Order job 1 order 1.1 is not booked as it was reported.",
    ),
    "an audit that was edited": (
        {
            "GET /audit/verify": {
                "holds": False,
                "seq": 1,
                "hash": "",
                "breaks": [{"seq": 1, "kind": "edited", "message": "Record 1 was edited."}],
            }
        },
        "Record 1 was edited.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_demo_finds_fault_with(gaelp: Run, market: Service, fault: str) -> None:
    answers, words = FAULTS[fault]
    market.answers |= answers
    ran = gaelp("demo-budget")
    assert ran.code == 1
    assert words in ran.err


def test_ctrl_c_cancels_the_job(gaelp: Run, market: Service, machine: list[str]) -> None:
    def interrupt(_: httpx.Request) -> Any:
        raise KeyboardInterrupt

    market.answers["GET /jobs/1"] = interrupt
    assert gaelp("demo-budget").code == 130
    assert len(market.sent("POST /jobs/1/cancel")) == 1
    assert machine == ["start", "stop"]
