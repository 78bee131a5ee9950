"""What is asked of the guards for a caller, and how he is answered."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgi import Http
from ray.exceptions import RayActorError, RayTaskError

from gaelp_ray.domain import cursors
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import (
    BudgetExceeded,
    Forbidden,
    GaelpError,
    InvalidInput,
    NotEligible,
    Unavailable,
)
from gaelp_ray.domain.ledger import (
    Account,
    AtExpiry,
    Correct,
    Entry,
    HeldMoney,
    Hold,
    HoldState,
    Line,
    Money,
    Operation,
    Outcome,
    Post,
    Receipt,
    Request,
    Scope,
    Settle,
    Spend,
    Void,
    operation,
)
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip, Deny, Halt, Reason, Severity
from gaelp_ray.domain.windows import ALWAYS
from gaelp_ray.services import budgets as service
from gaelp_ray.services import ledger, statements
from gaelp_ray.services.budgets import Ask, Purse
from gaelp_ray.services.reviews import Admission, Reported
from serve_app import auth
from serve_app import context as contexts
from serve_app.app import create_app
from serve_app.context import ApiContext
from tests.bank import an_account
from tests.builders import T0

ANN = {"Authorization": "Bearer ann"}
REASON = Reason("bid_cap", "A bid of 3 is above 1.", Severity.CLIP, "safe@1", 1)


def done(request: Request) -> Outcome:
    """A receipt for whatever is asked."""
    hold_key = request.key if isinstance(request, Hold) else getattr(request, "hold_key", None)
    amount = request.held_micros if isinstance(request, Hold) else 1
    return Receipt(request.key, operation(request), amount, T0, hold_key)


class Replica:
    """An API replica in front of a guard that is a function; budget 7 is bound by 3."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[Request] = []
        self.admitted: list[tuple[Action, Hold, Reported]] = []
        self.holds: dict[str, HeldMoney] = {}
        self.account = an_account(7)
        self.refusal: GaelpError | None = None
        self.operators = {"root", "olive"}
        #: Campaigns that are not the caller's to charge.
        self.closed: set[str] = set()
        self.outcome: Callable[[Request], Outcome] = done
        self.admission: Callable[[Action, Hold], Admission] = lambda action, hold: Admission(
            Allow(action), done(hold)
        )
        context = SimpleNamespace(
            purses=SimpleNamespace(get=self._purse),
            holds=SimpleNamespace(get=self._hold),
            book=self._book,
            admit=self._admit,
            read=self._read,
        )
        monkeypatch.setattr(contexts, "_context", context)
        monkeypatch.setattr(auth, "authenticate", lambda user: Principal(user, admin=user == "root"))
        monkeypatch.setattr(
            service, "holds", lambda _, keys: {k: self.holds[k] for k in keys & set(self.holds)}
        )
        monkeypatch.setattr(service, "require_eligible", self._require_eligible)
        monkeypatch.setattr(service, "visible", lambda *_a, **_k: self.account)
        monkeypatch.setattr(service, "purse_again", self._purse_again)
        #: Keys that were answered before.
        self.answered: set[str] = set()
        monkeypatch.setattr(ledger, "answered", lambda _, keys: frozenset(self.answered & set(keys)))
        monkeypatch.setattr(ledger, "carried_out", lambda _, keys: frozenset(self.answered & set(keys)))
        self.ineligible: GaelpError | None = None
        self.http = Http(create_app(body_limit_bytes=100_000))

    def held(self, key: str, *, on: Sequence[int] = (3, 7), state: HoldState = HoldState.PENDING) -> None:
        self.holds[key] = HeldMoney(
            key, tuple(on), "EUR", 5, 0, AtExpiry.RETURN, None, T0, T0 + timedelta(60), state
        )

    def send(self, method: str, path: str, body: Any = None, *, by: str = "ann") -> Any:
        headers = {"Authorization": f"Bearer {by}"}
        return self.http.request(method, f"/api/v1/budgets{path}", json=body, headers=headers)

    async def _purse(self, ask: Ask) -> Purse | GaelpError:
        if ask.campaign in self.closed:
            return Forbidden("You are no member of that campaign.")
        return self.refusal or Purse(
            self.account, (3, 7), operates=ask.by.user in self.operators, own_ids=(7,), campaign=ask.campaign
        )

    def _purse_again(self, _: Any, ask: Ask) -> Purse:
        return Purse(self.account, (3, 7), own_ids=(7,), campaign=ask.campaign, again=True)

    async def _hold(self, key: str) -> HeldMoney | None:
        return self.holds.get(key)

    async def _book(self, requests: Sequence[Request], account_ids: Iterable[int]) -> list[Outcome]:
        assert min(account_ids) in {3, 7}
        self.asked.extend(requests)
        return [self.outcome(request) for request in requests]

    async def _admit(self, action: Action, hold: Hold, reported: Reported, by: Principal) -> Admission:
        self.admitted.append((action, hold, reported))
        return self.admission(action, hold)

    async def _read(self, query: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return query(None, *args, **kwargs)

    def _require_eligible(self, _connection: Any, _account: Account, key: str) -> None:
        if self.ineligible is not None and key not in self.answered:
            raise self.ineligible


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Replica:
    return Replica(monkeypatch)


@pytest.fixture
def real(api: Replica) -> Replica:
    """Budget 7 is real money of agent 9."""
    api.account = an_account(7, scope=Scope.AGENT, subject="9", money=Money.REAL)
    return api


def test_a_hold_is_asked_of_the_guard_under_the_callers_name(api: Replica) -> None:
    answer = api.send("POST", "/7/holds", {"key": "k", "amount_micros": 5, "margin_micros": 1})

    [asked] = api.asked
    assert isinstance(asked, Hold)
    assert (asked.key, asked.account_ids, asked.held_micros) == ("user ann k", (3, 7), 6)
    assert answer.status_code == 201
    assert (answer.json()["key"], answer.json()["hold_key"], answer.json()["action"]) == ("k", "k", None)


def test_a_refusal_is_a_problem_with_its_numbers(api: Replica) -> None:
    api.outcome = lambda _: BudgetExceeded("Too much.", account_id=3, limit_micros=9, asked_micros=10)

    answer = api.send("POST", "/7/holds", {"key": "k", "amount_micros": 10})

    told = answer.json()
    assert (answer.status_code, told["code"], told["account_id"]) == (402, "budget_exceeded", 3)
    assert (told["limit_micros"], told["asked_micros"]) == (9, 10)


def test_who_may_not_book_asks_no_guard(api: Replica) -> None:
    api.refusal = Forbidden("You may see it.")

    for path, body in (
        ("/7/holds", {"key": "k", "amount_micros": 5}),
        ("/7/holds/k/void", None),
        ("/7/spends", {"key": "k", "amount_micros": 5}),
        ("/7/operations", {"operations": [{"operation": "void", "hold_key": "k"}]}),
    ):
        assert api.send("POST", path, body).status_code == 403, path
    assert api.asked == []


RESOLVED: dict[str, tuple[str, Any, Request]] = {
    "posted": (
        "post",
        {"amount_micros": 4},
        Post(key="post user ann a/b 4", hold_key="user ann a/b", amount_micros=4),
    ),
    "posted in full": ("post", None, Post(key="post user ann a/b all", hold_key="user ann a/b")),
    "given back": ("void", None, Void(key="void user ann a/b all", hold_key="user ann a/b")),
    "settled": (
        "settle",
        {"spent_micros": 0},
        Settle(key="settle user ann a/b 0", hold_key="user ann a/b", spent_micros=0),
    ),
}


@pytest.mark.parametrize("case", RESOLVED)
def test_a_hold_is(api: Replica, case: str) -> None:
    verb, body, request = RESOLVED[case]
    api.held("user ann a/b")

    answer = api.send("POST", f"/7/holds/a%2Fb/{verb}", body)

    assert answer.status_code == 200, answer.text
    assert api.asked == [request]
    assert answer.json()["hold_key"] == "a/b"


def test_a_hold_is_found_by_its_full_key_as_well(api: Replica) -> None:
    api.held("job 4 lease")

    assert api.send("GET", "/7/holds/job%204%20lease").json()["key"] == "job 4 lease"
    assert api.send("POST", "/7/holds/job%204%20lease/void").status_code == 200


@pytest.mark.parametrize("on", [None, (3, 8)], ids=["nowhere", "on another budget"])
def test_a_hold_that_is_not_on_the_budget_burns_no_key(api: Replica, on: Sequence[int] | None) -> None:
    if on is not None:
        api.held("user ann k", on=on)

    answer = api.send("POST", "/7/holds/k/post")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert api.asked == []


def test_a_renewal_settles_and_holds_in_one_step(api: Replica) -> None:
    api.held("user ann k")

    answer = api.send("POST", "/7/holds/k/renew", {"key": "k2", "spent_micros": 3, "amount_micros": 5})

    settle, hold = api.asked
    assert isinstance(settle, Settle)
    assert isinstance(hold, Hold)
    assert (settle.hold_key, settle.spent_micros, hold.follows) == ("user ann k", 3, settle.key)
    assert answer.status_code == 201
    assert (answer.json()["settled"]["hold_key"], answer.json()["hold"]["hold_key"]) == ("k", "k2")


def test_a_renewal_whose_hold_is_refused_says_what_was_settled(api: Replica) -> None:
    api.held("user ann k")
    api.outcome = lambda r: BudgetExceeded("Too much.") if isinstance(r, Hold) else done(r)

    answer = api.send("POST", "/7/holds/k/renew", {"key": "k2", "spent_micros": 1, "amount_micros": 5})

    assert (answer.status_code, answer.json()["settled_micros"]) == (402, 1)


def test_corrections_are_for_admins(api: Replica) -> None:
    body = {"key": "c", "delta_micros": -5, "counted_at": T0.isoformat(), "reason": "typo"}

    assert api.send("POST", "/7/corrections", body).status_code == 403
    assert api.asked == []
    assert api.send("POST", "/7/corrections", body, by="root").status_code == 201
    assert api.asked[0].key == "user root c"


def test_operations_are_carried_out_in_order_and_answered_each_by_itself(api: Replica) -> None:
    api.held("user ann old")
    api.held("user ann elsewhere", on=(3, 8))
    api.outcome = lambda r: BudgetExceeded("Too much.") if r.key == "user ann big" else done(r)
    operations = [
        {"operation": "hold", "key": "new", "amount_micros": 5},
        {"operation": "post", "hold_key": "new"},
        {"operation": "void", "hold_key": "old"},
        {"operation": "settle", "hold_key": "missing", "spent_micros": 1},
        {"operation": "void", "hold_key": "elsewhere"},
        {"operation": "void", "hold_key": "a\x01b"},
        {"operation": "hold", "key": "big", "amount_micros": 500},
        {"operation": "spend", "key": "s", "amount_micros": 0},
        {"operation": "spend", "key": "s", "amount_micros": 1},
    ]

    answer = api.send("POST", "/7/operations", {"operations": operations})

    items = answer.json()["items"]
    assert answer.status_code == 200, answer.text
    assert [each["status"] for each in items] == [201, 200, 200, 404, 404, 404, 402, 422, 201]
    assert [request.key for request in api.asked] == [
        "user ann new", "post user ann new all", "void user ann old all", "user ann big", "user ann s",
    ]  # fmt: skip
    assert items[6]["problem"]["code"] == "budget_exceeded"
    assert (items[0]["receipt"]["hold_key"], items[0]["problem"]) == ("new", None)


def test_operations_that_are_all_refused_ask_no_guard(api: Replica) -> None:
    operations = [{"operation": "void", "hold_key": "missing"}]

    [item] = api.send("POST", "/7/operations", {"operations": operations}).json()["items"]

    assert (item["status"], api.asked) == (404, [])


def test_real_money_of_an_agent_goes_through_the_gate(real: Replica) -> None:
    body = {
        "key": "k", "amount_micros": 5, "campaign": "spring",
        "action": {"bid_micros": 3, "region": "DE", "categories": ["sport"]},
        "reported": {"profit_micros": -1, "series": {"ctr": [0.5]}},
    }  # fmt: skip

    answer = real.send("POST", "/7/holds", body)

    [(action, hold, reported)] = real.admitted
    assert action == Action(
        agent_id=9, currency="EUR", amount_micros=5, bid_micros=3, campaign="spring", region="DE",
        categories=("sport",),
    )  # fmt: skip
    assert (hold.key, hold.account_ids, hold.amount_micros) == ("user ann k", (3, 7), 5)
    assert reported == Reported(-1, None, {"ctr": (0.5,)})
    assert answer.status_code == 201
    assert (answer.json()["action"]["verdict"], answer.json()["action"]["reasons"]) == ("allow", [])
    assert real.asked == []


def test_a_clipped_action_says_what_may_be_done(real: Replica) -> None:
    smaller = Action(agent_id=9, currency="EUR", amount_micros=2, bid_micros=1)
    real.admission = lambda _action, hold: Admission(Clip(smaller, (REASON,)), done(hold))

    told = real.send("POST", "/7/holds", {"key": "k", "amount_micros": 5}).json()["action"]

    reasons = [{"code": "bid_cap", "message": REASON.message, "policy": "safe@1"}]
    assert told == {"verdict": "clip", "amount_micros": 2, "bid_micros": 1, "reasons": reasons}


@pytest.mark.parametrize(("verdict", "status", "code"), [(Deny, 403, "denied"), (Halt, 409, "halted")])
def test_an_action_that_is_not_to_happen_is_refused_with_the_reasons(
    real: Replica, verdict: type[Deny] | type[Halt], status: int, code: str
) -> None:
    real.admission = lambda *_: Admission(verdict((REASON,)))

    answer = real.send("POST", "/7/holds", {"key": "k", "amount_micros": 5})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"] == REASON.message
    assert answer.json()["reasons"][0]["policy"] == "safe@1"


def test_an_allowed_action_without_money_is_over_budget(real: Replica) -> None:
    real.admission = lambda action, _hold: Admission(Allow(action), BudgetExceeded("Too much."))

    assert real.send("POST", "/7/holds", {"key": "k", "amount_micros": 5}).status_code == 402


def test_a_version_that_was_not_promoted_spends_nothing_real(real: Replica) -> None:
    real.ineligible = NotEligible("Version 4 was not promoted.")

    answer = real.send("POST", "/7/holds", {"key": "k", "amount_micros": 5})

    assert (answer.status_code, answer.json()["code"]) == (409, "not_eligible")
    assert (real.asked, real.admitted) == ([], [])


def test_there_is_no_way_around_the_gate(real: Replica) -> None:
    real.held("user ann k")
    renewal = {"key": "k2", "spent_micros": 1, "amount_micros": 5}
    batch = {"operations": [{"operation": "hold", "key": "k", "amount_micros": 5}]}

    assert real.send("POST", "/7/holds/k/renew", renewal).status_code == 422
    [item] = real.send("POST", "/7/operations", batch).json()["items"]
    assert (item["status"], item["problem"]["code"]) == (422, "invalid_input")
    assert real.asked == []


#: Whose money it is, who asks for what, and the status of the answer.
CHARGES: dict[str, tuple[bool, str, str, Any, int]] = {
    "an owner records real money": (True, "ann", "/7/spends", {"key": "s", "amount_micros": 5}, 403),
    "an operator records real money": (True, "olive", "/7/spends", {"key": "s", "amount_micros": 5}, 201),
    "an owner settles real money": (True, "ann", "/7/holds/k/settle", {"spent_micros": 5}, 200),
    "an owner settles real money past the hold": (
        True, "ann", "/7/holds/k/settle", {"spent_micros": 6}, 403,
    ),
    "an operator settles past the hold": (True, "olive", "/7/holds/k/settle", {"spent_micros": 6}, 200),
    "an owner settles late": (True, "ann", "/7/holds/late/settle", {"spent_micros": 1}, 403),
    "an operator settles late": (True, "olive", "/7/holds/late/settle", {"spent_micros": 1}, 200),
    "an owner records play money": (False, "ann", "/7/spends", {"key": "s", "amount_micros": 5}, 201),
    "an owner records play money for a campaign": (
        False, "ann", "/7/spends", {"key": "s", "amount_micros": 5, "campaign": "spring"}, 403,
    ),
    "an owner settles play money that others share past the hold": (
        False, "ann", "/7/holds/k/settle", {"spent_micros": 6}, 403,
    ),
    "an owner settles play money that others share": (
        False, "ann", "/7/holds/k/settle", {"spent_micros": 5}, 200,
    ),
    "an owner settles their own play money past the hold": (
        False, "ann", "/7/holds/own/settle", {"spent_micros": 6}, 200,
    ),
    "an owner renews play money past the hold": (
        False, "ann", "/7/holds/k/renew", {"key": "k2", "spent_micros": 6, "amount_micros": 1}, 403,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHARGES)
def test_shared_budgets_are_charged_by_what_was_held(api: Replica, real: Replica, case: str) -> None:
    is_real, by, path, body, status = CHARGES[case]
    if not is_real:
        api.account = an_account(7, scope=Scope.AGENT, subject="9")
    api.held(f"user {by} k")
    api.held(f"user {by} own", on=(7,))
    api.held(f"user {by} late", state=HoldState.EXPIRED)

    answer = api.send("POST", path, body, by=by)

    assert answer.status_code == status, answer.text
    assert bool(api.asked) is (status < 400), "a refusal asks no guard"
    if status == 403:
        assert answer.json()["detail"]


def test_what_an_owner_records_counts_in_their_own_budgets_only(api: Replica) -> None:
    api.send("POST", "/7/spends", {"key": "s", "amount_micros": 5})
    api.send("POST", "/7/spends", {"key": "s", "amount_micros": 5}, by="olive")

    assert [request.account_ids for request in api.asked if isinstance(request, Spend)] == [(7,), (3, 7)]


def test_real_money_is_settled_by_its_owner_as_a_post_or_a_void(real: Replica) -> None:
    real.held("user ann k")
    real.held("user ann none")

    for key, spent in (("k", 4), ("none", 0)):
        assert real.send("POST", f"/7/holds/{key}/settle", {"spent_micros": spent}).status_code == 200

    assert [type(request) for request in real.asked] == [Post, Void], "the ledger itself refuses more"


def test_each_operation_of_a_batch_needs_the_right_by_itself(real: Replica) -> None:
    real.held("user ann k")
    real.held("user ann more")
    operations = [
        {"operation": "spend", "key": "s", "amount_micros": 1},
        {"operation": "settle", "hold_key": "more", "spent_micros": 6},
        {"operation": "settle", "hold_key": "k", "spent_micros": 5},
    ]

    items = real.send("POST", "/7/operations", {"operations": operations}).json()["items"]

    assert [each["status"] for each in items] == [403, 403, 200]
    assert [type(request) for request in real.asked] == [Post]


def test_what_a_batch_holds_is_settled_up_to_what_it_holds(api: Replica) -> None:
    operations = [
        {"operation": "hold", "key": "k", "amount_micros": 5},
        {"operation": "settle", "hold_key": "k", "spent_micros": 9},
    ]

    api.send("POST", "/7/operations", {"operations": operations})
    api.send("POST", "/7/operations", {"operations": operations}, by="olive")

    kinds = [type(request) for request in api.asked]
    assert kinds == [Hold, Post, Hold, Settle], "the ledger refuses a post of more than is held"


def test_a_campaign_that_is_not_the_callers_refuses_its_own_operations_only(api: Replica) -> None:
    api.closed = {"spring"}
    operations = [
        {"operation": "hold", "key": "a", "amount_micros": 5, "campaign": "spring"},
        {"operation": "hold", "key": "b", "amount_micros": 5},
    ]

    items = api.send("POST", "/7/operations", {"operations": operations}).json()["items"]

    assert [each["status"] for each in items] == [403, 201]
    assert [request.key for request in api.asked] == ["user ann b"]


def ask(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> Any:
    monkeypatch.setattr(contexts, "GUARD_PATIENCE_S", 0.01)
    guard = SimpleNamespace(
        submit=SimpleNamespace(remote=lambda _requests: answer()),
        admit=SimpleNamespace(remote=lambda *_: answer()),
    )
    api = ApiContext.__new__(ApiContext)
    api.actors = SimpleNamespace(guard=lambda _ids: guard)  # type: ignore[assignment]
    hold = Hold(key="k", account_ids=(7,), currency="EUR", amount_micros=5, ttl=timedelta(minutes=1))
    if answer is refusing:
        action = Action(agent_id=9, currency="EUR", amount_micros=5)
        return asyncio.run(api.admit(action, hold, Reported(), Principal("ann")))
    return asyncio.run(api.book([hold], [7]))


async def slow() -> None:
    await asyncio.Event().wait()


async def dead() -> None:
    raise RayActorError


async def unreachable() -> None:
    raise RayTaskError("submit", "", Unavailable("The database does not answer."))


async def mistaken() -> None:
    raise RayTaskError("submit", "", InvalidInput("Text may not hold NUL characters."))


async def refusing() -> GaelpError:
    return NotEligible("Not yet.")


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (slow, Unavailable, "same key"),
        (dead, Unavailable, "same key"),
        (unreachable, Unavailable, "database"),
        (mistaken, InvalidInput, "NUL"),
        (refusing, NotEligible, "Not yet"),
    ],
    ids=["is slow", "is dead", "has no database", "finds a mistake", "refuses"],
)
def test_nothing_is_granted_by_a_guard_that(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any], error: type[GaelpError], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(monkeypatch, answer)


def test_a_guard_that_answers_is_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def quick() -> list[str]:
        return ["receipt"]

    assert ask(monkeypatch, quick) == ["receipt"]


def test_a_correction_of_a_hold_is_booked_where_the_hold_is(api: Replica) -> None:
    api.held("user root k", on=(3, 7))
    body = {"key": "c", "delta_micros": -5, "reason": "typo", "hold_key": "k"}
    assert api.send("POST", "/7/corrections", body, by="root").status_code == 201
    [asked] = api.asked
    assert isinstance(asked, Correct)
    assert (asked.hold_key, asked.account_ids, asked.counted_at) == ("user root k", (3, 7), T0)
    assert api.send("POST", "/7/corrections", body | {"hold_key": "x"}, by="root").status_code == 404
    del body["hold_key"]
    refused = api.send("POST", "/7/corrections", body, by="root")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")


def test_a_hold_that_is_there_is_answered_again_though_its_agent_may_hold_no_more(real: Replica) -> None:
    body = {"key": "k", "amount_micros": 5, "action": {"bid_micros": 1}}
    real.ineligible = NotEligible("Agent 9 is paused.")
    assert real.send("POST", "/7/holds", body).status_code == 409
    real.answered.add("user ann k")
    assert real.send("POST", "/7/holds", body).status_code == 201


#: What is asked for, in days from now; from when and until when lines are shown (None: no end).
SPANS: dict[str, tuple[dict[str, float], float | None, float | None]] = {
    "nothing": ({}, -30, None),
    "an end": ({"until": -2}, -32, -2),
    "an end in the future": ({"until": 2}, -30, None),
    "a beginning": ({"since": -3}, -3, None),
    "both": ({"since": -3, "until": -1}, -3, -1),
    "both, the end in the future": ({"since": -3, "until": 1}, -3, None),
}


@pytest.mark.parametrize("case", SPANS)
def test_a_statement_shows_the_period_that_was_meant(
    api: Replica, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    asked, begin, end = SPANS[case]
    given: dict[str, Any] = {}

    def lines(_connection: None, _account: int, **found: Any) -> list[Any]:
        given.update(found)
        return []

    monkeypatch.setattr(statements, "statement", lines)
    now, day = datetime.now(UTC), timedelta(days=1)
    params = {name: (now + days * day).isoformat() for name, days in asked.items()}
    assert api.http.get("/api/v1/budgets/7/statement", params=params, headers=ANN).status_code == 200
    for name, days in (("since", begin), ("until", end)):
        if days is None:
            assert given[name] is None
        else:
            assert abs(given[name] - (now + days * day)) < timedelta(minutes=1)
    # The next page goes on after the last line, whatever was booked or has become old meanwhile.
    api.http.get(
        "/api/v1/budgets/7/statement", params=params | {"cursor": cursors.write("statement", 17)}, headers=ANN
    )
    assert given["after"] == 17
    if "since" not in asked:
        assert given["since"] == ALWAYS.starts_at


def test_a_period_that_shows_nothing_is_refused(api: Replica) -> None:
    now, day = datetime.now(UTC), timedelta(days=1)
    for since, until in ((1, None), (1, 2), (-1, -2)):
        params = {"since": (now + since * day).isoformat()}
        if until is not None:
            params["until"] = (now + until * day).isoformat()
        answer = api.http.get("/api/v1/budgets/7/statement", params=params, headers=ANN)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_text_of_users_is_no_formula_in_an_exported_statement(
    api: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry(7, Operation.CORRECT, "user ann =1+1", "user ann @x", 0, -5, T0, T0)
    monkeypatch.setattr(
        statements, "statement", lambda *_a, **_k: [Line(1, entry, 0, -5, note="-HYPERLINK()")]
    )
    answer = api.http.get("/api/v1/budgets/7/statement", params={"format": "csv"}, headers=ANN)
    [row] = csv.DictReader(io.StringIO(answer.text))
    assert (row["key"], row["hold_key"], row["note"]) == ("'=1+1", "'@x", "'-HYPERLINK()")
    assert (row["posted_micros"], row["balance_posted_micros"]) == ("-5", "-5")
