"""What attempts ask about money, on a real ledger: whose accounts, under which keys, and once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from sqlalchemy import text

from gaelp_ray.actors import loops
from gaelp_ray.actors.cashier import Cashier
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.attempts import LaunchOrder
from gaelp_ray.domain.errors import (
    BudgetExceeded,
    Conflict,
    Denied,
    ExceedsHold,
    Forbidden,
    GaelpError,
    Halted,
    IdempotencyConflict,
    InvalidInput,
    Unavailable,
)
from gaelp_ray.domain.ledger import Correct, HoldState, Money, Request, Scope, Settle
from gaelp_ray.domain.platforms import DeliveryReport, Placement
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.switches import SwitchScope, Target
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import agents, ledger, members, policies, reviews, switches
from gaelp_ray.store.engine import Store
from gaelp_ray.training.budget import Lease
from gaelp_ray.training.orders import Proposal, Ruling, Standing
from tests import evidence
from tests.bank import Bank
from tests.builders import ADMIN, ANN, T0, World, an_agent, an_order

R = TypeVar("R")
MINUTE = timedelta(minutes=1)


class Remote:
    """As a method of an actor is called."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def remote(self, *args: Any) -> Awaitable[Any]:
        async def answer() -> Any:
            return self._call(*args)

        return answer()


class Guard:
    """A budget guard without an actor around it, that may not answer at first."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: list[Any] = []
        self.outages = 0
        self.submit, self.admit = Remote(self._submit), Remote(self._admit)

    def _submit(self, requests: list[Request]) -> Any:
        self.asked.append(requests)
        self._answer()
        return self._store.transact(ledger.apply, requests, now=T0)

    def _admit(self, action: Any, hold: Any, reported: Any, by: Any) -> Any:
        self.asked.append(hold)
        try:
            self._answer()
            return self._store.transact(reviews.admit, action, hold, reported=reported, by=by, now=T0)
        except GaelpError as refused:
            return refused

    def _answer(self) -> None:
        if self.outages:
            self.outages -= 1
            raise Unavailable


class Counter(Bank):
    """A job of an agent with a budget, and the cashier that it asks."""

    def __init__(self, store: Store, kind: AgentType, money: Money, limit: int | None) -> None:
        super().__init__(store)
        self.world = World(store)
        new = replace(an_agent(str(kind), limit_micros=limit), type=kind)
        self.agent = store.transact(agents.register, new, currency="USD", by=ANN, now=T0)
        self.account = self.agent.account_id
        job = self.world.submit(self.agent, money=money)
        self.order: LaunchOrder = an_order(
            "jobs:spend",
            job_id=job.id,
            agent_id=self.agent.id,
            money=money,
            currency="USD",
            account_ids=(self.account,),
            config={"platform": {"name": "sandbox"}},
        )
        self.guard = Guard(store)
        self._cashier = Cashier([self.guard], store)

    def spend(self, amount: Any = 10, key: Any = "a", **order: Any) -> None:
        _run(self._cashier.spend(replace(self.order, **order), amount, key))

    def lend(self, *asked: Lease | Settle, **order: Any) -> list[str | None]:
        refused = _run(self._cashier.lend(replace(self.order, **order), asked))
        return [each and each.code for each in refused]

    def place(
        self, amount: Any = 10, key: str = "a", standing: Standing | None = None, **more: Any
    ) -> Ruling:
        proposal = Proposal(key=key, amount_micros=amount, **more)
        return _run(self._cashier.admit(self.order, proposal, standing or Standing()))

    def receive(self, key: str, cost: int, *, number: int = 1, final: bool = True) -> None:
        report = DeliveryReport(
            platform="sandbox",
            order_key=key,
            number=number,
            campaign="c",
            currency="USD",
            cost_micros=cost,
            final=final,
            reported_at=T0,
        )
        _run(self._cashier.receive(self.order, [report, report]))

    def placements(self) -> tuple[Placement, ...]:
        return _run(self._cashier.placements(self.order, "sandbox")).orders

    def rule(self, *rules: dict[str, Any]) -> None:
        document = {"currency": "USD", "rules": list(rules)}
        self.store.transact(policies.write, "safe", document, by=ADMIN, now=T0)
        place = Attachment(Attach.AGENT, str(self.agent.id))
        self.store.transact(policies.attach, "safe", None, place, by=ADMIN, now=T0)

    def key(self, words: str) -> str:
        return f"job {self.order.job_id} {words}"


def _run(work: Coroutine[Any, Any, R]) -> R:
    return asyncio.run(work)


@pytest.fixture
def play(store: Store) -> Counter:
    """Simulated money."""
    return Counter(store, AgentType.SIMULATION, Money.SIMULATED, 100)


@pytest.fixture
def till(store: Store) -> Counter:
    """Real money."""
    return Counter(store, AgentType.REAL_DEPLOYMENT, Money.REAL, 100)


def test_a_spend_is_booked_once_under_its_key(play: Counter) -> None:
    play.spend(10, "a")
    play.spend(10, "a")
    play.spend(15, "b")
    assert play.used(play.account) == (0, 25)
    with pytest.raises(IdempotencyConflict):
        play.spend(11, "a")


def test_past_the_limit_nothing_is_booked(play: Counter) -> None:
    play.spend(95, "a")
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match=r"more than the 0\.000005 left"):
            play.spend(6, "b")
    assert play.used(play.account) == (0, 95)
    play.spend(5, "c")


def test_words_of_the_service_in_a_key_are_a_jobs_own(play: Counter) -> None:
    play.spend(10, "a")
    play.spend(10, "post a")
    play.spend(10, "hold a")
    assert play.used(play.account) == (0, 30)


@pytest.mark.parametrize("key", ["", "a" * 121, "a\nb", None])
def test_a_key_must_be_a_short_text(play: Counter, key: Any) -> None:
    with pytest.raises(InvalidInput, match="1 to 120 printable"):
        play.spend(10, key)


@pytest.mark.parametrize("amount", [0, -1, 1.5, float("nan"), None, True, 10**30])
def test_an_amount_must_be_whole_micros(play: Counter, till: Counter, amount: Any) -> None:
    with pytest.raises(InvalidInput):
        play.spend(amount)
    with pytest.raises(InvalidInput):
        till.place(amount)


def test_a_spend_waits_for_a_ledger_that_does_not_answer(
    play: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "_FIRST_DELAY_S", 0.0)
    play.guard.outages = 3
    play.spend(10)
    assert len(play.guard.asked) == 4
    assert play.used(play.account) == (0, 10)


def test_an_order_waits_as_well(till: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_FIRST_DELAY_S", 0.0)
    till.guard.outages = 3
    till.place(10)
    assert len(till.guard.asked) == 4
    assert till.used(till.account) == (12, 0)


def test_a_spend_is_known_again_when_other_accounts_are_bound(play: Counter) -> None:
    play.spend(10)
    team = play.open(currency="USD")
    play.spend(10, account_ids=(play.account, team))
    assert (play.used(play.account), play.used(team)) == ((0, 10), (0, 0))
    with pytest.raises(IdempotencyConflict):
        play.spend(11, account_ids=(play.account, team))


def test_a_spend_under_a_kill_switch_is_refused(play: Counter) -> None:
    target = Target(SwitchScope.AGENT, str(play.agent.id))
    play.store.transact(switches.engage, target, reason="stop", by=ADMIN, now=T0)
    with pytest.raises(Halted):
        play.spend(10)
    assert play.used(play.account) == (0, 0)


def test_leases_are_kept_apart_by_their_attempts(play: Counter) -> None:
    lease = Lease(key="x 1", amount_micros=40, ttl=MINUTE)
    assert play.lend(lease) == [None]
    assert play.lend(lease, token="another") == [None]
    assert play.used(play.account) == (80, 0)
    assert play.lend(Settle(key="x end", hold_key="x 1", spent_micros=30)) == [None]
    assert play.lend(Settle(key="y end", hold_key="y 1", spent_micros=30)) == ["not_found"]
    assert play.used(play.account) == (40, 30)


def test_a_lease_that_follows_a_settlement_is_one_step_with_it(play: Counter) -> None:
    assert play.lend(Lease(key="1", amount_micros=100, ttl=MINUTE)) == [None]
    settle = Settle(key="2 before", hold_key="1", spent_micros=30)
    assert play.lend(settle, Lease(key="2", amount_micros=71, ttl=MINUTE, follows="2 before")) == [
        None,
        "budget_exceeded",
    ]
    assert play.used(play.account) == (0, 30)


def test_no_more_than_was_lent_is_settled(play: Counter) -> None:
    """What others share is charged by what was held first, whatever a job says that it spent."""
    assert play.lend(Lease(key="1", amount_micros=30, ttl=MINUTE)) == [None]
    with pytest.raises(ExceedsHold, match="31 micros are more than the 30"):
        play.lend(Settle(key="1 end", hold_key="1", spent_micros=31))
    with pytest.raises(ExceedsHold):
        play.lend(Lease(key="2", amount_micros=5, ttl=MINUTE), Settle(key="e", hold_key="2", spent_micros=6))
    assert play.used(play.account) == (30, 0)
    assert play.lend(Settle(key="1 end", hold_key="1", spent_micros=30)) == [None]


def test_each_kind_of_money_has_its_door(play: Counter, till: Counter) -> None:
    with pytest.raises(Conflict, match=r"place orders with `ctx\.orders`"):
        till.spend()
    with pytest.raises(Conflict, match=r"place orders with `ctx\.orders`"):
        till.lend(Lease(key="1", amount_micros=1, ttl=MINUTE))
    with pytest.raises(Conflict, match="submit it with `money: real`"):
        play.place()


def test_an_order_is_held_with_its_margin_until_its_last_report(till: Counter) -> None:
    ruling = till.place(50)
    assert (ruling.order_key, ruling.amount_micros) == (till.key("order a"), 50)
    assert till.used(till.account) == (58, 0)
    till.receive(ruling.order_key, 20, final=False)
    assert till.used(till.account) == (58, 0)
    till.receive(ruling.order_key, 52, number=2)
    assert till.used(till.account) == (0, 52)
    till.receive(ruling.order_key, 52, number=2)
    assert till.used(till.account) == (0, 52)


def test_an_order_asked_for_again_is_one(till: Counter) -> None:
    assert till.place(50) == till.place(50)
    assert till.used(till.account) == (58, 0)
    with pytest.raises(IdempotencyConflict):
        till.place(49)


def test_what_the_gate_refuses_is_raised_with_its_reasons(till: Counter) -> None:
    till.rule(
        {"rule": "bid_cap", "max_micros": 5, "on_breach": "deny"}, {"rule": "drawdown", "max_micros": 9}
    )
    with pytest.raises(Denied) as denied:
        till.place(10, "a", bid_micros=6, standing=Standing(profit_micros=0, peak_profit_micros=0))
    assert [each["code"] for each in denied.value.details["reasons"]] == ["bid_cap"]
    with pytest.raises(Halted, match="best profit are lost"):
        till.place(10, "b", standing=Standing(profit_micros=-9, peak_profit_micros=0))
    with pytest.raises(Halted, match="kill switch"):
        till.place(10, "c", standing=Standing(profit_micros=0, peak_profit_micros=0))
    assert till.used(till.account) == (0, 0)


def test_a_clipped_order_says_why(till: Counter) -> None:
    till.rule({"rule": "bid_cap", "max_micros": 5})
    ruling = till.place(10, bid_micros=6)
    assert ruling.bid_micros == 5
    assert ruling.reasons == ("A bid of 0.000006 is above the cap of 0.000005.",)


def test_past_the_limit_an_order_is_refused_with_what_is_left(till: Counter) -> None:
    with pytest.raises(BudgetExceeded) as refused:
        till.place(90)
    assert refused.value.details["limit_micros"] == 100
    assert till.used(till.account) == (0, 0)


def test_the_budget_of_a_campaign_binds_its_orders(till: Counter) -> None:
    spring = till.open(
        {Period.TOTAL: 30}, scope=Scope.CAMPAIGN, subject="spring", currency="USD", money=Money.REAL
    )
    with pytest.raises(Forbidden, match="no member of campaign 'spring'"):
        till.place(10, "a", campaign="spring")
    assert (till.used(spring), till.used(till.account)) == ((0, 0), (0, 0))
    till.store.transact(members.add, spring, "ann", by=ADMIN, now=T0)
    till.place(10, "a", campaign="spring")
    with pytest.raises(BudgetExceeded, match="campaign spring"):
        till.place(20, "b", campaign="spring")
    till.place(20, "c", campaign="autumn")
    assert till.used(spring) == (12, 0)


def test_a_budget_that_was_opened_meanwhile_binds_the_next_order(till: Counter) -> None:
    till.place(10, "a")
    everybody = till.open(
        {Period.TOTAL: 30}, scope=Scope.GLOBAL, subject="", currency="USD", money=Money.REAL
    )
    till.place(10, "b")
    assert till.used(everybody) == (12, 0)
    with pytest.raises(BudgetExceeded, match="global"):
        till.place(20, "c")
    assert till.place(10, "a").amount_micros == 10, "it was admitted before"


def test_a_new_attempt_learns_what_was_ordered(till: Counter) -> None:
    assert till.placements() == ()
    keys = [till.place(10, name).order_key for name in "ab"]
    till.receive(keys[0], 4, final=False)
    till.receive(keys[0], 11, number=2)
    assert till.placements() == (
        Placement(order_key=keys[0], number=2, spent_micros=11, final=True),
        Placement(order_key=keys[1]),
    )


def test_the_best_profit_is_remembered_for_the_next_attempt(till: Counter) -> None:
    till.place(10, "a", standing=Standing(profit_micros=7, peak_profit_micros=9))
    till.place(10, "b", standing=Standing(profit_micros=1, peak_profit_micros=3))
    found = _run(till._cashier.placements(till.order, "sandbox"))
    assert found.peak_profit_micros == 9


def test_a_job_reports_on_its_own_orders_only(till: Counter) -> None:
    with pytest.raises(Forbidden):
        till.receive("job 999 order a", 10)


def test_an_order_that_was_reconciled_before_stays_as_it_is(till: Counter) -> None:
    key = till.place(50).order_key
    till.ask(Settle(key="by hand", hold_key=key, spent_micros=44))
    till.receive(key, 52)
    assert till.used(till.account) == (0, 44)
    hold = till.store.read(ledger.hold, key)
    assert hold.state is HoldState.POSTED


@pytest.mark.parametrize("percent", [-1, 101, 1.5, "15"])
def test_a_margin_must_be_a_whole_percent(till: Counter, percent: Any) -> None:
    till.order = replace(till.order, config={"platform": {"name": "sandbox", "margin_percent": percent}})
    with pytest.raises(InvalidInput, match="margin_percent"):
        till.place(10)


def test_a_final_report_counts_what_was_corrected_before(till: Counter) -> None:
    key = till.place(50).order_key
    more = Correct(
        key="by hand", account_ids=(till.account,), currency="USD", delta_micros=2, counted_at=T0,
        reason="a click more", hold_key=key,
    )  # fmt: skip
    till.ask(more)
    till.receive(key, 12)
    assert till.used(till.account) == (0, 12)
    till.receive(key, 12)
    assert till.used(till.account) == (0, 12)
    assert till.differences() == []


def test_a_final_report_below_what_was_corrected_gives_the_rest_back(till: Counter) -> None:
    key = till.place(50).order_key
    more = Correct(
        key="by hand", account_ids=(till.account,), currency="USD", delta_micros=20, counted_at=T0,
        reason="too much", hold_key=key,
    )  # fmt: skip
    till.ask(more)
    till.receive(key, 12)
    assert till.used(till.account) == (0, 12)
    assert till.differences() == []


def test_more_than_was_held_is_settled_as_reported(till: Counter) -> None:
    key = till.place(50).order_key
    till.receive(key, 70)
    assert till.used(till.account) == (0, 70)


def test_the_vote_of_a_jobs_owner_lets_none_of_its_orders_pass(till: Counter) -> None:
    till.rule({"rule": "approval_above", "amount_micros": 10, "people": 2})
    new = NewApproval(
        purpose=Purpose.SPEND, subject=f"agent {till.agent.id}", amount_micros=90, currency="USD",
        reason="r", ttl=MINUTE,
    )  # fmt: skip
    evidence.approved(till.store, new, now=T0, asks=ANN, voters=(Principal("olive"), Principal("pete")))
    with till.store.engine.begin() as tx:
        tx.execute(text("UPDATE jobs SET owner = 'olive' WHERE id = :id"), {"id": till.order.job_id})
    with pytest.raises(Denied):
        till.place(50)
    with till.store.engine.begin() as tx:
        tx.execute(text("UPDATE jobs SET owner = 'ann' WHERE id = :id"), {"id": till.order.job_id})
    assert till.place(50, "b").amount_micros == 50
