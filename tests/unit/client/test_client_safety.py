"""Policies, switches, approvals, roles, promotions, ramps, platforms and the audit, as asked for and read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from client_network import Connect, Recorder

from gaelp_ray.client import GaelpClient, PolicyPlace, Stage
from gaelp_ray.domain.errors import Halted, NotEligible, Unavailable

SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
PERIOD = {"since": "2026-01-01T00:00:00+00:00", "until": "2026-02-01T00:00:00+00:00"}
QUERY = "since=2026-01-01T00%3A00%3A00%2B00%3A00&until=2026-02-01T00%3A00%3A00%2B00%3A00"
POLICY = {"id": 1, "name": "safe", "version": 2, "rules": [{"rule": "bid_cap"}]}
SWITCH = {"scope": "agent", "subject": "7", "engaged": True}
APPROVAL = {"id": 3, "purpose": "spend", "subject": "agent 7", "state": "requested"}
PROMOTION = {"agent_id": 7, "version": "2.0.0", "version_id": 12, "promoted": False, "missing": ["seeds"]}
RAMP = {"id": 4, "agent_id": 7, "version_id": 12, "account_id": 9, "state": "canary"}

Call = Callable[[GaelpClient], Any]
#: What is called, what the service answers, and what it is sent.
CALLS: dict[str, tuple[Call, Any, tuple[str, str, Any]]] = {
    "a policy is written": (
        lambda gaelp: gaelp.policies.write("a b", {"currency": "EUR", "rules": []}),
        POLICY,
        ("POST", "/policies/a%20b", {"currency": "EUR", "rules": []}),
    ),
    "a policy is read in a version": (
        lambda gaelp: gaelp.policies.get("safe", 2),
        POLICY,
        ("GET", "/policies/safe?version=2", None),
    ),
    "a policy is attached to an agent": (
        lambda gaelp: gaelp.policies.attach("safe", "agent", 7, version=2),
        POLICY,
        ("PUT", "/policies/safe/attachments", {"scope": "agent", "subject": "7", "version": 2}),
    ),
    "a policy is taken away from all": (
        lambda gaelp: gaelp.policies.detach("safe", "global"),
        {},
        ("DELETE", "/policies/safe/attachments?scope=global&subject=", None),
    ),
    "what binds an agent is asked": (
        lambda gaelp: gaelp.policies.binding(7),
        {"items": [POLICY]},
        ("GET", "/agents/7/policies", None),
    ),
    "a document is tried": (
        lambda gaelp: gaelp.policies.dry_run(7, {"rules": []}, since=SINCE),
        {},
        ("POST", "/policies:dry-run", {"agent_id": 7, "policy": {"rules": []}, "since": PERIOD["since"]}),
    ),
    "a stored policy is tried": (
        lambda gaelp: gaelp.policies.dry_run(7, "safe", version=1, timezone="Europe/Berlin"),
        {},
        (
            "POST",
            "/policies:dry-run",
            {"agent_id": 7, "version": 1, "name": "safe", "timezone": "Europe/Berlin"},
        ),
    ),
    "violations of all are asked": (
        lambda gaelp: gaelp.violations.list(severity="halt", limit=5),
        {"items": []},
        ("GET", "/violations?severity=halt&limit=5", None),
    ),
    "violations of an agent are asked": (
        lambda gaelp: gaelp.violations.list(7, limit=5),
        {"items": []},
        ("GET", "/agents/7/violations?limit=5", None),
    ),
    "violations are counted": (
        lambda gaelp: gaelp.violations.counts(),
        {"items": []},
        ("GET", "/violations/counts", None),
    ),
    "an agent is stopped": (
        lambda gaelp: gaelp.switches.engage("agent", 7, reason="r"),
        SWITCH,
        ("POST", "/kill-switches", {"scope": "agent", "subject": "7", "reason": "r"}),
    ),
    "everything is stopped": (
        lambda gaelp: gaelp.switches.engage("global", reason="r"),
        SWITCH,
        ("POST", "/kill-switches", {"scope": "global", "subject": "", "reason": "r"}),
    ),
    "a user is released": (
        lambda gaelp: gaelp.switches.release("user", "ann", reason="r"),
        SWITCH,
        ("POST", "/kill-switches/release", {"scope": "user", "subject": "ann", "reason": "r"}),
    ),
    "an approval is asked for": (
        lambda gaelp: gaelp.approvals.request(
            "spend", "agent 7", reason="r", amount_micros=5, currency="EUR", ttl_seconds=60
        ),
        APPROVAL,
        (
            "POST",
            "/approvals",
            {
                "purpose": "spend",
                "subject": "agent 7",
                "reason": "r",
                "amount_micros": 5,
                "currency": "EUR",
                "ttl_seconds": 60,
            },
        ),
    ),
    "an approval is given": (
        lambda gaelp: gaelp.approvals.approve(3, reason="ok"),
        APPROVAL,
        ("POST", "/approvals/3/approve", {"reason": "ok"}),
    ),
    "an approval is refused": (
        lambda gaelp: gaelp.approvals.reject(3, reason="no"),
        APPROVAL,
        ("POST", "/approvals/3/reject", {"reason": "no"}),
    ),
    "an approval is withdrawn": (
        lambda gaelp: gaelp.approvals.withdraw(3),
        APPROVAL,
        ("POST", "/approvals/3/withdraw", {}),
    ),
    "a role is granted": (
        lambda gaelp: gaelp.roles.grant("ann b", "operator"),
        {},
        ("PUT", "/roles/ann%20b/operator", None),
    ),
    "a role is revoked": (
        lambda gaelp: gaelp.roles.revoke("ann", "operator"),
        {},
        ("DELETE", "/roles/ann/operator", None),
    ),
    "it is asked what is missing": (
        lambda gaelp: gaelp.promotions.get(7, "2.0.0"),
        PROMOTION,
        ("GET", "/agents/7/versions/2.0.0/promotion", None),
    ),
    "a version is promoted": (
        lambda gaelp: gaelp.promotions.promote(7, "2.0.0"),
        PROMOTION,
        ("POST", "/agents/7/versions/2.0.0/promotion", {}),
    ),
    "a ramp is started": (
        lambda gaelp: gaelp.ramps.start(
            7,
            "2.0.0",
            account_id=9,
            full_day_micros=1000,
            metric="profit",
            min_value=0.5,
            stages=[Stage(100, 60.0)],
        ),
        RAMP,
        (
            "POST",
            "/ramps",
            {
                "agent_id": 7,
                "version": "2.0.0",
                "account_id": 9,
                "full_day_micros": 1000,
                "metric": "profit",
                "min_samples": 1,
                "min_value": 0.5,
                "stages": [{"percent": 100, "holds_for_seconds": 60.0}],
            },
        ),
    ),
    "a ramp is rolled back": (
        lambda gaelp: gaelp.ramps.roll_back(4, reason="r"),
        RAMP,
        ("POST", "/ramps/4/rollback", {"reason": "r"}),
    ),
    "reports are brought": (
        lambda gaelp: gaelp.platforms.report("sand box", [{"order_key": "o", "reported_at": SINCE}]),
        {"received": 1, "new": 1},
        (
            "POST",
            "/platforms/sand%20box/reports",
            {"reports": [{"order_key": "o", "reported_at": PERIOD["since"]}]},
        ),
    ),
    "differences are asked": (
        lambda gaelp: gaelp.platforms.differences("p", since=SINCE, until=UNTIL, placed=["a", "b"]),
        {"items": []},
        ("GET", f"/platforms/p/differences?{QUERY}&placed=a&placed=b", None),
    ),
    "reports are booked": (
        lambda gaelp: gaelp.platforms.reconcile("p", since=SINCE, until=UNTIL),
        {"items": []},
        ("POST", "/platforms/p/reconcile", PERIOD),
    ),
    "changes are asked": (
        lambda gaelp: gaelp.audit.list(subject="agent 7", actor="ann", limit=5),
        {"items": []},
        ("GET", "/audit?subject=agent%207&actor=ann&limit=5", None),
    ),
    "the audit is proved": (
        lambda gaelp: gaelp.audit.verify(anchor="3:ab"),
        {"holds": True, "seq": 3, "hash": "ab"},
        ("GET", "/audit/verify?anchor=3%3Aab", None),
    ),
    "a report is asked": (
        lambda gaelp: gaelp.audit.compliance(since=SINCE, until=UNTIL),
        {},
        ("GET", f"/compliance?{QUERY}", None),
    ),
    "a report is asked as CSV": (
        lambda gaelp: gaelp.audit.compliance_csv(since=SINCE, until=UNTIL),
        {},
        ("GET", f"/compliance?{QUERY}&format=csv", None),
    ),
}


@pytest.mark.parametrize("case", CALLS)
def test_the_service_is_asked_when(connect: Connect, case: str) -> None:
    call, answer, (method, path, body) = CALLS[case]
    service = Recorder(answer)
    call(connect(service))
    sent = service.last
    assert (sent[0], sent[1].replace("+", "%20"), sent[2]) == (method, f"/api/v1{path}", body)


def test_a_policy_says_where_it_is_attached(connect: Connect) -> None:
    places = [{"scope": "global", "subject": ""}, {"scope": "agent", "subject": "7"}]
    found = connect(Recorder(POLICY | {"attached_to": places})).policies.get("safe")
    assert found.attached_to == (PolicyPlace("global"), PolicyPlace("agent", "7"))
    assert found.rules == ({"rule": "bid_cap"},)


def test_a_dry_run_is_read_in_full(connect: Connect) -> None:
    item = {"at": "2026-01-02T00:00:00Z", "amount_micros": 9, "currency": "EUR", "verdict": "clip"}
    answer = {"verdicts": {"clip": 1}, "items": [item | {"allowed_micros": 5, "reasons": ["too much"]}]}
    found = connect(Recorder(answer)).policies.dry_run(7, "safe")
    assert (found.verdicts, found.items[0].allowed_micros) == ({"clip": 1}, 5)
    assert found.items[0].reasons == ("too much",)


def test_votes_are_read_with_their_approval(connect: Connect) -> None:
    votes = [{"voter": "bob", "approves": False, "reason": "no", "at": "2026-01-02T00:00:00Z"}]
    (found,) = connect(Recorder({"items": [APPROVAL | {"votes": votes}]})).approvals.iterate()
    assert [(vote.voter, vote.approves) for vote in found.votes] == [("bob", False)]


def test_a_proof_gives_the_end_to_keep(connect: Connect) -> None:
    breaks = [{"seq": 2, "kind": "edited", "message": "m"}]
    proof = connect(Recorder({"holds": False, "seq": 3, "hash": "ab", "breaks": breaks})).audit.verify()
    assert (proof.anchor, proof.breaks[0].kind, proof.holds) == ("3:ab", "edited", False)


@pytest.mark.parametrize(
    ("code", "kind", "facts"),
    [
        ("halted", Halted, {"scope": "agent", "subject": "7", "reason": "r"}),
        ("not_eligible", NotEligible, {"missing": ["It has 3 seeds, and 10 are needed."]}),
    ],
)
def test_a_refusal_is_the_error_of_the_domain(
    connect: Connect, code: str, kind: type[Exception], facts: dict[str, Any]
) -> None:
    service = Recorder({"code": code, "detail": "No.", "status": 409} | facts, 409)
    with pytest.raises(kind) as refused:
        connect(service).promotions.promote(7, "2.0.0")
    assert refused.value.details == facts  # type: ignore[attr-defined]


def test_a_stop_is_sent_again_until_it_is_heard(connect: Connect, pauses: list[float]) -> None:
    asked: list[str] = []

    def deaf_at_first(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) < 3:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(200, json=SWITCH)

    gaelp = connect(deaf_at_first)
    assert gaelp.switches.engage("agent", 7, reason="r").engaged
    assert (len(asked), len(pauses)) == (3, 2)
    asked.clear()
    with pytest.raises(Unavailable):
        gaelp.switches.release("agent", 7, reason="r")
    assert len(asked) == 1, "what was released may have been engaged anew"
