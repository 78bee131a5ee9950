"""A leased budget spends without asking, and never more than was leased."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import AccountClosed, AlreadyVoided, BudgetExceeded, InvalidInput, Unavailable
from gaelp_ray.domain.ledger import Expire, Outcome, Request
from gaelp_ray.domain.windows import Period
from gaelp_ray.training.budget import AccountLender, LeasedBudget
from tests.bank import MemoryBank, a_hold, a_void, an_account
from tests.builders import T0, at_once

TTL = timedelta(seconds=30)


class Line:
    """A way to the bank that can be cut, before the bank hears or before it is heard."""

    def __init__(self, bank: MemoryBank) -> None:
        self.bank = bank
        self.calls: list[Sequence[Request]] = []
        self.deaf = self.mute = False

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        self.calls.append(requests)
        if self.deaf:
            raise Unavailable
        outcomes = self.bank.submit(requests)
        if self.mute:
            raise Unavailable
        return outcomes


class Till:
    """A leased budget with its bank and its clock."""

    def __init__(self, limit: int | None = 1000, *, slice_micros: int = 100, **fields: Any) -> None:
        self.bank = MemoryBank({1: {Period.TOTAL: limit}})
        self.line = Line(self.bank)
        self.time = 0.0
        self.budget = LeasedBudget(
            AccountLender(self.line, account_ids=(1,), currency="EUR"),
            slice_micros=slice_micros,
            ttl=TTL,
            clock=lambda: self.time,
            **fields,
        )

    def wait(self, length: timedelta) -> None:
        self.time += length.total_seconds()
        self.bank.wait(length)

    def expire(self) -> None:
        held = [h for h in self.bank.book.holds.values() if h.expires_at <= self.bank.now]
        self.bank.submit([Expire(hold_key=h.key) for h in held])


def test_a_slice_is_asked_for_once() -> None:
    till = Till()
    for _ in range(100):
        till.budget.spend(1)
    assert len(till.line.calls) == 1
    assert till.bank.used() == (100, 0)
    till.budget.spend(1)
    assert len(till.line.calls) == 2
    assert till.bank.used() == (100, 100)
    assert till.budget.left_micros == 99


def test_what_was_not_spent_returns_at_the_end() -> None:
    till = Till()
    with till.budget:
        till.budget.spend(130)
        till.budget.spend(7)
    assert till.bank.used() == (0, 137)


def test_a_budget_that_was_never_used_asks_nobody() -> None:
    till = Till()
    with till.budget:
        pass
    assert till.line.calls == []


def test_the_budget_is_used_to_the_last_micro() -> None:
    till = Till(limit=250)
    for _ in range(250 // 7):
        till.budget.spend(7)
    with pytest.raises(BudgetExceeded):
        till.budget.spend(7)
    till.budget.spend(250 % 7)
    with pytest.raises(BudgetExceeded):
        till.budget.spend(1)
    till.budget.close()
    assert till.bank.used() == (0, 250)


def test_a_spend_larger_than_a_slice_gets_a_slice_of_its_own() -> None:
    till = Till()
    till.budget.spend(550)
    assert till.bank.used() == (550, 0)


def test_a_lease_that_is_over_is_renewed_before_it_is_spent_from() -> None:
    till = Till()
    till.budget.spend(30)
    till.wait(TTL)
    assert till.budget.left_micros == 0
    till.budget.spend(30)
    assert till.bank.used() == (100, 30)


def test_a_process_that_dies_has_spent_its_slice() -> None:
    till = Till()
    till.budget.spend(30)
    till.wait(TTL)
    till.expire()
    assert till.bank.used() == (0, 100), "nobody knows that it was 30"


def test_a_process_that_was_only_slow_gets_the_rest_back() -> None:
    till = Till()
    till.budget.spend(30)
    till.wait(TTL)
    till.expire()
    till.budget.spend(1)
    assert till.bank.used() == (100, 30)


def test_nothing_is_spent_while_the_ledger_cannot_be_asked() -> None:
    till = Till()
    till.line.deaf = True
    with pytest.raises(Unavailable):
        till.budget.spend(1)
    till.line.deaf = False
    till.budget.spend(1)
    assert till.bank.used() == (100, 0)


def test_what_is_left_of_a_lease_is_spent_while_the_ledger_is_gone() -> None:
    till = Till()
    till.budget.spend(1)
    till.line.deaf = True
    for _ in range(99):
        till.budget.spend(1)
    with pytest.raises(Unavailable):
        till.budget.spend(1)


def test_a_lost_answer_is_asked_for_again_with_the_same_key() -> None:
    till = Till()
    till.budget.spend(60)
    till.line.mute = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            till.budget.spend(60)
    till.line.mute = False
    till.budget.spend(60)
    assert till.bank.used() == (100, 60)
    assert till.line.calls[1] == till.line.calls[4]


def test_a_lease_whose_answer_came_too_late_is_given_back() -> None:
    till = Till()
    till.line.mute = True
    with pytest.raises(Unavailable):
        till.budget.spend(1)
    till.line.mute = False
    till.wait(TTL)
    till.expire()
    assert till.bank.used() == (0, 100)
    till.budget.spend(1)
    assert till.bank.used() == (100, 0)


def test_a_lost_refusal_does_not_stop_a_smaller_spend() -> None:
    till = Till(limit=50)
    till.line.mute = True
    with pytest.raises(Unavailable):
        till.budget.spend(60)
    till.line.mute = False
    till.budget.spend(50)
    assert till.bank.used() == (50, 0)


def test_closing_asks_again_for_what_was_lost() -> None:
    till = Till()
    till.budget.spend(60)
    till.line.mute = True
    with pytest.raises(Unavailable):
        till.budget.close()
    till.line.mute = False
    till.budget.close()
    assert till.bank.used() == (0, 60)


def test_others_use_what_a_lease_leaves() -> None:
    till = Till(limit=150)
    till.budget.spend(100)
    till.bank.submit([a_hold("another", amount=20)])
    till.budget.spend(30)
    with pytest.raises(BudgetExceeded):
        till.budget.spend(1)
    till.bank.submit([a_void("another")])
    till.budget.spend(20)


def test_a_lease_that_somebody_else_resolved_is_an_error() -> None:
    till = Till()
    till.budget.spend(1)
    (lease,) = till.bank.book.holds
    till.bank.submit([a_void(lease)])
    with pytest.raises(AlreadyVoided):
        till.budget.spend(100)
    till.budget.spend(100)
    assert till.bank.used() == (100, 0)


def test_a_closed_account_is_an_error() -> None:
    till = Till()
    till.bank.book.accounts = {1: an_account(1, closes_at=T0)}
    with pytest.raises(AccountClosed):
        till.budget.spend(1)


@pytest.mark.parametrize("amount", [0, -1, 1.0, float("nan"), True, "5", 10**30])
def test_only_whole_micros_above_zero_are_spent(amount: Any) -> None:
    till = Till()
    with pytest.raises(InvalidInput):
        till.budget.spend(amount)
    assert till.line.calls == []


def test_threads_spend_together_what_one_would() -> None:
    till = Till(limit=5000)

    def spend(_: int) -> int:
        spent = 0
        try:
            while True:
                till.budget.spend(3)
                spent += 3
        except BudgetExceeded:
            return spent

    spent = at_once(4, spend)
    till.budget.close()
    total = sum(each for each in spent if isinstance(each, int))
    assert 5000 - 3 < total <= 5000
    assert till.bank.used() == (0, total)
