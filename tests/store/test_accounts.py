"""Accounts are opened once, and limits change without anything being taken back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from gaelp_ray.domain.ledger import Money, NewAccount, Scope
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, statements
from gaelp_ray.services import agents as agent_service
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_hold, a_post, a_spend, name
from tests.builders import ANN, World, an_agent, at_once


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


def ann(**fields: Any) -> NewAccount:
    given = {"scope": Scope.USER, "subject": "ann", "currency": "EUR", "money": Money.REAL}
    return NewAccount(**given | fields)


def test_an_account_is_opened_once(bank: Bank) -> None:
    opened = at_once(4, lambda _: bank.store.transact(accounts.open_account, ann(), now=bank.now))
    assert opened == [opened[0]] * 4
    assert bank.store.read(accounts.find_account, ann()) == opened[0]
    assert bank.store.read(accounts.accounts, scope=Scope.USER, limit=10) == [opened[0]]
    assert bank.store.read(accounts.accounts, subject="bob", limit=10) == []


def test_each_currency_and_kind_of_money_is_an_account_of_its_own(bank: Bank) -> None:
    kinds = [ann(), ann(currency="USD"), ann(money=Money.SIMULATED), ann(subject="bob")]
    opened = {bank.store.transact(accounts.open_account, kind, now=bank.now).id for kind in kinds}
    assert len(opened) == 4


@pytest.mark.parametrize("fields", [{"timezone": "Europe/Berlin"}, {"closes_at": "now"}])
def test_an_account_keeps_the_clock_it_was_opened_with(bank: Bank, fields: dict[str, Any]) -> None:
    bank.store.transact(accounts.open_account, ann(), now=bank.now)
    other = ann(**{key: bank.now if value == "now" else value for key, value in fields.items()})
    with pytest.raises(Conflict, match="cannot change"):
        bank.store.transact(accounts.open_account, other, now=bank.now)


def test_the_account_of_an_agent_depends_on_the_agent(world: World, bank: Bank) -> None:
    playing = world.agent()
    spending = replace(an_agent("real"), type=AgentType.REAL_DEPLOYMENT)
    real = world.store.transact(agent_service.register, spending, currency="USD", by=ANN, now=world.now)

    def opened(subject: str, money: Money) -> int:
        return bank.open(scope=Scope.AGENT, subject=subject, money=money)

    opened(str(playing.id), Money.SIMULATED)
    opened(str(real.id), Money.REAL)
    with pytest.raises(Forbidden, match="A simulation agent can never have real money"):
        opened(str(playing.id), Money.REAL)
    for nobody in ("999999", "ann", "-1"):
        with pytest.raises(NotFound, match="its id"):
            opened(nobody, Money.SIMULATED)


def test_every_account_counts_its_total(bank: Bank) -> None:
    account = bank.open()
    assert [usage.period for usage in bank.store.read(accounts.usages, account, now=bank.now)] == [
        Period.TOTAL
    ]
    bank.ask(a_spend("a", account, amount=10**15))
    assert bank.used(account) == (0, 10**15)
    assert bank.usage(account).remaining_micros is None


def test_a_limit_set_in_the_middle_of_its_window_knows_what_was_used(bank: Bank) -> None:
    account = bank.open()
    bank.ask(a_spend("yesterday", account, amount=1000, at=bank.now - timedelta(days=1)))
    bank.submit([a_hold("a", account, amount=30), a_spend("b", account, amount=20)])
    usage = bank.limit(account, Period.DAY, 60)
    assert (usage.pending_micros, usage.posted_micros, usage.remaining_micros) == (30, 20, 10)
    assert name(bank.ask(a_hold("c", account, amount=11))) == "budget_exceeded"
    assert name(bank.ask(a_post("a", 5))) == "post 5"
    assert bank.used(account, Period.DAY) == (0, 25)
    assert bank.differences() == []


def test_a_limit_lowered_below_what_is_held_takes_nothing_back(bank: Bank) -> None:
    account = bank.open({Period.TOTAL: 100})
    bank.ask(a_hold("a", account, amount=80))
    usage = bank.limit(account, Period.TOTAL, 50)
    assert usage.is_over
    assert usage.remaining_micros == 0
    assert name(bank.ask(a_hold("b", account, amount=1))) == "budget_exceeded"
    assert name(bank.ask(a_post("a"))) == "post 80"
    bank.limit(account, Period.TOTAL, None)
    assert name(bank.ask(a_hold("c", account, amount=1000))) == "hold 1000"


def test_a_mark_passed_by_lowering_the_limit_is_told(bank: Bank) -> None:
    account = bank.open({Period.TOTAL: 1000})
    bank.ask(a_spend("a", account, amount=90))
    bank.limit(account, Period.TOTAL, 100)
    bank.limit(account, Period.TOTAL, 100)
    told = [alert.percent for _, alert in bank.store.read(statements.alerts, account, limit=10)]
    assert told == [50, 80]


@pytest.mark.parametrize("limit", [-1, 1.0, float("nan"), True, "5", 2**63])
def test_only_whole_micros_limit(bank: Bank, limit: Any) -> None:
    with pytest.raises(InvalidInput, match="A limit must be"):
        bank.limit(bank.open(), Period.DAY, limit)


def test_an_account_that_never_was_is_not_found(bank: Bank) -> None:
    for ask in (
        lambda: bank.limit(9, Period.DAY, 1),
        lambda: bank.usage(9),
        lambda: bank.store.read(statements.balance, 9, at=bank.now),
    ):
        with pytest.raises(NotFound, match="There is no account 9"):
            ask()
    assert name(bank.ask(a_hold("a", 9))) == "not_found"


def test_a_new_day_begins_at_midnight_of_the_account(bank: Bank) -> None:
    account = bank.open({Period.DAY: 10}, timezone="America/New_York")
    assert name(bank.ask(a_hold("a", account))) == "hold 10"
    bank.wait(timedelta(hours=13))
    assert name(bank.ask(a_hold("b", account))) == "budget_exceeded", "in New York it is still the same day"
    bank.wait(timedelta(hours=4))
    assert name(bank.ask(a_hold("c", account))) == "hold 10"
