"""The gate for real money: review, record and hold in one transaction."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.errors import (
    Conflict,
    Forbidden,
    Halted,
    IdempotencyConflict,
    InvalidInput,
    NoLimit,
    NotFound,
)
from gaelp_ray.domain.ledger import Hold, Money, Receipt, Scope
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach, Attachment, Policy
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip, Deny, Halt
from gaelp_ray.domain.switches import SwitchScope, Target
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import agents, approvals, audit, policies, reviews, roles, switches
from gaelp_ray.services.reviews import Admission, Reported
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_hold, a_post, a_void, name
from tests.builders import ADMIN, ANN, BOB, T0, an_agent, at_once

DAY = timedelta(days=1)


class Desk(Bank):
    """A bank at which one agent of real money asks for its actions."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        new = replace(an_agent(), type=AgentType.REAL_DEPLOYMENT)
        self.agent = store.transact(agents.register, new, currency="USD", by=ANN, now=T0).id
        self.account = self.open(
            {Period.DAY: 1000}, scope=Scope.AGENT, subject=str(self.agent), money=Money.REAL
        )

    def rule(self, *rules: dict[str, Any], to: Attachment | None = None, policy: str = "safe") -> Policy:
        document = {"currency": "EUR", "rules": list(rules)}
        self.store.transact(policies.write, policy, document, by=ADMIN, now=self.now)
        place = to or Attachment(Attach.AGENT, str(self.agent))
        return self.store.transact(policies.attach, policy, None, place, by=ADMIN, now=self.now)

    def action(self, amount: Any = 100, **fields: Any) -> Action:
        return Action(agent_id=self.agent, currency="EUR", amount_micros=amount, **fields)

    def admit(self, key: str, action: Action | None = None, **reported: Any) -> Admission:
        hold = a_hold(key, self.account, amount=1)
        return self.admit_hold(hold, action or self.action(), **reported)

    def admit_hold(self, hold: Hold, action: Action, **reported: Any) -> Admission:
        facts = Reported(**reported)
        return self.store.transact(reviews.admit, action, hold, reported=facts, now=self.now)

    def violations(self) -> list[tuple[str, str]]:
        found = self.store.read(reviews.violations, by=ANN, agent_id=self.agent, limit=99)
        return [(str(each.severity), each.code) for each in found]


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


def test_an_action_that_keeps_every_rule_gets_its_money(desk: Desk) -> None:
    desk.rule({"rule": "spend_cap", "period": "day", "max_micros": 150})
    first = desk.admit("first")
    assert (first.action, isinstance(first.outcome, Receipt)) == (desk.action(), True)
    second = desk.admit("second")
    assert isinstance(second.verdict, Deny)
    assert (second.action, second.outcome) == (None, None)
    assert desk.used(desk.account) == (100, 0)
    assert desk.violations() == [("deny", "spend_cap")]


def test_a_clipped_action_is_held_as_it_was_cut(desk: Desk) -> None:
    desk.rule({"rule": "action_cap", "max_micros": 60}, {"rule": "bid_cap", "max_micros": 5})
    admitted = desk.admit("h", desk.action(bid_micros=9))
    assert admitted.action == desk.action(60, bid_micros=5)
    assert desk.used(desk.account) == (60, 0)
    assert desk.violations() == [("clip", "action_cap"), ("clip", "bid_cap")]


def test_the_margin_of_a_hold_stays_within_the_cap(desk: Desk) -> None:
    desk.rule({"rule": "spend_cap", "period": "day", "max_micros": 100, "on_breach": "clip"})
    admitted = desk.admit_hold(a_hold("h", desk.account, margin_micros=30), desk.action())
    assert admitted.action == desk.action(70)
    assert desk.used(desk.account) == (100, 0)


def test_what_returned_may_be_spent_again(desk: Desk) -> None:
    desk.rule({"rule": "spend_cap", "period": "day", "max_micros": 150})
    desk.admit("first")
    desk.ask(a_post("first", 30))
    assert desk.admit("second").action is not None
    desk.ask(a_void("second"))
    assert desk.admit("third").action is not None
    assert desk.admit("fourth").action is None


def test_pace_is_measured_in_the_last_two_hours(desk: Desk) -> None:
    desk.rule({"rule": "acceleration", "max_percent": 200, "floor_micros": 100})
    assert desk.admit("first", desk.action(200)).action is not None
    assert desk.admit("too fast", desk.action(1)).action is None
    desk.wait(timedelta(minutes=61))
    assert desk.admit("twice", desk.action(400)).action is not None
    assert desk.admit("more", desk.action(1)).action is None


def test_the_same_key_gets_the_same_answer(desk: Desk) -> None:
    desk.rule({"rule": "spend_cap", "period": "day", "max_micros": 100, "on_breach": "clip"})
    asked = {"cut": desk.action(130), "denied": desk.action(1)}
    first = {key: desk.admit(key, action) for key, action in asked.items()}
    assert isinstance(first["cut"].verdict, Clip)
    assert isinstance(first["denied"].verdict, Deny)
    assert {key: desk.admit(key, action) for key, action in asked.items()} == first
    assert desk.used(desk.account) == (100, 0)
    with pytest.raises(IdempotencyConflict):
        desk.admit("cut", desk.action(131))
    assert len(desk.violations()) == 2


def test_budgets_are_asked_after_policies(desk: Desk) -> None:
    admitted = desk.admit("h", desk.action(1001))
    assert admitted.verdict == Allow(desk.action(1001))
    assert (admitted.action, name(admitted.outcome)) == (None, "budget_exceeded")  # type: ignore[arg-type]


def test_a_halt_stops_the_agent_until_somebody_releases_it(desk: Desk) -> None:
    desk.rule({"rule": "drawdown", "max_micros": 50})
    assert desk.admit("fine", profit_micros=0, peak_profit_micros=49).action is not None
    halted = desk.admit("lost", profit_micros=0, peak_profit_micros=50)
    assert isinstance(halted.verdict, Halt)
    with pytest.raises(Halted, match="best profit"):
        desk.admit("again", profit_micros=0, peak_profit_micros=0)
    assert name(desk.ask(a_hold("past the gate", desk.account))) == "halted"
    target = Target(SwitchScope.AGENT, str(desk.agent))
    desk.store.transact(switches.release, target, reason="looked at", by=ADMIN, now=desk.now)
    assert desk.admit("after", profit_micros=0, peak_profit_micros=0).action is not None
    moves = [
        (each.record.actor, each.record.action)
        for each in desk.store.read(audit.page, by=ADMIN, subject=str(target), limit=9)
    ]
    assert ("system", "switch.engage") in moves
    assert ("root", "switch.release") in moves


@pytest.mark.parametrize("amount", [math.nan, math.inf, -1, 0, 1.0, 10**30])
def test_what_is_no_amount_is_refused_and_recorded(desk: Desk, amount: Any) -> None:
    admitted = desk.admit("h", desk.action(amount))
    assert isinstance(admitted.verdict, Deny)
    assert desk.violations() == [("deny", "malformed")]
    assert desk.used(desk.account) == (0, 0)


def test_the_hold_must_name_the_agents_own_real_money(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="real money of agent"):
        desk.admit_hold(a_hold("h", desk.open()), desk.action())
    team = desk.open({Period.DAY: 50}, money=Money.REAL)
    admitted = desk.admit_hold(a_hold("both", desk.account, team), desk.action())
    assert name(admitted.outcome) == "budget_exceeded"  # type: ignore[arg-type]
    assert desk.used(desk.account) == (0, 0)


def test_actions_at_the_same_moment_share_one_cap(desk: Desk) -> None:
    desk.rule({"rule": "spend_cap", "period": "hour", "max_micros": 250})
    admitted = at_once(8, lambda n: desk.admit(f"{n}"))
    assert sum(isinstance(each, Admission) and each.action is not None for each in admitted) == 2
    assert desk.used(desk.account) == (200, 0)


def test_the_policies_of_an_agent_are_its_own_its_types_and_the_global_ones(desk: Desk) -> None:
    cap = {"rule": "action_cap", "max_micros": 60}
    desk.rule(cap, policy="own")
    desk.rule(cap, policy="type", to=Attachment(Attach.TYPE, "real_deployment"))
    desk.rule(cap, policy="other", to=Attachment(Attach.TYPE, "simulation"))
    desk.rule(cap, policy="global", to=Attachment(Attach.GLOBAL))
    found = desk.store.read(policies.of_agent, desk.agent)
    assert [each.label for each in found] == ["own@1", "type@1", "global@1"]
    place = Attachment(Attach.GLOBAL)
    desk.store.transact(policies.detach, "global", place, by=ADMIN, now=desk.now)
    assert len(desk.store.read(policies.of_agent, desk.agent)) == 2
    with pytest.raises(NotFound, match="not attached"):
        desk.store.transact(policies.detach, "global", place, by=ADMIN, now=desk.now)


def test_a_version_is_attached_in_place_of_another_and_never_changes(desk: Desk) -> None:
    first = desk.rule({"rule": "action_cap", "max_micros": 60})
    second = desk.rule({"rule": "action_cap", "max_micros": 70})
    assert [first.label, second.label] == ["safe@1", "safe@2"]
    assert desk.store.read(policies.of_agent, desk.agent) == [second]
    assert desk.store.read(policies.get, "safe", 1) == first
    back = Attachment(Attach.AGENT, str(desk.agent))
    desk.store.transact(policies.attach, "safe", 1, back, by=ADMIN, now=desk.now)
    assert desk.store.read(policies.of_agent, desk.agent) == [first]
    found = [each.record for each in desk.store.read(audit.page, by=ADMIN, limit=99)]
    written = [(r.action, r.subject) for r in found if r.action.startswith("policy")]
    place = f"agent {desk.agent}"
    assert written == [
        ("policy.write", "policy safe@1"), ("policy.attach", place),
        ("policy.write", "policy safe@2"), ("policy.attach", place), ("policy.attach", place),
    ]  # fmt: skip
    assert json.loads(found[-1].after or "")["policy"] == "safe@1"


def test_policies_are_for_operators(desk: Desk) -> None:
    document = {"rules": [{"rule": "regions", "allowed": ["DE"]}]}
    for use_case, arguments in (
        (policies.write, ("p", document)),
        (policies.attach, ("p", None, Attachment(Attach.GLOBAL))),
        (policies.detach, ("p", Attachment(Attach.GLOBAL))),
    ):
        with pytest.raises(Forbidden, match="operator"):
            desk.store.transact(use_case, *arguments, by=ANN, now=desk.now)  # type: ignore[arg-type]
    with pytest.raises(NotFound, match="no policy"):
        desk.rule_missing = desk.store.read(policies.get, "p")  # type: ignore[attr-defined]
    with pytest.raises(Forbidden):
        desk.store.read(reviews.violations, by=ANN, limit=9)
    with pytest.raises(NotFound):
        desk.store.read(reviews.violations, by=BOB, agent_id=desk.agent, limit=9)


def test_a_dry_run_shows_what_a_policy_would_have_done(desk: Desk) -> None:
    for number in range(3):
        desk.admit(f"{number}", desk.action(100, region="DE", categories=("sport",)))
        desk.wait(timedelta(minutes=1))
    tried = desk.rule(
        {"rule": "spend_cap", "period": "day", "max_micros": 200},
        {"rule": "categories", "allowed": ["sport"]},
        to=Attachment(Attach.TYPE, "research"),
    )
    period = {"since": T0 - DAY, "until": T0 + DAY, "by": ANN}
    replayed = desk.store.read(policies.dry_run, desk.agent, tried, **period)
    assert [type(each.verdict) for each in replayed] == [Allow, Allow, Deny]
    assert desk.violations() == []
    with pytest.raises(NotFound):
        desk.store.read(policies.dry_run, desk.agent, tried, **period | {"by": BOB})


def test_a_dry_run_of_too_much_history_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "MAX_HISTORY", 2)
    policy = desk.rule({"rule": "action_cap", "max_micros": 60})
    period: dict[str, Any] = {"since": T0, "until": T0 + DAY, "by": ANN}

    def tried() -> int:
        return len(desk.store.read(policies.dry_run, desk.agent, policy, **period))

    for number in range(2):
        desk.admit(f"{number}")
    assert tried() == 2
    desk.admit("one more")
    with pytest.raises(InvalidInput, match="choose a shorter"):
        tried()


def test_violations_are_counted_for_alerts(desk: Desk) -> None:
    desk.rule({"rule": "action_cap", "max_micros": 60})
    desk.admit("old")
    desk.wait(2 * DAY)
    desk.admit("new")
    desk.admit("newer")
    found = desk.store.read(reviews.violation_counts, since=T0 + DAY)
    assert found == {("clip", "action_cap"): 2}


def approver(desk: Desk, user: str) -> Principal:
    desk.store.transact(roles.grant, user, Role.APPROVER, by=ADMIN, now=desk.now)
    return Principal(user)


def approved(desk: Desk, amount: int, *, needed: int = 2) -> int:
    new = NewApproval(
        purpose=Purpose.SPEND, subject=f"agent {desk.agent}", amount_micros=amount, currency="EUR",
        reason="spring", ttl=DAY, needed=needed,
    )  # fmt: skip
    asked = desk.store.transact(approvals.request, new, by=ANN, now=desk.now)
    for user in ("bob", "cat")[:needed]:
        by = approver(desk, user)
        desk.store.transact(approvals.vote, asked.id, approves=True, reason="ok", by=by, now=desk.now)
    return asked.id


def test_a_large_action_needs_two_people_each_time(desk: Desk) -> None:
    desk.rule({"rule": "approval_above", "amount_micros": 50})
    assert desk.admit("small", desk.action(50)).action is not None
    assert desk.admit("large").action is None
    approved(desk, 99)
    assert desk.admit("more than was approved").action is None
    approved(desk, 100, needed=1)
    assert desk.admit("one person is not enough").action is None
    approval = approved(desk, 150)
    assert desk.admit("approved").action is not None
    found = desk.store.read(approvals.get, approval, now=desk.now)
    assert (str(found.state), found.used_for) == ("used", "approved")
    assert desk.admit("a second time").action is None
    assert desk.admit("approved").action is not None, "the same key is the same action"


def test_an_approval_that_expired_is_none(desk: Desk) -> None:
    desk.rule({"rule": "approval_above", "amount_micros": 50})
    approval = approved(desk, 100)
    desk.wait(DAY)
    assert desk.admit("late").action is None
    assert str(desk.store.read(approvals.get, approval, now=desk.now).state) == "expired"
    assert desk.store.transact(approvals.expire_due, now=desk.now) == 1
    assert desk.store.transact(approvals.expire_due, now=desk.now) == 0


def test_votes_at_the_same_moment_are_all_counted(desk: Desk) -> None:
    new = NewApproval(purpose=Purpose.PROMOTION, subject="version 1", reason="r", ttl=DAY, needed=4)
    asked = desk.store.transact(approvals.request, new, by=ANN, now=desk.now)
    voters = [approver(desk, f"voter {n}") for n in range(4)]

    def vote(number: int) -> Any:
        given = {"approves": True, "reason": "ok", "by": voters[number], "now": desk.now}
        return desk.store.transact(approvals.vote, asked.id, **given)

    at_once(4, vote)
    found = desk.store.read(approvals.get, asked.id, now=desk.now)
    assert (str(found.state), len(found.votes)) == ("approved", 4)
    page = desk.store.read(approvals.page, purpose=Purpose.PROMOTION, now=desk.now, limit=9)
    assert page == [found]
    assert desk.store.transact(audit.verify).holds


def test_a_request_may_be_withdrawn(desk: Desk) -> None:
    new = NewApproval(purpose=Purpose.PROMOTION, subject="version 1", reason="r", ttl=DAY)
    asked = desk.store.transact(approvals.request, new, by=ANN, now=desk.now)
    withdrawn = desk.store.transact(approvals.withdraw, asked.id, by=ANN, now=desk.now)
    assert str(withdrawn.state) == "withdrawn"
    with pytest.raises(NotFound):
        desk.store.transact(approvals.withdraw, 99, by=ANN, now=desk.now)
    with pytest.raises(NotFound):
        desk.store.read(approvals.get, 99, now=desk.now)


def test_a_campaign_without_a_budget_is_stopped_by_its_name(desk: Desk) -> None:
    spring = Target(SwitchScope.CAMPAIGN, "spring")
    desk.store.transact(switches.engage, spring, reason="a test", by=ADMIN, now=desk.now)
    with pytest.raises(Halted, match="campaign spring"):
        desk.admit("one", desk.action(campaign="spring"))
    assert desk.admit("two", desk.action(campaign="autumn")).action is not None
    desk.store.transact(switches.release, spring, reason="done", by=ADMIN, now=desk.now)
    assert desk.admit("one", desk.action(campaign="spring")).action is not None


GROWTH = {"rule": "acceleration", "max_percent": 100, "floor_micros": 20}
#: A policy, what is held on top of 9, and the verdict.
MARGINS: dict[str, tuple[dict[str, Any], int, type]] = {
    "an action within the cap": ({"rule": "action_cap", "max_micros": 20, "on_breach": "deny"}, 11, Allow),
    "an action past the cap": ({"rule": "action_cap", "max_micros": 20, "on_breach": "deny"}, 12, Deny),
    "a window within the cap": ({"rule": "spend_cap", "period": "day", "max_micros": 20}, 11, Allow),
    "a window past the cap": ({"rule": "spend_cap", "period": "day", "max_micros": 20}, 12, Deny),
    "an hour within the cap": ({"rule": "velocity", "max_micros_per_hour": 20}, 11, Allow),
    "an hour past the cap": ({"rule": "velocity", "max_micros_per_hour": 20}, 12, Deny),
    "an hour that grows": (GROWTH, 11, Allow),
    "an hour that grows too fast": (GROWTH, 12, Deny),
    "what needs no approval": ({"rule": "approval_above", "amount_micros": 20}, 11, Allow),
    "what needs an approval": ({"rule": "approval_above", "amount_micros": 20}, 12, Deny),
}  # fmt: skip


@pytest.mark.parametrize("case", MARGINS)
def test_the_whole_that_may_be_spent_is_judged(desk: Desk, case: str) -> None:
    rule, margin, verdict = MARGINS[case]
    desk.rule(rule)
    admitted = desk.admit_hold(a_hold("h", desk.account, margin_micros=margin), desk.action(9))
    assert isinstance(admitted.verdict, verdict)
    assert desk.used(desk.account) == ((9 + margin, 0) if verdict is Allow else (0, 0))


def test_a_margin_is_no_way_to_spend_without_approval(desk: Desk) -> None:
    desk.rule({"rule": "approval_above", "amount_micros": 10}, {"rule": "action_cap", "max_micros": 20})
    hold = a_hold("h", desk.account, margin_micros=500)
    admitted = desk.admit_hold(hold, desk.action(9))
    assert isinstance(admitted.verdict, Deny)
    assert {code for _, code in desk.violations()} == {"approval_required", "action_cap"}
    approved(desk, 508)
    assert desk.admit_hold(replace(hold, key="less"), desk.action(9)).action is None
    assert desk.used(desk.account) == (0, 0)


def test_an_approval_covers_the_margin(desk: Desk) -> None:
    desk.rule({"rule": "approval_above", "amount_micros": 10})
    approved(desk, 99)
    hold = a_hold("h", desk.account, margin_micros=50)
    assert desk.admit_hold(hold, desk.action(50)).action is None
    approval = approved(desk, 100)
    assert desk.admit_hold(replace(hold, key="covered"), desk.action(50)).action is not None
    assert str(desk.store.read(approvals.get, approval, now=desk.now).state) == "used"


def test_a_margin_that_leaves_nothing_of_the_action_is_denied(desk: Desk) -> None:
    desk.rule({"rule": "action_cap", "max_micros": 60})
    clipped = desk.admit_hold(a_hold("h", desk.account, margin_micros=59), desk.action(100))
    assert clipped.action == desk.action(1)
    denied = desk.admit_hold(a_hold("i", desk.account, margin_micros=60), desk.action(100))
    assert isinstance(denied.verdict, Deny)
    assert desk.used(desk.account) == (60, 0)


def test_a_dry_run_counts_margins_too(desk: Desk) -> None:
    for key in ("a", "b"):
        desk.admit_hold(a_hold(key, desk.account, margin_micros=50), desk.action(50))
    tried = desk.rule(
        {"rule": "spend_cap", "period": "day", "max_micros": 199}, to=Attachment(Attach.TYPE, "research")
    )
    period = {"since": T0 - DAY, "until": T0 + DAY, "by": ANN}
    replayed = desk.store.read(policies.dry_run, desk.agent, tried, **period)
    assert [type(each.verdict) for each in replayed] == [Allow, Deny]


#: Why the ledger or a rule refuses what two people approved.
REFUSED: dict[str, Any] = {
    "over the limit": lambda desk: desk.limit(desk.account, Period.DAY, 99),
    "over the limit of the owner": lambda desk: desk.limit(desk.everybody, Period.DAY, 99),
    "without a limit": lambda desk: desk.limit(desk.account, Period.DAY, None),
    "under a kill switch": lambda desk: desk.store.transact(
        switches.engage, Target(SwitchScope.AGENT, str(desk.agent)), reason="r", by=ADMIN, now=desk.now
    ),
    "against another rule": lambda desk: desk.rule({"rule": "regions", "allowed": ["DE"]}, policy="fence"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_uses_up_no_approval(desk: Desk, case: str) -> None:
    desk.everybody = desk.open(  # type: ignore[attr-defined]
        {Period.DAY: 1000}, scope=Scope.GLOBAL, subject="", money=Money.REAL
    )
    desk.rule({"rule": "approval_above", "amount_micros": 50})
    approval = approved(desk, 100)
    REFUSED[case](desk)
    hold = a_hold("h", desk.account, desk.everybody)  # type: ignore[attr-defined]
    try:
        admitted = desk.admit_hold(hold, desk.action())
    except Conflict:
        admitted = None
    assert admitted is None or admitted.action is None
    assert str(desk.store.read(approvals.get, approval, now=desk.now).state) == "approved"
    assert desk.used(desk.account) == (0, 0)


def test_an_approval_that_a_refused_hold_left_is_used_by_the_next(desk: Desk) -> None:
    desk.rule({"rule": "approval_above", "amount_micros": 50})
    approval = approved(desk, 100)
    desk.limit(desk.account, Period.DAY, 99)
    assert desk.admit("first").action is None
    assert desk.admit("first").action is None, "asked again it is refused again"
    desk.limit(desk.account, Period.DAY, 1000)
    assert desk.admit("second").action is not None
    found = desk.store.read(approvals.get, approval, now=desk.now)
    assert (str(found.state), found.used_for) == ("used", "second")


def test_a_spend_is_approved_by_votes_that_count_when_it_happens(desk: Desk) -> None:
    desk.rule({"rule": "approval_above", "amount_micros": 50})
    approved(desk, 100)
    desk.store.transact(roles.revoke, "bob", Role.APPROVER, by=ADMIN, now=desk.now)
    assert desk.admit("one vote is left").action is None
    desk.store.transact(roles.grant, "bob", Role.APPROVER, by=ADMIN, now=desk.now)
    assert desk.admit("both count").action is not None


def test_real_money_without_a_limit_is_not_held(desk: Desk) -> None:
    other = desk.open(scope=Scope.AGENT, subject=str(desk.agent), money=Money.REAL, currency="USD")
    action = Action(agent_id=desk.agent, currency="USD", amount_micros=10**12)
    hold = a_hold("h", other, currency="USD")
    with pytest.raises(NoLimit, match="no limit, so it holds no real money") as refused:
        desk.admit_hold(hold, action)
    assert (refused.value.code, refused.value.details["account_id"]) == ("no_limit", other)
    assert desk.used(other) == (0, 0)
    desk.limit(other, Period.HOUR, 10**12)
    assert desk.admit_hold(hold, action).action == action, "a refusal is not remembered under its key"
