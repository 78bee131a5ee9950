"""Money that is given back in another window than it was spent in makes no room and stops nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaelp_ray.domain.ledger import Request
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import ledger
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_correction, a_hold, a_lease, a_post, a_settlement, a_spend, a_void, name
from tests.conftest import Sql

DAY = timedelta(days=1)
TWELVE_S = timedelta(seconds=12)


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


@pytest.fixture
def refunded(bank: Bank) -> int:
    """An account that was given 20 back today, spent yesterday, and then a limit of 100 a day."""
    account = bank.open()
    bank.ask(a_spend("yesterday", account, amount=20, at=bank.now - DAY))
    assert name(bank.ask(a_correction("refund", account, delta=-20, at=bank.now))) == "correct -20"
    bank.limit(account, Period.DAY, 100)
    return account


def tables(sql: Sql) -> dict[str, list[tuple[object, ...]]]:
    names = ["money_holds", "ledger_entries", "account_windows", "budget_alerts"]
    return {table: sorted(sql(f"SELECT t::text FROM {table} t")) for table in names}


def test_a_refund_of_another_day_makes_no_room_above_the_limit(bank: Bank, refunded: int) -> None:
    assert bank.used(refunded, Period.DAY) == (0, -20)
    assert bank.usage(refunded, Period.DAY).remaining_micros == 100
    assert name(bank.ask(a_hold("too much", refunded, amount=101))) == "budget_exceeded"
    assert name(bank.ask(a_hold("all", refunded, amount=100))) == "hold 100"
    assert name(bank.ask(a_hold("more", refunded, amount=1))) == "budget_exceeded"


def test_two_holds_of_90_are_never_granted_under_a_limit_of_100(bank: Bank, refunded: int) -> None:
    assert name(bank.ask(a_hold("P", refunded, amount=90, ttl=TWELVE_S))) == "hold 90"
    moved = [
        a_correction("back", refunded, delta=20, at=bank.now),
        a_correction("where it was spent", refunded, delta=-20, at=bank.now - DAY),
    ]
    assert list(map(name, bank.submit(moved))) == ["correct 20", "correct -20"]
    assert name(bank.ask(a_hold("A", refunded, amount=90))) == "budget_exceeded"
    bank.wait(TWELVE_S)
    assert bank.expire() == 1
    assert name(bank.ask(a_hold("A again", refunded, amount=90))) == "hold 90"
    assert name(bank.ask(a_hold("B", refunded, amount=90))) == "budget_exceeded"
    assert name(bank.ask(a_post("A again"))) == "post 90"
    assert bank.used(refunded, Period.DAY) == (0, 90)
    assert bank.differences() == []


def test_a_window_below_nothing_takes_what_was_spent(bank: Bank, refunded: int) -> None:
    bank.submit([a_hold(key, refunded) for key in ("post", "void", "settle", "lease")])
    bank.ask(a_lease("expires", refunded, ttl=TWELVE_S))
    asked: list[Request] = [
        a_post("post", 4),
        a_void("void"),
        a_settlement("settle", 3),
        a_spend("spend", refunded, amount=5),
        a_correction("more back", refunded, delta=-2, at=bank.now),
    ]
    assert list(map(name, bank.submit(asked))) == ["post 4", "void 10", "settle 3", "spend 5", "correct -2"]
    bank.wait(TWELVE_S)
    assert bank.expire() == 1
    assert name(bank.ask(a_settlement("expires", 1))) == "settle 1"
    assert bank.used(refunded, Period.DAY) == (10, -20 + 4 + 3 + 5 - 2 + 1)
    assert bank.differences() == []


def test_more_than_was_ever_spent_is_not_given_back_until_it_was(bank: Bank) -> None:
    account = bank.open()
    early = a_correction("refund", account, delta=-20, at=bank.now)
    assert name(bank.ask(early)) == "invalid_input"
    bank.ask(a_spend("spend", account, amount=20))
    assert name(bank.ask(early)) == "correct -20"


def test_a_refused_operation_leaves_no_trace(bank: Bank, refunded: int, sql: Sql) -> None:
    bank.ask(a_hold("held", refunded, amount=50))
    before = tables(sql)
    refused: list[Request] = [
        a_hold("over", refunded, amount=60),
        a_post("held", 51),
        a_post("nothing"),
        a_hold("linked", refunded, follows="over"),
        a_spend("tomorrow", refunded, at=bank.now + DAY),
        a_correction("too much", refunded, delta=-1000, at=bank.now),
        a_correction("of another", bank.open(), delta=1, at=bank.now, hold_key="held"),
    ]
    codes = [name(bank.ask(request)) for request in refused]
    assert codes == [
        "budget_exceeded", "exceeds_hold", "not_found", "link_failed", "invalid_input", "invalid_input",
        "invalid_input",
    ]  # fmt: skip
    assert tables(sql) == before
    assert [hold.key for hold in bank.store.read(ledger.pending_holds, refunded, limit=9)] == ["held"]


def test_a_limit_set_in_the_middle_of_a_window_counts_what_is_held_and_spent_in_it(bank: Bank) -> None:
    account = bank.open()
    bank.submit([a_hold("held", account, amount=30), a_spend("spent", account, amount=20)])
    for period in (Period.HOUR, Period.DAY, Period.WEEK, Period.MONTH):
        usage = bank.limit(account, period, 100)
        assert (usage.pending_micros, usage.posted_micros) == (30, 20)
        assert bank.used(account, period) == (30, 20)
    assert name(bank.ask(a_hold("over", account, amount=51))) == "budget_exceeded"
    assert name(bank.ask(a_hold("fits", account, amount=50))) == "hold 50"
    assert bank.differences() == []
