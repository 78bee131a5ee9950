"""What a platform says it delivered is held against the ledger, and booked."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput, Unavailable
from gaelp_ray.domain.platforms import DeliveryReport, Order
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import audit, platforms
from gaelp_ray.store import platforms as platform_store
from gaelp_ray.store.engine import Store
from gaelp_ray.training.platforms.sandbox import SandboxPlatform
from tests.bank import Bank, a_correction, a_hold, a_lease, a_post, a_settlement, a_spend, a_void, name
from tests.builders import ADMIN, T0, at_once
from tests.conftest import Sql

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


def test_an_older_period_asked_again_changes_nothing(bank: Bank, sql: Sql) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    begin = bank.now
    receive(bank, a_report("order", 10, number=1, final=False))
    middle = bank.wait(timedelta(hours=1))
    receive(bank, a_report("order", 12, number=2, final=False))
    end = bank.wait(timedelta(hours=1))
    periods = [(begin, end), (begin, middle), (begin, end), (middle, end), (begin, middle)]
    booked = []
    for since, until in periods:
        found = bank.store.transact(platforms.book, "sandbox", since=since, until=until, now=bank.now)
        booked.append([name(outcome) for outcome in found])
        assert bank.used(team) == (0, 12)
        assert differences(bank) == []
    assert booked == [["correct 2"], [], [], [], []]
    assert sql("SELECT corrected_micros FROM platform_corrections") == [(2,)]
    assert bank.differences() == []


def test_a_cost_that_comes_back_is_booked_each_time(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    for number, cost in enumerate((12, 10, 12, 10, 12, 10), 1):
        receive(bank, a_report("order", cost, number=number))
        assert book(bank) == [f"correct {2 if cost == 12 else -2}"]
        assert book(bank) == []
        assert bank.used(team) == (0, cost)


def test_what_was_corrected_by_hand_is_not_booked_again(bank: Bank) -> None:
    team = bank.open({Period.DAY: 1000})
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    bank.ask(a_correction("by hand", team, delta=2, at=bank.now, hold_key="order"))
    receive(bank, a_report("order", 12))
    assert differences(bank) == []
    assert book(bank) == []
    receive(bank, a_report("order", 13, number=2))
    assert book(bank) == ["correct 1"]
    bank.ask(a_correction("by hand too", team, delta=-3, at=bank.now, hold_key="order"))
    assert differences(bank) == [("differs", "order", 3)]
    assert book(bank) == ["correct 3"]
    assert bank.used(team, Period.DAY) == (0, 13)
    assert bank.differences() == []


#: A hand correction of an order of 50 that is pending, the cost that is reported; what is booked.
BEFORE: dict[str, tuple[int, int, list[str]]] = {
    "less than was spent": (2, 12, ["settle 10"]),
    "all that was spent": (12, 12, ["settle 0"]),
    "more than was spent": (15, 12, ["settle 0", "correct -3"]),
    "a refund": (-1, 12, ["settle 13"]),
}


@pytest.mark.parametrize("case", BEFORE)
@pytest.mark.parametrize("lease", [True, False])
@pytest.mark.parametrize("expired", [True, False])
def test_a_correction_before_the_hold_is_resolved_counts_as_spent(
    bank: Bank, case: str, lease: bool, expired: bool
) -> None:
    by_hand, cost, booked = BEFORE[case]
    team = bank.open()
    bank.submit(
        [a_spend("other", team, amount=100), (a_lease if lease else a_hold)("order", team, amount=50)]
    )
    bank.ask(a_correction("by hand", team, delta=by_hand, at=bank.now, hold_key="order"))
    if expired:
        bank.wait(timedelta(minutes=2))
        assert bank.expire() == 1
    receive(bank, a_report("order", cost))
    # An expired hold had returned its money; the correction alone may be all that was spent.
    agree = expired and not lease and by_hand == cost
    assert book(bank) == ([] if agree else booked)
    assert bank.used(team) == (0, 100 + cost)
    assert (differences(bank), book(bank), bank.differences()) == ([], [], [])


def test_a_report_that_shrinks_is_believed_with_its_last_word(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    said = [(1, 30, False, 30), (2, 20, False, 30), (4, 5, True, 5), (3, 40, False, 5)]
    for number, cost, final, total in said:
        receive(bank, a_report("order", cost, number=number, final=final))
        book(bank)
        assert bank.used(team) == (0, total)


def test_what_a_job_settles_after_its_platform_was_booked_is_booked_once(bank: Bank) -> None:
    team = bank.open()
    bank.ask(a_hold("order", team, amount=50, ttl=TTL))
    receive(bank, a_report("order", 60, final=False))
    assert book(bank) == ["settle 60"]
    assert name(bank.ask(a_settlement("order", 60))) == "already_posted"
    assert bank.used(team) == (0, 60)


def test_two_who_reconcile_at_once_book_once(bank: Bank) -> None:
    team = bank.open()
    keys = [f"order {n}" for n in range(8)]
    bank.submit([a_hold(key, team, amount=50, ttl=TTL) for key in keys] + [a_post(k, 10) for k in keys[:4]])
    receive(bank, *(a_report(key, 12) for key in keys))
    answers = at_once(4, lambda _: book(bank))
    assert sorted(len(answer) for answer in answers if isinstance(answer, list)) == [0, 0, 0, 8]
    assert bank.used(team) == (0, 8 * 12)
    assert bank.differences() == []


def test_a_report_stored_just_after_a_period_was_asked_for_is_found_in_the_next(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    # It was received before the cut, and committed after somebody had asked up to the cut.
    receive(bank, a_report("order", 12))
    cut = bank.wait(timedelta(seconds=1))
    found = bank.store.transact(
        platforms.book, "sandbox", since=cut, until=bank.wait(timedelta(hours=1)), now=bank.now
    )
    assert list(map(name, found)) == ["correct 2"]


def test_corrections_from_before_they_named_their_hold_are_counted(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    key = f"report:{sha256(b'order').hexdigest()}:1:10"
    bank.ask(a_correction(key, team, delta=2, at=bank.now))
    receive(bank, a_report("order", 12))
    assert differences(bank) == []
    receive(bank, a_report("order", 10, number=2))
    assert book(bank) == ["correct -2"]
    receive(bank, a_report("order", 12, number=3))
    assert book(bank) == ["correct 2"]


def test_an_amount_that_cannot_be_booked_is_refused_when_it_is_reported(bank: Bank, sql: Sql) -> None:
    team = bank.open()
    bank.submit([a_hold(key, team, amount=50, ttl=TTL) for key in ("much", "fine")])
    with pytest.raises(InvalidInput, match="at most 1000000000000000"):
        receive(bank, a_report("fine", 20), a_report("much", 10**15 + 1))
    assert sql("SELECT count(*) FROM platform_reports") == [(0,)]
    # One that is there all the same keeps no other.
    platform_store_add(bank, a_report("much", 2**62), a_report("fine", 20))
    assert book(bank) == ["settle 20"]
    assert differences(bank) == [("over_delivery", "much", 2**62)]


def platform_store_add(bank: Bank, *reports: DeliveryReport) -> None:
    bank.store.transact(platform_store.add, reports, now=bank.now)


def test_a_period_must_begin_before_it_ends(bank: Bank) -> None:
    given = {"since": T0, "until": T0, "now": T0}
    with pytest.raises(InvalidInput, match="`since` must lie before `until`"):
        bank.store.transact(platforms.book, "sandbox", **given)
    with pytest.raises(InvalidInput, match="`since` must lie before `until`"):
        bank.store.read(platforms.differences, "sandbox", **given)


def test_an_order_placed_before_the_period_is_compared_with_what_was_reported(bank: Bank) -> None:
    team = bank.open()
    bank.submit([a_hold("order", team, amount=50, ttl=TTL), a_post("order", 10)])
    receive(bank, a_report("order", 10))
    bank.wait(timedelta(days=4))
    given = {"since": bank.now, "until": bank.now + timedelta(days=1), "now": bank.now}
    assert bank.store.read(platforms.differences, "sandbox", placed=["order"], **given) == []
