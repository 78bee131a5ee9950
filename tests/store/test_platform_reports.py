"""What a platform says it delivered is held against the ledger, and booked."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.platforms import DeliveryReport, Order
from gaelp_ray.services import audit, platforms
from gaelp_ray.store.engine import Store
from gaelp_ray.training.platforms.sandbox import SandboxPlatform
from tests.bank import Bank, a_hold, a_lease, a_post, a_void, name
from tests.builders import ADMIN, T0

PERIOD = {"since": T0 - timedelta(days=1), "until": T0 + timedelta(days=9)}
TTL = timedelta(days=5)


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


def a_report(order: str, cost: int, *, number: int = 1, final: bool = True, **fields: Any) -> DeliveryReport:
    given: dict[str, Any] = {"platform": "sandbox", "campaign": "spring", "currency": "EUR"} | fields
    return DeliveryReport(
        order_key=order, number=number, cost_micros=cost, final=final, reported_at=T0, **given
    )


def receive(bank: Bank, *reports: DeliveryReport) -> int:
    return bank.store.transact(platforms.receive, reports, now=bank.now)


def differences(bank: Bank, **given: Any) -> list[tuple[str, str, int]]:
    found = bank.store.read(platforms.differences, "sandbox", **PERIOD, now=bank.now, **given)
    return [(each.kind, each.order_key, each.difference_micros) for each in found]


def book(bank: Bank) -> list[str]:
    outcomes = bank.store.transact(platforms.book, "sandbox", **PERIOD, now=bank.now)
    return [name(outcome) for outcome in outcomes]


def test_reports_that_come_again_or_in_the_wrong_order_are_one(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50), a_post("order", 30)])
    late = a_report("order", 10, final=False)
    assert receive(bank, a_report("order", 30, number=2), late, late) == 2
    assert receive(bank, late) == 0
    assert receive(bank) == 0
    assert differences(bank) == []
    assert book(bank) == []


def test_every_kind_of_difference_is_shown(bank: Bank) -> None:
    team = bank.open()
    holds = ("more", "less", "open", "over", "dollars", "silent", "early", "fine")
    bank.submit([a_hold(key, team, amount=50, ttl=TTL) for key in holds])
    posted = ("more", "less", "dollars", "silent", "early")
    bank.submit([a_post(key, 30) for key in posted])
    receive(
        bank,
        a_report("more", 40),
        a_report("less", 20),
        a_report("open", 20),
        a_report("over", 60, final=False),
        a_report("dollars", 30, currency="USD"),
        a_report("early", 20, final=False),
        a_report("fine", 20, final=False),
        a_report("whose", 5),
    )
    expected = [
        ("currency", "dollars", 0), ("differs", "less", -10), ("differs", "more", 10), ("open", "open", 20),
        ("over_delivery", "over", 60), ("unknown", "whose", 5),
    ]  # fmt: skip
    assert differences(bank) == expected
    assert differences(bank, placed=["silent"]) == expected
    bank.wait(timedelta(hours=48))
    assert ("unreported", "silent", -30) in differences(bank, placed=["silent"])


def test_the_ledger_is_made_to_say_what_the_platform_says(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold(k, team, amount=50, ttl=TTL) for k in ("more", "less", "open", "over", "void")])
    bank.submit([a_post("more", 30), a_post("less", 30), a_void("void")])
    receive(
        bank,
        a_report("more", 40),
        a_report("less", 20),
        a_report("open", 25),
        a_report("over", 60),
        a_report("void", 5),
    )
    assert sorted(book(bank)) == ["correct -10", "correct 10", "correct 5", "settle 25", "settle 60"]
    assert differences(bank) == []
    assert book(bank) == []
    assert bank.used(team) == (0, 40 + 20 + 25 + 60 + 5)
    assert bank.differences() == []
    found = bank.store.read(audit.page, by=ADMIN, action="ledger.reconcile", limit=9)
    assert len(found) == 5


def test_a_report_that_is_changed_later_is_booked_anew(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50), a_post("order", 30)])
    costs = (40, 35, 30, 40)
    for number, cost in enumerate(costs, 1):
        receive(bank, a_report("order", cost, number=number))
        book(bank)
        assert bank.used(team) == (0, cost)
        assert differences(bank) == []


def test_a_lease_that_expired_as_spent_is_settled(bank: Bank) -> None:
    team = bank.open()
    bank.ask(a_lease("lease", team, amount=50))
    bank.wait(timedelta(minutes=2))
    bank.expire()
    assert bank.used(team) == (0, 50)
    receive(bank, a_report("lease", 20))
    assert book(bank) == ["settle 20"]
    assert bank.used(team) == (0, 20)


def test_the_books_agree_with_a_platform_that_behaves_badly(bank: Bank) -> None:
    team, platform = bank.open(), SandboxPlatform(11)
    keys = [f"order {number}" for number in range(12)]
    for key in keys:
        bank.ask(a_hold(key, team, amount=5000, margin_micros=500, ttl=TTL))
        order = Order(key=key, campaign="spring", currency="EUR", amount_micros=5000, bid_micros=9)
        while True:
            with contextlib.suppress(Unavailable):
                platform.place(order, now=bank.now)
                break
    for _ in range(20):
        bank.wait(timedelta(minutes=30))
        with contextlib.suppress(Unavailable):
            receive(bank, *platform.reports(now=bank.now))
        book(bank)
    truth = sum(platform.cost(key, now=bank.now) for key in keys)
    assert bank.used(team) == (0, truth)
    assert truth > 12 * 5000, "it did deliver more than it was told"
    assert differences(bank, placed=keys) == []
    assert bank.differences() == []
