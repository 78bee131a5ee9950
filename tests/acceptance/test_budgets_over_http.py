"""Budgets over HTTP: what is held, spent and refused, by whom, and that it adds up."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest

from gaelp_ray.cli import database
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.switches import SwitchScope, Target
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import audit, policies, promotions, switches
from gaelp_ray.store.engine import Store
from tests import evidence
from tests.service import Service, eventually

Json = dict[str, Any]

UNIT = 1_000_000
_NAMES = itertools.count(1)


def unique(word: str) -> str:
    return f"{word}-{os.getpid()}-{time.time_ns()}-{next(_NAMES)}"


class Till:
    """A budget, and somebody who books on it."""

    def __init__(self, api: httpx.Client, budget: Json) -> None:
        self.api = api
        self.id = budget["id"]

    def send(self, path: str, **body: Any) -> httpx.Response:
        return self.api.post(f"/budgets/{self.id}{path}", json=body)

    def key(self, name: str) -> str:
        """A user's keys are his everywhere, so each budget gets its own."""
        return f"{self.id}/{name}"

    def hold(self, name: str, amount: int = UNIT, **fields: Any) -> httpx.Response:
        return self.send("/holds", key=self.key(name), amount_micros=amount, **fields)

    def resolve(self, name: str, verb: str, **body: Any) -> httpx.Response:
        return self.send(f"/holds/{self.key(name)}/{verb}", **body)

    def usage(self, period: str = "total") -> Json:
        found = self.api.get(f"/budgets/{self.id}").json()["usages"]
        return next(usage for usage in found if usage["period"] == period)

    def used(self, period: str = "total") -> tuple[int, int]:
        usage = self.usage(period)
        return usage["pending_micros"], usage["posted_micros"]


@pytest.fixture
def till(api: httpx.Client) -> Callable[..., Till]:
    """Opens the budget of a campaign; an admin books on it."""

    def make(*, by: httpx.Client = api, **fields: Any) -> Till:
        body = {"scope": "campaign", "subject": unique("campaign"), "money": "simulated"} | fields
        answer = by.post("/budgets", json=body)
        assert answer.status_code == 201, answer.text
        return Till(by, answer.json())

    return make


@pytest.fixture
def user(service: Service) -> Iterator[Callable[[], tuple[str, httpx.Client]]]:
    """Makes users with connections of their own."""
    with ExitStack() as stack:

        def make() -> tuple[str, httpx.Client]:
            name = unique("user")
            return name, stack.enter_context(service.client(service.token(name)))

        yield make


@pytest.fixture
def books(service: Service) -> Iterator[Store]:
    """The database of the service, for what has no address of its own here."""
    opened = Store(database.start(service.home), pool_size=4)
    yield opened
    opened.close()


def code(answer: httpx.Response) -> tuple[int, str | None]:
    assert answer.headers["content-type"].startswith(("application/json", "application/problem+json"))
    return answer.status_code, answer.json().get("code")


def test_money_is_held_posted_and_returned(till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 10 * UNIT, "day": 20 * UNIT})

    receipt = spring.hold("a", 6 * UNIT, margin_micros=UNIT).json()
    assert (receipt["key"], receipt["hold_key"]) == (spring.key("a"),) * 2
    assert receipt["amount_micros"] == 7 * UNIT
    assert spring.used() == spring.used("day") == (7 * UNIT, 0)
    assert spring.resolve("a", "post", amount_micros=4 * UNIT).json()["amount_micros"] == 4 * UNIT
    assert spring.used() == (0, 4 * UNIT)

    spring.hold("b", 6 * UNIT)
    assert spring.resolve("b", "void").json()["amount_micros"] == 6 * UNIT
    spring.hold("c", UNIT)
    assert spring.resolve("c", "settle", spent_micros=3 * UNIT).json()["amount_micros"] == 3 * UNIT
    assert spring.usage()["remaining_micros"] == 3 * UNIT
    assert spring.api.get(f"/budgets/{spring.id}/holds/{spring.key('c')}").json()["state"] == "posted"


def test_what_is_over_a_limit_is_refused_with_the_numbers(till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 10 * UNIT})
    spring.hold("a", 8 * UNIT)

    answer = spring.hold("b", 3 * UNIT)

    told = answer.json()
    assert (answer.status_code, told["code"], told["account_id"]) == (402, "budget_exceeded", spring.id)
    assert (told["limit_micros"], told["pending_micros"]) == (10 * UNIT, 8 * UNIT)
    assert (told["asked_micros"], told["period"]) == (3 * UNIT, "total")
    assert "campaign" in told["detail"]


def test_a_campaign_binds_what_is_spent_for_it(
    till: Callable[..., Till], service: Service, user: Callable[[], tuple[str, httpx.Client]]
) -> None:
    ann_name, ann = user()
    spring = till(limits_micros={"total": 10 * UNIT}, subject=unique("spring"))
    name = spring.api.get(f"/budgets/{spring.id}").json()["subject"]
    agent = service.agent(ann)
    own = Till(ann, ann.get("/budgets", params={"scope": "agent"}).json()["items"][0])
    assert own.api.get(f"/budgets/{own.id}").json()["subject"] == str(agent["id"])

    assert code(own.hold("no member", 7 * UNIT, campaign=name)) == (403, "forbidden")
    assert code(own.send("/spends", key=own.key("s"), amount_micros=UNIT, campaign=name))[0] == 403
    assert (spring.used(), own.used()) == ((0, 0), (0, 0)), "what is refused changes nothing"
    members = f"/budgets/{spring.id}/members"
    assert code(ann.put(f"{members}/{ann_name}")) == (403, "forbidden")
    assert spring.api.put(f"{members}/{ann_name}").status_code == 204
    assert [each["user"] for each in spring.api.get(members).json()["items"]] == [ann_name]

    assert own.hold("a", 7 * UNIT, campaign=name).status_code == 201
    refused = own.hold("b", 4 * UNIT, campaign=name)

    assert (code(refused), refused.json()["account_id"]) == ((402, "budget_exceeded"), spring.id)
    assert own.hold("c", 4 * UNIT).status_code == 201
    assert (spring.used(), own.used()) == ((7 * UNIT, 0), (11 * UNIT, 0))


#: name: (path, body, status, code)
BAD: dict[str, tuple[str, str, int, str]] = {
    "NaN": ("/holds", '{"key":"x","amount_micros":NaN}', 422, "invalid_input"),
    "infinity": ("/holds", '{"key":"x","amount_micros":Infinity}', 422, "invalid_input"),
    "less than nothing": ("/holds", '{"key":"x","amount_micros":-1}', 422, "invalid_input"),
    "nothing": ("/holds", '{"key":"x","amount_micros":0}', 422, "invalid_input"),
    "10**30": ("/holds", f'{{"key":"x","amount_micros":{10**30}}}', 422, "invalid_input"),
    "1e999": ("/holds", '{"key":"x","amount_micros":1e999}', 422, "invalid_input"),
    "a float": ("/holds", '{"key":"x","amount_micros":2.5}', 422, "invalid_input"),
    "a float without a fraction": ("/holds", '{"key":"x","amount_micros":2.0}', 422, "invalid_input"),
    "a text": ("/spends", '{"key":"x","amount_micros":"2"}', 422, "invalid_input"),
    "an amount in units": ("/holds", '{"key":"x","amount":2.5}', 422, "invalid_input"),
    "a huge margin": (
        "/holds",
        f'{{"key":"x","amount_micros":1,"margin_micros":{2**63 - 1}}}',
        422,
        "invalid_input",
    ),
    "another currency": (
        "/holds",
        '{"key":"mixed","amount_micros":1,"currency":"XAU"}',
        422,
        "mixed_currencies",
    ),
    "no currency": ("/holds", '{"key":"x","amount_micros":1,"currency":"euro"}', 422, "invalid_input"),
    "no key": ("/holds", '{"key":"","amount_micros":1}', 422, "invalid_input"),
    "a key with a line break": ("/holds", '{"key":"a\\nb","amount_micros":1}', 422, "invalid_input"),
    "a year of holding": (
        "/holds",
        '{"key":"x","amount_micros":1,"ttl_seconds":31536000}',
        422,
        "invalid_input",
    ),
    "a spend of tomorrow": (
        "/spends",
        '{"key":"tomorrow","amount_micros":1,"occurred_at":"2999-01-01T00:00:00Z"}',
        422,
        "invalid_input",
    ),
    "an action of play money": ("/holds", '{"key":"x","amount_micros":1,"action":{}}', 422, "invalid_input"),
    "a hold that is not there": ("/holds/nowhere/post", "{}", 404, "not_found"),
    "a hold of no possible key": ("/holds/a%00b/post", "{}", 422, "invalid_input"),
    "a campaign with NUL": (
        "/holds",
        '{"key":"x","amount_micros":1,"campaign":"a\\u0000"}',
        422,
        "invalid_input",
    ),
    "an empty batch": ("/operations", '{"operations":[]}', 422, "invalid_input"),
    "a correction without a reason": (
        "/corrections",
        '{"key":"x","delta_micros":1,"counted_at":"2025-01-01T00:00:00Z","reason":""}',
        422,
        "invalid_input",
    ),
}


@pytest.fixture(scope="module")
def bad_till(service: Service) -> Iterator[Till]:
    with service.client() as api:
        body = {"scope": "campaign", "subject": unique("bad"), "money": "simulated"}
        yield Till(api, api.post("/budgets", json=body).json())


@pytest.mark.parametrize("case", BAD)
def test_nothing_is_booked_for(bad_till: Till, case: str) -> None:
    path, body, status, expected = BAD[case]

    answer = bad_till.api.post(f"/budgets/{bad_till.id}{path}", content=body)

    assert code(answer) == (status, expected), answer.text
    assert answer.json()["detail"]
    assert bad_till.used() == (0, 0)


def test_a_hold_is_resolved_once(till: Callable[..., Till]) -> None:
    spring = till()
    for key in ("posted", "voided", "small"):
        spring.hold(key, 5 * UNIT)
    assert code(spring.resolve("small", "post", amount_micros=6 * UNIT)) == (409, "exceeds_hold")
    spring.resolve("posted", "post", amount_micros=2 * UNIT)
    spring.resolve("voided", "void")

    again = spring.resolve("posted", "post", amount_micros=2 * UNIT)
    assert (again.status_code, again.json()["amount_micros"]) == (200, 2 * UNIT), "the same answer again"
    assert code(spring.resolve("posted", "post", amount_micros=UNIT)) == (409, "already_posted")
    assert code(spring.resolve("posted", "void")) == (409, "already_posted")
    assert code(spring.resolve("voided", "post")) == (409, "already_voided")
    assert spring.resolve("small", "post", amount_micros=5 * UNIT).status_code == 200
    assert spring.used() == (0, 7 * UNIT)


def test_the_same_key_is_the_same_operation(till: Callable[..., Till], api: httpx.Client) -> None:
    spring = till(limits_micros={"total": 10 * UNIT})
    first = spring.hold("k", 4 * UNIT)

    assert spring.hold("k", 4 * UNIT).json() == first.json()
    assert code(spring.hold("k", 5 * UNIT)) == (409, "idempotency_conflict")
    elsewhere = till().send("/holds", key=spring.key("k"), amount_micros=4 * UNIT)
    assert code(elsewhere) == (409, "idempotency_conflict")
    refused = spring.hold("much", 11 * UNIT)
    api.put(f"/budgets/{spring.id}/limits/total", json={"limit_micros": 100 * UNIT})
    assert spring.hold("much", 11 * UNIT).json() == refused.json(), "what failed stays failed"
    assert spring.used() == (4 * UNIT, 0)


def test_the_key_of_one_user_is_not_that_of_another(
    service: Service, user: Callable[[], tuple[str, httpx.Client]]
) -> None:
    for _ in range(2):
        _, ann = user()
        service.agent(ann)
        own = Till(ann, ann.get("/budgets", params={"scope": "agent"}).json()["items"][0])
        assert own.send("/holds", key="the same", amount_micros=1).status_code == 201


def test_a_hold_that_nobody_resolves_expires(till: Callable[..., Till]) -> None:
    spring = till()
    spring.hold("plain", 3 * UNIT, ttl_seconds=0.2)
    spring.hold("lease", 4 * UNIT, ttl_seconds=0.2, at_expiry="spend")

    eventually(lambda: spring.used() == (0, 4 * UNIT), within_s=10, what="the holds expire")

    assert code(spring.resolve("plain", "post")) == (409, "hold_expired")
    assert code(spring.resolve("lease", "void")) == (409, "hold_expired")
    spring.resolve("lease", "settle", spent_micros=UNIT)
    assert spring.used() == (0, UNIT)


def test_a_spender_that_runs_for_long_renews(till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 10 * UNIT})
    spring.hold("1", 6 * UNIT)

    second = {"key": spring.key("2"), "spent_micros": 5 * UNIT, "amount_micros": 5 * UNIT}
    renewed = spring.resolve("1", "renew", **second)
    assert renewed.status_code == 201
    assert renewed.json()["settled"]["amount_micros"] == 5 * UNIT
    assert renewed.json()["hold"]["hold_key"] == spring.key("2")
    third = {"key": spring.key("3"), "spent_micros": 4 * UNIT, "amount_micros": 2 * UNIT}
    refused = spring.resolve("2", "renew", **third)

    assert (code(refused), refused.json()["settled_micros"]) == ((402, "budget_exceeded"), 4 * UNIT)
    assert spring.used() == (0, 9 * UNIT)


def test_a_budget_that_closed_takes_no_new_holds(till: Callable[..., Till]) -> None:
    closes = datetime.now(UTC) + timedelta(seconds=0.5)
    spring = till(closes_at=closes.isoformat())
    assert spring.hold("before").status_code == 201

    eventually(lambda: datetime.now(UTC) > closes)

    assert code(spring.hold("after")) == (409, "account_closed")
    assert spring.resolve("before", "post").status_code == 200


def test_a_limit_may_be_lower_than_what_is_used(till: Callable[..., Till], api: httpx.Client) -> None:
    spring = till(limits_micros={"total": 10 * UNIT})
    spring.hold("a", 8 * UNIT)

    usage = api.put(f"/budgets/{spring.id}/limits/total", json={"limit_micros": 5 * UNIT}).json()

    assert (usage["over"], usage["remaining_micros"], usage["pending_micros"]) == (True, 0, 8 * UNIT)
    assert code(spring.hold("b", 1)) == (402, "budget_exceeded")
    assert spring.resolve("a", "post").status_code == 200
    lifted = api.put(f"/budgets/{spring.id}/limits/total", json={"limit_micros": None}).json()
    assert lifted["remaining_micros"] is None
    assert spring.hold("c", 100 * UNIT).status_code == 201


def test_what_was_spent_is_recorded_past_a_limit_and_alerts(till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 10 * UNIT})

    first = spring.send("/spends", key=spring.key("s"), amount_micros=6 * UNIT).json()
    second = spring.send("/spends", key=spring.key("t"), amount_micros=6 * UNIT).json()

    assert (first["breached"], second["breached"]) == (False, True)
    assert spring.usage()["over"]
    alerts = spring.api.get(f"/budgets/{spring.id}/alerts").json()["items"]
    assert [alert["percent"] for alert in alerts] == [50, 80, 95, 100]
    correction = {"counted_at": datetime.now(UTC).isoformat(), "reason": "counted twice"}
    spring.send("/corrections", key=spring.key("c"), delta_micros=-6 * UNIT, **correction)
    assert spring.used() == (0, 6 * UNIT)


def test_two_callers_at_once_never_pass_a_limit(service: Service, till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 40})

    def caller(number: int) -> list[int]:
        with service.client() as mine:
            own = Till(mine, {"id": spring.id})
            return [own.hold(f"{number}/{n}", 1).status_code for n in range(40)]

    with ThreadPoolExecutor(4) as pool:
        statuses = list(itertools.chain.from_iterable(pool.map(caller, range(4))))

    assert statuses.count(201) == 40
    assert statuses.count(402) == 120
    assert spring.used() == (40, 0)


def test_operations_are_answered_each_by_itself(till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 100})
    operations: list[Json] = [
        {"operation": "hold", "key": spring.key(f"{n}"), "amount_micros": 1} for n in range(200)
    ]
    answers = spring.send("/operations", operations=operations).json()["items"]
    assert [answer["status"] for answer in answers] == [201] * 100 + [402] * 100
    assert answers[100]["problem"]["code"] == "budget_exceeded"

    more = [
        {"operation": "post", "hold_key": spring.key("0")},
        {"operation": "void", "hold_key": spring.key("1")},
        {"operation": "settle", "hold_key": spring.key("2"), "spent_micros": 3},
        {"operation": "hold", "key": spring.key("fits not"), "amount_micros": 1},
        {"operation": "post", "hold_key": spring.key("fits not")},
        {"operation": "void", "hold_key": spring.key("nowhere")},
    ]
    answers = spring.send("/operations", operations=more).json()["items"]
    assert [answer["status"] for answer in answers] == [200, 200, 200, 402, 404, 404]
    assert spring.used() == (97, 4)


def test_a_statement_adds_up_as_json_and_as_csv(till: Callable[..., Till]) -> None:
    spring = till()
    for n in range(5):
        spring.hold(f"{n}", 5 * UNIT)
    for n in range(3):
        spring.resolve(f"{n}", "post", amount_micros=n * UNIT + 1)
    spring.resolve("3", "void")
    address = f"/budgets/{spring.id}/statement"

    page = spring.api.get(address, params={"limit": 4}).json()
    lines = list(page["items"])
    while page["next_cursor"]:
        page = spring.api.get(address, params={"limit": 4, "cursor": page["next_cursor"]}).json()
        lines += page["items"]
    answer = spring.api.get(address, params={"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))

    assert answer.headers["content-type"].startswith("text/csv")
    assert [int(row["id"]) for row in rows] == [line["id"] for line in lines]
    pending, posted = (sum(int(row[f"{kind}_micros"]) for row in rows) for kind in ("pending", "posted"))
    assert (pending, posted) == spring.used() == (5 * UNIT, 3 * UNIT + 3)
    last = rows[-1]
    assert (int(last["balance_pending_micros"]), int(last["balance_posted_micros"])) == (pending, posted)
    assert {row["hold_key"] for row in rows} == {spring.key(f"{n}") for n in range(5)}
    middle = lines[4]["at"]
    balance = spring.api.get(f"/budgets/{spring.id}/balance", params={"at": middle}).json()
    assert (balance["pending_micros"], balance["posted_micros"]) == (
        lines[4]["balance_pending_micros"],
        lines[4]["balance_posted_micros"],
    )


def test_budgets_are_for_those_they_belong_to(
    service: Service, api: httpx.Client, user: Callable[[], tuple[str, httpx.Client]]
) -> None:
    (ann_name, ann), (_, bob) = user(), user()
    agent = service.agent(ann)
    body = {"scope": "agent", "subject": str(agent["id"]), "money": "simulated", "limits_micros": {"day": 5}}
    own = Till(ann, ann.post("/budgets", json=body).json())
    users = api.post("/budgets", json={"scope": "user", "subject": ann_name, "money": "real"}).json()["id"]

    assert own.usage("day")["limit_micros"] == 5
    assert code(bob.post("/budgets", json=body)) == (403, "forbidden")
    assert code(bob.get(f"/budgets/{own.id}")) == (404, "not_found")
    assert code(bob.post(f"/budgets/{own.id}/holds", json={"key": "k", "amount_micros": 1}))[0] == 404
    assert code(bob.get(f"/budgets/{own.id}/statement"))[0] == 404
    assert ann.get(f"/budgets/{users}").status_code == 200
    assert code(ann.post(f"/budgets/{users}/spends", json={"key": "k", "amount_micros": 1}))[0] == 403
    assert code(ann.put(f"/budgets/{users}/limits/day", json={"limit_micros": 1})) == (403, "forbidden")
    assert code(ann.get("/budgets/alerts")) == (403, "forbidden")
    assert bob.get("/budgets").json()["items"] == []


def promote(books: Store, agent_id: int, version_id: int, owner: str) -> None:
    now = datetime.now(UTC)
    evidence.record(books, agent_id, version_id, by=Principal(owner), now=now)
    approve(books, Purpose.PROMOTION, f"version {version_id}")
    books.transact(promotions.promote, version_id, by=SYSTEM, now=now)


def approve(books: Store, purpose: Purpose, subject: str, **amount: Any) -> None:
    now = datetime.now(UTC)
    new = NewApproval(purpose=purpose, subject=subject, reason="a test", ttl=timedelta(hours=1), **amount)
    voters = tuple(Principal(unique("votes")) for _ in range(2))
    evidence.approved(books, new, now=now, asks=Principal(unique("asks")), voters=voters)


def test_real_money_of_an_agent_passes_the_gate(
    service: Service, books: Store, user: Callable[[], tuple[str, httpx.Client]]
) -> None:
    ann_name, ann = user()
    agent = service.agent(ann, type="real_deployment", budget_limit=100.0)
    listed = ann.get("/budgets", params={"scope": "agent", "money": "real"}).json()["items"]
    own = Till(ann, listed[0])
    assert code(own.hold("too early")) == (409, "not_eligible")

    version = books.read(lambda c: c.exec_driver_sql(
        f"SELECT current_version_id FROM agents WHERE id = {agent['id']}").scalar_one())  # fmt: skip
    promote(books, agent["id"], version, ann_name)
    currency = ann.get(f"/budgets/{own.id}").json()["currency"]
    document = {
        "currency": currency,
        "rules": [
            {"rule": "bid_cap", "max_micros": UNIT},
            {"rule": "regions", "allowed": ["DE"]},
            {"rule": "drawdown", "max_micros": UNIT},
        ],
    }
    name, place = unique("policy"), Attachment(Attach.AGENT, str(agent["id"]))
    books.transact(policies.write, name, document, by=SYSTEM, now=datetime.now(UTC))
    books.transact(policies.attach, name, None, place, by=SYSTEM, now=datetime.now(UTC))
    fine = {"profit_micros": 0, "peak_profit_micros": 0}
    there = {"bid_micros": 2 * UNIT, "region": "DE"}

    clipped = own.hold("a", 5 * UNIT, action=there, reported=fine)
    denied = own.hold("b", 5 * UNIT, action=there | {"region": "FR"}, reported=fine)
    assert (clipped.status_code, clipped.json()["action"]["verdict"]) == (201, "clip"), clipped.text
    assert clipped.json()["action"]["bid_micros"] == UNIT
    assert own.hold("a", 5 * UNIT, action=there, reported=fine).json() == clipped.json()
    assert code(denied) == (403, "denied")
    assert "regions" in [reason["code"] for reason in denied.json()["reasons"]]
    assert code(own.hold("c", 96 * UNIT, action=there, reported=fine)) == (402, "budget_exceeded")
    assert code(own.resolve("a", "settle", spent_micros=6 * UNIT)) == (403, "forbidden")
    assert code(own.send("/spends", key=own.key("s"), amount_micros=UNIT)) == (403, "forbidden")
    assert own.resolve("a", "settle", spent_micros=2 * UNIT).status_code == 200
    batch = own.send("/operations", operations=[{"operation": "hold", "key": "d", "amount_micros": 1}])
    assert batch.json()["items"][0]["status"] == 422

    lost = own.hold("e", UNIT, action=there, reported={"profit_micros": 0, "peak_profit_micros": UNIT})
    assert code(lost) == (409, "halted")
    assert code(own.hold("f", UNIT, action=there, reported=fine)) == (409, "halted")
    assert own.used() == (0, 2 * UNIT)


def test_raising_a_limit_of_real_money_takes_an_approval(
    service: Service, books: Store, user: Callable[[], tuple[str, httpx.Client]]
) -> None:
    _, ann = user()
    agent = service.agent(ann, type="real_deployment", budget_limit=10.0)
    [budget] = ann.get("/budgets", params={"scope": "agent", "money": "real"}).json()["items"]
    address = f"/budgets/{budget['id']}/limits/total"

    assert code(ann.put(address, json={"limit_micros": 20 * UNIT})) == (409, "not_eligible")
    assert code(ann.patch(f"/agents/{agent['id']}", json={"budget_limit": 20.0})) == (409, "not_eligible")
    refused = ann.put(address, json={"limit_micros": 20 * UNIT}).json()
    asked = {key: refused[key] for key in ("purpose", "subject", "period", "amount_micros", "currency")}
    assert ann.post("/approvals", json=asked | {"reason": "spring"}).status_code == 201, "as it says"
    older = {key: asked[key] for key in asked if key != "period"} | {"reason": "spring"}
    assert "`period`" in ann.post("/approvals", json=older).json()["detail"]
    approved = {"amount_micros": 20 * UNIT, "currency": budget["currency"]}
    approve(books, Purpose.LIMIT, f"account {budget['id']}", **approved, period=Period.DAY)
    assert code(ann.put(address, json={"limit_micros": 20 * UNIT})) == (409, "not_eligible")
    approve(books, Purpose.LIMIT, f"account {budget['id']}", **approved, period=Period.TOTAL)

    assert ann.put(address, json={"limit_micros": 20 * UNIT}).json()["limit_micros"] == 20 * UNIT
    assert ann.get(f"/agents/{agent['id']}").json()["budget_limit"] == 20.0
    assert ann.patch(f"/agents/{agent['id']}", json={"budget_limit": 5.0}).status_code == 200


def test_a_kill_switch_stops_new_holds_and_nothing_else(books: Store, till: Callable[..., Till]) -> None:
    spring = till(subject=unique("stopped"))
    target = Target(SwitchScope.CAMPAIGN, spring.api.get(f"/budgets/{spring.id}").json()["subject"])
    spring.hold("before")
    moved = {"by": SYSTEM, "now": datetime.now(UTC)}
    books.transact(switches.engage, target, reason="a test", **moved)

    assert code(spring.hold("after")) == (409, "halted")
    assert spring.resolve("before", "post").status_code == 200
    books.transact(switches.release, target, reason="tested", **moved)
    eventually(lambda: spring.hold(unique("again")).status_code == 201, within_s=5)


def test_a_request_is_known_by_its_id_in_the_answer_and_in_the_audit(
    books: Store, api: httpx.Client, till: Callable[..., Till]
) -> None:
    spring = till()
    trace = unique("trace")

    answer = api.put(
        f"/budgets/{spring.id}/limits/day", json={"limit_micros": 5}, headers={"X-Request-Id": trace}
    )
    other = api.put(f"/budgets/{spring.id}/limits/day", json={"limit_micros": 6})

    made = other.headers.get_list("x-request-id")
    assert answer.headers.get_list("x-request-id") == [trace]
    assert len(made) == 1
    subject = f"account {spring.id}"
    records = [each.record for each in books.read(audit.page, by=SYSTEM, subject=subject, limit=9)]
    assert [record.request_id for record in records][-2:] == [trace, *made]
    assert json.loads(records[-1].after or "") == {"day": 6}


def test_without_a_database_nothing_is_spent(service: Service, till: Callable[..., Till]) -> None:
    spring = till(limits_micros={"total": 10 * UNIT})
    spring.hold("before", 2 * UNIT)
    service.database("stop")
    try:
        for ask in (
            partial(spring.hold, "during"),
            partial(spring.resolve, "before", "post"),
            partial(spring.send, "/spends", key=spring.key("s"), amount_micros=1),
            partial(
                spring.send,
                "/operations",
                operations=[{"operation": "void", "hold_key": spring.key("before")}],
            ),
        ):
            answer = ask()
            assert code(answer) == (503, "unavailable"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
    finally:
        service.database("start")

    # Each process finds out by itself that its connections were cut; others use this service after us.
    limit = {"limit_micros": 10 * UNIT}
    eventually(
        lambda: all(
            spring.api.put(f"/budgets/{spring.id}/limits/total", json=limit).is_success for _ in range(20)
        ),
        within_s=20,
        what="every replica writes again",
    )
    eventually(lambda: spring.api.get("/status").json()["scheduler"]["leading"], within_s=30)
    assert spring.used() == (2 * UNIT, 0)
    eventually(lambda: spring.hold("during").status_code == 201, within_s=10)
    assert spring.resolve("before", "post").status_code == 200
