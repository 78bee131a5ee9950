"""A key names one operation, whatever became of it; and who does what was approved has no vote on it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.actors.budget_guard import BudgetGuard
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.errors import Halted, IdempotencyConflict
from gaelp_ray.domain.ledger import Hold, Money, Receipt, Scope
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.safety.verdicts import Action, Allow, Deny
from gaelp_ray.domain.switches import EVERYTHING
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import agents, approvals, audit, policies, reviews, switches
from gaelp_ray.services.reviews import Admission, Reported
from gaelp_ray.store.engine import Store
from tests import evidence
from tests.bank import Bank, a_hold, a_spend, name
from tests.builders import ADMIN, ANN, T0, an_agent
from tests.conftest import Sql

OLIVE, PETE, PAM = Principal("olive"), Principal("pete"), Principal("pam")


class Gate(Bank):
    """One agent of real money, and what its policies say."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        new = replace(an_agent(), type=AgentType.REAL_DEPLOYMENT)
        self.agent = store.transact(agents.register, new, currency="USD", by=ANN, now=T0).id
        self.account = self.open(
            {Period.DAY: 1000}, scope=Scope.AGENT, subject=str(self.agent), money=Money.REAL
        )

    def rule(self, *rules: dict[str, Any]) -> None:
        document = {"currency": "EUR", "rules": list(rules)}
        self.store.transact(policies.write, "safe", document, by=ADMIN, now=self.now)
        place = Attachment(Attach.AGENT, str(self.agent))
        self.store.transact(policies.attach, "safe", None, place, by=ADMIN, now=self.now)

    def action(self, amount: int = 5, **fields: Any) -> Action:
        return Action(agent_id=self.agent, currency="EUR", amount_micros=amount, **fields)

    def admit(self, hold: Hold, action: Action, *, by: Principal = ANN, **reported: Any) -> Admission:
        facts = Reported(**reported)
        return self.store.transact(reviews.admit, action, hold, reported=facts, by=by, now=self.now)

    def hold(self, key: str, amount: int = 5, **fields: Any) -> Hold:
        return a_hold(key, self.account, amount=amount, **fields)


@pytest.fixture
def gate(store: Store) -> Gate:
    return Gate(store)


def rows(sql: Sql) -> list[Any]:
    counted = ["reviewed_actions", "violations", "ledger_operations", "kill_switches", "audit_records"]
    return [sql(f"SELECT count(*) FROM {table}") for table in counted]


def test_a_denied_key_is_the_same_hold_or_a_conflict(gate: Gate, sql: Sql) -> None:
    gate.rule({"rule": "categories", "blocked": ["x"]})
    hold, action = gate.hold("D"), gate.action(categories=("x",))
    first = gate.admit(hold, action)
    assert isinstance(first.verdict, Deny)
    before = rows(sql)
    assert gate.admit(hold, action) == first
    for other in (
        replace(hold, margin_micros=7),
        replace(hold, ttl=timedelta(seconds=999)),
        replace(hold, named="budget 99 campaign "),
    ):
        with pytest.raises(IdempotencyConflict, match="used before"):
            gate.admit(other, action)
    assert name(gate.ask(a_spend("D", gate.account))) == "idempotency_conflict"
    assert name(gate.ask(hold)) == "denied", "as the ledger remembers it"
    assert rows(sql) == before


def test_a_denial_from_before_they_were_kept_is_kept_when_it_is_asked_for_again(gate: Gate, sql: Sql) -> None:
    gate.rule({"rule": "categories", "blocked": ["x"]})
    hold, action = gate.hold("D"), gate.action(categories=("x",))
    first = gate.admit(hold, action)
    sql("ALTER TABLE ledger_operations DISABLE TRIGGER USER")
    sql("DELETE FROM ledger_operations")
    assert gate.admit(hold, action) == first
    with pytest.raises(IdempotencyConflict):
        gate.admit(replace(hold, margin_micros=7), action)
    assert name(gate.ask(a_spend("D", gate.account))) == "idempotency_conflict"


def test_a_hold_under_a_key_of_something_else_leaves_no_trace(gate: Gate, sql: Sql) -> None:
    gate.rule({"rule": "bid_cap", "max_micros": 5}, {"rule": "drawdown", "max_micros": 9})
    gate.ask(a_spend("S", gate.account))
    before = rows(sql)
    with pytest.raises(IdempotencyConflict, match="used before for a spend"):
        gate.admit(gate.hold("S", 50), gate.action(50, bid_micros=50), profit_micros=0, peak_profit_micros=50)
    assert rows(sql) == before
    assert name(gate.ask(gate.hold("after"))) == "hold 5", "no switch is engaged"


def test_who_does_what_was_approved_has_no_vote_on_it(gate: Gate) -> None:
    gate.rule({"rule": "approval_above", "amount_micros": 10, "people": 2})

    def approve(*voters: Principal) -> int:
        new = NewApproval(
            purpose=Purpose.SPEND, subject=f"agent {gate.agent}", amount_micros=50, currency="EUR",
            reason="spring", ttl=timedelta(days=1),
        )  # fmt: skip
        return evidence.approved(gate.store, new, now=gate.now, asks=ANN, voters=voters).id

    first = approve(OLIVE, PETE)
    denied = gate.admit(gate.hold("z1", 50), gate.action(50), by=OLIVE)
    assert isinstance(denied.verdict, Deny)
    assert str(gate.store.read(approvals.get, first, now=gate.now).state) == "approved", "nothing is used up"
    second = approve(PAM, PETE)
    granted = gate.admit(gate.hold("z2", 50), gate.action(50), by=OLIVE)
    assert isinstance(granted.outcome, Receipt)
    assert str(gate.store.read(approvals.get, second, now=gate.now).state) == "used"
    assert isinstance(gate.admit(gate.hold("z3", 50), gate.action(50), by=ANN).verdict, Allow)
    [*_, last] = gate.store.read(audit.page, by=ADMIN, action="approval.use", limit=9)
    assert last.record.actor == "ann"


async def _guarded(database_url: str) -> BudgetGuard:
    guard = BudgetGuard.__new__(BudgetGuard)
    await guard.__init__(Settings(database_url=database_url), shard=1)  # type: ignore[misc]
    return guard


def test_a_guard_that_stops_new_holds_answers_old_ones(gate: Gate, database_url: str) -> None:
    gate.rule({"rule": "categories", "blocked": ["x"]})
    team = gate.open()
    real = (gate.action(), replace(gate.hold("real"), ttl=timedelta(hours=1)), Reported(), ANN)
    denied = (gate.action(categories=("x",)), gate.hold("denied"), Reported(), ANN)
    held = a_hold("K9", team)

    async def ask() -> None:
        guard = await _guarded(database_url)
        try:
            first = await guard.submit([held])
            admitted, no = await guard.admit(*real), await guard.admit(*denied)
            await asyncio.to_thread(
                gate.store.transact, switches.engage, EVERYTHING, reason="stop", by=ADMIN, now=gate.now
            )
            async with asyncio.timeout(20):
                while guard._switches.board.everything is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            again = await guard.submit([a_hold("new", team), held, replace(held, amount_micros=11)])
            assert isinstance(again[0], Halted)
            assert again[1] == first[0]
            assert isinstance(again[2], IdempotencyConflict)
            assert (await guard.admit(*real), await guard.admit(*denied)) == (admitted, no)
            new = (gate.action(), gate.hold("another"), Reported(), ANN)
            assert isinstance(await guard.admit(*new), Halted)
        finally:
            for loop in guard._loops:
                loop.cancel()
            await asyncio.gather(*guard._loops, return_exceptions=True)
            guard._runtime.store.close()

    asyncio.run(ask())
    assert gate.used(team) == (10, 0)
