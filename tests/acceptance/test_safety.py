"""From evidence to real money and back, over HTTP, on a running service."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from gaelp_ray.cli import database
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.ledger import Money, Scope
from gaelp_ray.domain.safety.verdicts import Action
from gaelp_ray.services import reviews
from gaelp_ray.services.reviews import Reported
from gaelp_ray.store.engine import Store
from tests import evidence
from tests.bank import Bank, a_hold, a_post
from tests.service import Service, eventually

Json = dict[str, Any]
ROOT = Path(__file__).parents[2]
STAFF = {"olive": ["operator"], "paul": ["approver"], "petra": ["approver"], "audrey": ["auditor"], "ann": []}
#: Numbers that nobody ran.
TYPED = {"baseline": "1.0.0", "seeds": 20, "effect": 2.0, "low": 1.0, "high": 3.0, "confidence": 0.95}
#: In which agents get their accounts.
CURRENCY = "USD"
_NAMES = itertools.count(1)


class Company:
    """People with roles, each with a connection, and the ledger behind the service."""

    def __init__(self, service: Service, stack: ExitStack) -> None:
        self.service = service
        admin = stack.enter_context(service.client())
        self.people = {}
        for user, roles in STAFF.items():
            self.people[user] = stack.enter_context(service.client(service.token(user)))
            for role in roles:
                granted(admin.put(f"/roles/{user}/{role}"), 204)
        self.store = Store(database.start(service.home), pool_size=4)
        stack.callback(self.store.close)

    @property
    def bank(self) -> Bank:
        bank = Bank(self.store)
        bank.now = datetime.now(UTC)
        return bank

    def ask(self, user: str, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = self.people[user].request(method, path, **options)
        granted(answer, status)
        return answer.json() if answer.content else None

    def deployed(self) -> tuple[int, int]:
        """A new agent of ann's that may spend real money one day, and its main account."""
        ann = self.people["ann"]
        agent = self.service.agent(ann, type="real_deployment", budget_limit=1.0)["id"]
        return agent, self.bank.open(
            scope=Scope.AGENT, subject=str(agent), money=Money.REAL, currency=CURRENCY
        )

    def act(self, agent: int, account: int, micros: int, **reported: Any) -> str:
        """The verdict on an action of real money."""
        action = Action(agent_id=agent, currency=CURRENCY, amount_micros=micros)
        hold = a_hold(f"action {time.time_ns()}", account, currency=CURRENCY)
        admitted = self.store.transact(
            reviews.admit, action, hold, reported=Reported(**reported), now=datetime.now(UTC)
        )
        return type(admitted.verdict).__name__.lower()

    def ran(self, agent: int, version: int, **result: Any) -> int:
        """A job of a version that has completed with a result."""
        by, now = Principal("ann"), datetime.now(UTC)
        return self.store.transact(evidence.a_completed_job, agent, version, result, by=by, now=now)

    def approve(self, purpose: str, subject: str, **fields: Any) -> Json:
        """Two people agree to what olive asks for."""
        asked = {"purpose": purpose, "subject": subject, "reason": "please"} | fields
        approval = self.ask("olive", "POST", "/approvals", 201, json=asked)
        for user in ("paul", "petra"):
            path = f"/approvals/{approval['id']}/approve"
            approval = self.ask(user, "POST", path, json={"reason": "fine"})
        return approval


def granted(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, f"{answer.request.method} {answer.request.url}: {answer.text}"


@pytest.fixture(scope="module")
def company(service: Service) -> Iterator[Company]:
    with ExitStack() as stack:
        yield Company(service, stack)


def test_a_version_earns_real_money_and_loses_it_by_itself(company: Company) -> None:
    agent, account = company.deployed()
    company.ask("ann", "POST", f"/agents/{agent}/versions", 201, json={"version": "2.0.0"})
    company.ask("ann", "POST", f"/agents/{agent}/rollback", json={"version": "1.0.0"})
    base = f"/agents/{agent}/versions/2.0.0"
    found = company.ask("ann", "GET", f"{base}/promotion")
    assert (found["promoted"], found["missing"]) == (False, ["There is no evidence of it."])

    told = company.ask("ann", "POST", f"{base}/evidence", 422, json=TYPED)
    assert "read from runs" in told["detail"]
    company.ask("ann", "POST", f"{base}/evidence", 201, json=TYPED | {"source": "external"})
    refused = company.ask("ann", "POST", f"{base}/promotion", 409)
    assert (refused["code"], len(refused["missing"])) == ("not_eligible", 1), "typed in, it is never enough"
    for result in ({"days": 3, "lower": -1.0}, {}):
        job = company.ran(agent, found["version_id"], **{**evidence.WELL_DONE, **result})
        body = {"baseline": "best fixed bid", "jobs": [job]}
        stored = company.ask("ann", "POST", f"{base}/evidence", 201, json=body)
        assert (stored["source"], stored["jobs"]) == ("runs", [job])
    assert [each["seeds"] for each in company.ask("ann", "GET", f"{base}/evidence")["items"]] == [20, 3, 20]

    found = company.ask("ann", "GET", f"{base}/promotion")
    assert (found["missing"], found["approvals_needed"], found["approved"]) == ([], 2, False)
    asked = {"purpose": "promotion", "subject": found["approval_subject"], "reason": "it is better"}
    approval = company.ask("ann", "POST", "/approvals", 201, json=asked)["id"]
    vote = f"/approvals/{approval}/approve"
    for user in ("ann", "olive"):
        assert company.ask(user, "POST", vote, 403, json={"reason": "me"})["code"] == "forbidden"
    assert company.ask("paul", "POST", vote, json={"reason": "fine"})["state"] == "requested"
    company.ask("paul", "POST", vote, 409, json={"reason": "again"})
    company.ask("ann", "POST", f"{base}/promotion", 409)
    assert company.ask("petra", "POST", vote, json={"reason": "fine"})["state"] == "approved"
    assert company.ask("ann", "POST", f"{base}/promotion")["promoted"]
    assert company.ask("ann", "GET", f"/approvals/{approval}")["state"] == "used"

    start = {"agent_id": agent, "version": "2.0.0", "full_day_micros": 1000}
    start |= {"metric": "profit", "min_samples": 2, "min_value": 0.0}
    company.ask("ann", "POST", "/ramps", 403, json=start)
    ramp = company.ask("olive", "POST", "/ramps", 201, json=start)
    assert (ramp["state"], ramp["day_micros"], len(ramp["stages"])) == ("canary", 50, 4)
    assert ramp["cap_micros"] is None
    assert ramp["account_id"] == account
    assert company.ask("ann", "GET", f"/agents/{agent}")["version"] == "2.0.0"
    assert ramp["id"] in [each["id"] for each in company.ask("olive", "GET", "/ramps")["items"]]

    for loss in (-3.0, -1.0):
        company.ask("ann", "POST", f"/agents/{agent}/metrics", 201, json={"metrics": {"profit": loss}})

    def rolled_back() -> Json | None:
        found: Json = company.ask("ann", "GET", f"/ramps/{ramp['id']}")
        return found if found["state"] == "rolled_back" else None

    ended = eventually(rolled_back, within_s=30, what="the ramp is rolled back")
    assert ended is not None
    assert (ended["day_micros"], "median" in ended["reason"]) == (0, True)
    assert company.ask("ann", "GET", f"/agents/{agent}")["version"] == "1.0.0"
    assert company.act(agent, account, 1) == "allow", "no policy forbids it"
    found = company.bank.ask(a_hold(f"more {agent}", account, amount=1, currency=CURRENCY))
    assert getattr(found, "code", None) == "budget_exceeded", "its budget does"
    company.ask("olive", "POST", f"/ramps/{ramp['id']}/rollback", 409, json={"reason": "again"})
    again = company.ask("olive", "POST", "/ramps", 409, json=start)
    assert (again["code"], again["subject"], again["period"]) == ("not_eligible", f"account {account}", "day")
    future = {"metrics": {"profit": 9.0}, "at": (datetime.now(UTC) + timedelta(days=30)).isoformat()}
    company.ask("ann", "POST", f"/agents/{agent}/metrics", 422, json=future)


def test_a_broken_rule_is_recorded_shown_and_tried_anew(company: Company) -> None:
    agent, account = company.deployed()
    name = f"caps {agent}"
    document = {
        "currency": CURRENCY,
        "rules": [{"rule": "action_cap", "max_micros": 60, "on_breach": "deny"}],
    }
    place = {"scope": "agent", "subject": str(agent)}
    company.ask("ann", "POST", f"/policies/{name}", 403, json=document)
    company.ask("olive", "POST", f"/policies/{name}", 201, json=document)
    company.ask("olive", "PUT", f"/policies/{name}/attachments", json=place)
    (binding,) = company.ask("ann", "GET", f"/agents/{agent}/policies")["items"]
    assert (binding["name"], binding["attached_to"]) == (name, [place])

    assert [company.act(agent, account, micros) for micros in (50, 70)] == ["allow", "deny"]
    (violation,) = company.ask("ann", "GET", f"/agents/{agent}/violations")["items"]
    assert (violation["code"], violation["severity"], violation["amount_micros"]) == (
        "action_cap", "deny", 70,
    )  # fmt: skip
    since = {"since": violation["at"], "severity": "deny"}
    everybody = company.ask("audrey", "GET", "/violations", params=since)["items"]
    assert violation["id"] in [each["id"] for each in everybody]
    assert company.ask("ann", "GET", "/violations", 403)["code"] == "forbidden"
    counts = company.ask("audrey", "GET", "/violations/counts")["items"]
    assert {"deny action_cap"} <= {f"{each['severity']} {each['code']}" for each in counts}

    stricter = document | {"rules": [{"rule": "action_cap", "max_micros": 40}]}
    tried = {"agent_id": agent, "policy": stricter}
    found = company.ask("ann", "POST", "/policies:dry-run", json=tried)
    assert (found["verdicts"], [each["allowed_micros"] for each in found["items"]]) == ({"clip": 2}, [40, 40])
    stored = company.ask("ann", "POST", "/policies:dry-run", json={"agent_id": agent, "name": name})
    assert stored["verdicts"] == {"allow": 1, "deny": 1}
    company.ask("ann", "POST", "/policies:dry-run", 422, json={"agent_id": agent})

    detach = f"/policies/{name}/attachments"
    refused = company.ask("olive", "DELETE", detach, 409, params=place)
    assert (refused["code"], refused["subject"]) == ("not_eligible", f"policy {name}")
    company.ask(
        "olive", "POST", "/approvals", 422, json={"purpose": "policy", "subject": name, "reason": "r"}
    )
    company.approve("policy", f"policy {name}", change=refused["change"])
    company.ask("olive", "DELETE", detach, 204, params=place)
    assert company.ask("ann", "GET", f"/agents/{agent}/policies")["items"] == []
    assert company.act(agent, account, 70) == "allow"


class Holders:
    """Many who hold at once, through the guards, and what they were told."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def told(self) -> list[Json]:
        # The last line may not be whole yet.
        return [json.loads(line) for line in self._log.read_text().splitlines(keepends=True) if "\n" in line]

    def granted_after(self, moment: float) -> list[Json]:
        """Those that were asked for after it."""
        return [each for each in self.told() if each["granted"] and each["asked"] > moment]

    def refused(self) -> bool:
        return any(not each["granted"] for each in self.told())


@contextmanager
def holders(service: Service, folder: Path, account: int, *, spenders: int = 40) -> Iterator[Holders]:
    address = f"127.0.0.1:{service.environment['GAELP_RAY_PORT']}"
    log = folder / "holders.jsonl"
    log.touch()
    given = [address, str(log), str(spenders), str(account)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.holders", *given], cwd=ROOT, env=service.environment
    )
    try:
        found = Holders(log)
        eventually(lambda: len(found.granted_after(0)) > 5 * spenders, what="many hold")
        yield found
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("scope", ["agent", "user", "global"])
def test_a_kill_switch_stops_what_is_asked_for_after_its_answer(
    company: Company, tmp_path: Path, scope: str
) -> None:
    agent = company.service.agent(company.people["ann"])["id"]
    account = company.bank.open(scope=Scope.AGENT, subject=str(agent))
    subject = {"agent": str(agent), "user": "ann", "global": ""}[scope]
    by = "olive" if scope == "global" else "ann"
    body = {"scope": scope, "subject": subject, "reason": "a test"}
    with holders(company.service, tmp_path, account) as many:
        switch = company.ask(by, "POST", "/kill-switches", json=body)
        answered = time.monotonic()
        try:
            assert (switch["engaged"], switch["by"]) == (True, by)
            eventually(many.refused, within_s=10, what="holders are refused")
            eventually(
                lambda: many.told()[-1]["asked"] > answered + 1, within_s=10, what="a second has passed"
            )
            assert many.granted_after(answered) == []
            last = max(each["answered"] for each in many.told() if each["granted"])
            assert last - answered < 1, "what was being made has ended by then"
            listed = company.ask(by, "GET", "/kill-switches")["items"]
            assert {"scope": scope, "subject": subject}.items() <= {
                key: value for each in listed if each["scope"] == scope for key, value in each.items()
            }.items()
            if scope != "global":
                company.ask("ann", "POST", "/kill-switches/release", 403, json=body)
        finally:
            company.ask("olive", "POST", "/kill-switches/release", json=body)
        released = time.monotonic()
        eventually(lambda: many.granted_after(released), within_s=10, what="they hold again")
    company.ask("olive", "POST", "/kill-switches/release", 404, json=body)


def test_one_command_stops_an_agent_in_an_emergency(company: Company) -> None:
    agent, account = company.deployed()
    stopped = company.service.gaelp("kill", "agent", str(agent))
    assert (stopped.returncode, "is stopped" in stopped.stdout) == (0, True), stopped.stderr
    refused = company.bank.ask(a_hold(f"late {agent}", account, currency=CURRENCY))
    assert getattr(refused, "code", None) == "halted"
    assert "emergency" in company.service.gaelp("kill", "list").stdout
    released = company.service.gaelp("kill", "release", "agent", str(agent), "--reason", "looked at")
    assert released.returncode == 0, released.stderr


def test_the_books_are_made_to_say_what_a_platform_says(company: Company) -> None:
    bank, platform = company.bank, f"platform-{next(_NAMES)}"
    account = bank.open()
    order = f"order {time.time_ns()}"
    bank.submit([a_hold(order, account, amount=50, ttl=timedelta(days=1)), a_post(order, 30)])
    report = {"order_key": order, "number": 1, "campaign": "spring", "currency": "EUR", "cost_micros": 40}
    report |= {"final": True, "reported_at": bank.now.isoformat()}
    path = f"/platforms/{platform}"
    company.ask("ann", "POST", f"{path}/reports", 403, json={"reports": [report]})
    for new in (1, 0):
        received = company.ask("olive", "POST", f"{path}/reports", json={"reports": [report, report]})
        assert received == {"received": 2, "new": new}
    day = timedelta(days=1)
    period = {"since": (bank.now - day).isoformat(), "until": (bank.now + day).isoformat()}
    for user in ("olive", "audrey"):
        (found,) = company.ask(user, "GET", f"{path}/differences", params=period)["items"]
        assert (found["kind"], found["order_key"], found["difference_micros"]) == ("differs", order, 10)
    company.ask("audrey", "POST", f"{path}/reconcile", 403, json=period)
    (booked,) = company.ask("olive", "POST", f"{path}/reconcile", json=period)["items"]
    assert (booked["operation"], booked["amount_micros"], booked["code"]) == ("correct", 10, None)
    assert company.ask("olive", "POST", f"{path}/reconcile", json=period)["items"] == []
    assert company.ask("olive", "GET", f"{path}/differences", params=period)["items"] == []


def test_every_change_is_in_the_audit_and_in_the_report(company: Company) -> None:
    agent = company.service.agent(company.people["ann"])["id"]
    since = datetime.now(UTC)
    company.ask("ann", "PATCH", f"/agents/{agent}", json={"status": "paused"})
    company.ask("ann", "PUT", f"/holds/agent/{agent}", json={"reason": "month end"})
    company.ask("ann", "GET", "/audit", 403)
    found = company.ask("audrey", "GET", "/audit", params={"subject": f"agent {agent}"})["items"]
    assert [(each["actor"], each["action"]) for each in found] == [
        ("ann", "agent.register"),
        ("ann", "agent.change"),
    ]
    assert (found[1]["before"], found[1]["after"]) == ({"status": "active"}, {"status": "paused"})
    page = company.ask("audrey", "GET", "/audit", params={"actor": "ann", "limit": 1})
    second = company.ask("audrey", "GET", "/audit", params={"actor": "ann", "cursor": page["next_cursor"]})
    assert second["items"][0]["seq"] > page["items"][0]["seq"]

    period = {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()}
    whole = company.ask("audrey", "GET", "/compliance", params=period)
    expected = ["agent.change", "hold.place"]
    assert [row["what"] for row in whole["changes"] if row["actor"] == "ann"] == expected
    answer = company.people["audrey"].get("/compliance", params=period | {"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["what"] for row in rows if row["actor"] == "ann"] == expected
    company.ask("ann", "GET", "/compliance", 403, params=period)
    printed = company.service.gaelp("audit", "list", "--subject", f"agent {agent}", "--json")
    assert [each["action"] for each in json.loads(printed.stdout)["items"]] == [
        "agent.register",
        "agent.change",
    ]


def test_a_record_that_was_edited_behind_the_service_is_found(company: Company) -> None:
    proof = company.ask("audrey", "GET", "/audit/verify")
    assert (proof["holds"], proof["breaks"]) == (True, [])
    anchor = f"{proof['seq']}:{proof['hash']}"
    edited = "UPDATE audit_records SET actor = :actor WHERE seq = :seq"

    def edit(actor: str) -> None:
        with company.store.engine.begin() as tx:
            tx.execute(text("SET LOCAL session_replication_role = replica"))
            tx.execute(text(edited), {"actor": actor, "seq": proof["seq"]})

    last = company.ask("audrey", "GET", "/audit", params={"after": proof["seq"] - 1, "limit": 1})
    edit("nobody")
    try:
        found = company.ask("audrey", "GET", "/audit/verify", params={"anchor": anchor})
        broken = [(each["seq"], each["kind"]) for each in found["breaks"]]
        assert (found["holds"], broken) == (False, [(proof["seq"], "edited")])
    finally:
        edit(last["items"][0]["actor"])
    assert company.ask("audrey", "GET", "/audit/verify", params={"anchor": anchor})["holds"]
    lost = f"{proof['seq']}:{'0' * 64}"
    assert not company.ask("audrey", "GET", "/audit/verify", params={"anchor": lost})["holds"]
    company.ask("audrey", "GET", "/audit/verify", 422, params={"anchor": "1"})
    company.ask("ann", "GET", "/audit/verify", 403)


def test_what_alerts_ask_for_is_exported(service: Service) -> None:
    """Those of rare events are not there before the first one."""
    alerts = (ROOT / "cluster/prometheus/gaelp-rules.yaml").read_text()
    asked = {name for name in re.findall(r"ray_gaelp_\w+", alerts) if not name.endswith("_total")}

    def missing() -> set[str]:
        text = httpx.get(f"http://127.0.0.1:{service.metrics_port}/metrics", timeout=10).text
        return asked - set(re.findall(r"^(\w+)\{", text, re.MULTILINE))

    eventually(lambda: not missing(), within_s=40, what="every metric of an alert is exported")


BAD: dict[str, tuple[str, str, Json, str]] = {
    "a float of micros": (
        "POST",
        "/policies/p",
        {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 1.5}]},
        "rules[0].max_micros",
    ),
    "an unknown rule": ("POST", "/policies/p", {"rules": [{"rule": "luck"}]}, "rules[0].rule"),
    "a policy without rules": ("POST", "/policies/p", {"rules": []}, "1 to 100 rules"),
    "a place that is none": ("PUT", "/policies/p/attachments", {"scope": "type", "subject": "x"}, "subject"),
    "a switch of everything with a name": (
        "POST",
        "/kill-switches",
        {"scope": "global", "subject": "x", "reason": "r"},
        "subject",
    ),
    "a switch without a reason": ("POST", "/kill-switches", {"scope": "global"}, "reason"),
    "an approval of less than nothing": (
        "POST",
        "/approvals",
        {"purpose": "spend", "subject": "agent 1", "reason": "r", "amount_micros": -1, "currency": "EUR"},
        "amount_micros",
    ),
    "an approval for ever": (
        "POST",
        "/approvals",
        {"purpose": "spend", "subject": "agent 1", "reason": "r", "ttl_seconds": 1e9},
        "ttl_seconds",
    ),
    "a cost of less than nothing": (
        "POST",
        "/platforms/p/reports",
        {
            "reports": [
                {
                    "order_key": "o",
                    "number": 1,
                    "campaign": "c",
                    "currency": "EUR",
                    "cost_micros": -1,
                    "reported_at": "2026-01-01T00:00:00Z",
                }
            ]
        },
        "cost_micros",
    ),
    "a period that ends before it begins": (
        "GET",
        "/compliance?since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z",
        {},
        "since",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_named(api: httpx.Client, case: str) -> None:
    method, path, body, named = BAD[case]
    answer = api.request(method, path, json=body or None)
    assert answer.status_code == 422, answer.text
    assert named in answer.json()["detail"]
