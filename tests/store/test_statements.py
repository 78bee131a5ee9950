"""Statements show every movement and the balance after it, of any time."""

from __future__ import annotations

import random
import threading
from datetime import timedelta

import pytest

from gaelp_ray.domain.ledger import Balance, Line
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import ledger, statements
from gaelp_ray.store.engine import Store
from tests.bank import MINUTE, Bank, a_correction, a_hold, a_post, a_spend
from tests.builders import T0, at_once

SECOND = timedelta(seconds=1)


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


@pytest.fixture
def account(bank: Bank) -> int:
    """An account with four movements, one a second."""
    account = bank.open({Period.TOTAL: 100})
    for request in (
        a_hold("a", account, amount=60),
        a_post("a", 25),
        a_spend("b", account, amount=30),
        a_correction("c", account, delta=-5),
    ):
        bank.ask(request)
        bank.wait(SECOND)
    return account


def test_the_balance_of_any_moment_is_known(bank: Bank, account: int) -> None:
    balances = [bank.store.read(statements.balance, account, at=T0 + n * SECOND) for n in range(-1, 5)]
    assert balances == [
        Balance(0, 0), Balance(60, 0), Balance(0, 25), Balance(0, 55), Balance(0, 50), Balance(0, 50),
    ]  # fmt: skip


def test_a_statement_shows_every_movement(bank: Bank, account: int) -> None:
    lines = bank.store.read(statements.statement, account, since=T0, until=bank.now, limit=10)
    assert [
        (str(line.entry.operation), line.entry.key, line.pending_micros, line.posted_micros, line.note)
        for line in lines
    ] == [
        ("hold", "a", 60, 0, None),
        ("post", "post a", 0, 25, None),
        ("spend", "b", 0, 55, None),
        ("correct", "c", 0, 50, "a test"),
    ]


def test_a_statement_of_a_while_begins_with_the_balance_before(bank: Bank, account: int) -> None:
    lines = bank.store.read(statements.statement, account, since=T0 + SECOND, until=T0 + 3 * SECOND, limit=10)
    assert [(line.entry.key, line.posted_micros) for line in lines] == [("post a", 25), ("b", 55)]


def test_a_statement_is_read_page_by_page(bank: Bank, account: int) -> None:
    given = {"since": T0, "until": bank.now}
    whole = bank.store.read(statements.statement, account, **given, limit=10)
    after, pages = None, []
    for _ in range(4):
        (line,) = bank.store.read(statements.statement, account, **given, after=after, limit=1)
        pages.append(line)
        after = line.id
    assert pages == whole
    assert bank.store.read(statements.statement, account, **given, after=after, limit=1) == []


def test_an_export_has_every_line_whatever_its_length(
    bank: Bank, account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "_PAGE", 2)
    with bank.store.connection() as connection:
        rows = list(statements.export(connection, account, since=T0, until=bank.now))
    assert [tuple(row) for row in rows] == [statements.COLUMNS] * 4
    assert [(row["key"], row["balance_posted_micros"]) for row in rows] == [
        ("a", 0), ("post a", 25), ("b", 55), ("c", 50),
    ]  # fmt: skip


def test_alerts_come_once_a_window(bank: Bank) -> None:
    account = bank.open({Period.DAY: 100})
    bank.submit([a_hold(f"{n}", account, ttl=MINUTE) for n in range(6)])
    bank.wait(timedelta(days=1))
    bank.expire()
    bank.submit([a_hold(f"next {n}", account) for n in range(5)])
    found = bank.store.read(statements.alerts, account, limit=10)
    assert [(a.percent, a.usage.window.starts_at.day, a.usage.pending_micros) for _, a in found] == [
        (50, 1, 50), (50, 2, 50),
    ]  # fmt: skip
    first = found[0][0]
    assert bank.store.read(statements.alerts, account, after=first, limit=10) == found[1:]


def test_a_projection_is_made_for_each_window(bank: Bank) -> None:
    account = bank.open({Period.DAY: 100})
    bank.ask(a_spend("a", account, amount=50))
    bank.wait(SECOND)
    (day, today), (total, ever) = bank.store.read(statements.projections, account, now=bank.now)
    assert (day.period, total.period) == (Period.DAY, Period.TOTAL)
    assert today.exhausted_at is None
    assert today.spent_at_end_micros == 74
    assert ever.spent_at_end_micros is None


def test_who_pages_while_others_book_misses_nothing(bank: Bank) -> None:
    """Whoever books takes the time first and waits for the account then, so moments are not in order."""
    account = bank.open()
    writers, each = 5, 40
    stop = threading.Event()
    seen: list[Line] = []

    def page() -> None:
        given = {"since": T0, "until": None, "limit": 7}
        while True:
            done = stop.is_set()
            after = seen[-1].id if seen else None
            found = bank.store.read(statements.statement, account, after=after, **given)
            seen.extend(found)
            if done and not found:
                return

    def book(number: int) -> None:
        chance = random.Random(number)
        for n in range(each):
            at = T0 + chance.randrange(1000) * SECOND
            bank.store.transact(ledger.apply, [a_spend(f"{number} {n}", account, amount=1)], now=at)

    reader = threading.Thread(target=page)
    reader.start()
    at_once(writers, book)
    stop.set()
    reader.join()
    assert len({line.entry.key for line in seen}) == len(seen) == writers * each
    assert [line.posted_micros for line in seen] == list(range(1, writers * each + 1))


def test_a_line_shows_the_balance_as_it_was_booked(bank: Bank) -> None:
    account = bank.open()
    for number, seconds in enumerate((5, 1, 9, 3, 7)):
        at = T0 + seconds * SECOND
        bank.store.transact(ledger.apply, [a_spend(str(number), account, amount=10**number)], now=at)
    given = {"since": T0 + 2 * SECOND, "until": T0 + 8 * SECOND}
    expected = [("0", 1), ("3", 1111), ("4", 11111)]
    whole = bank.store.read(statements.statement, account, **given, limit=9)
    assert [(line.entry.key, line.posted_micros) for line in whole] == expected
    first = whole[0]
    opening = Balance(first.pending_micros, first.posted_micros)
    rest = bank.store.read(statements.statement, account, **given, after=first.id, opening=opening, limit=9)
    assert rest == whole[1:]
    assert bank.store.read(statements.statement, account, **given, after=first.id, limit=9) == whole[1:]


def test_alerts_of_all_accounts_are_read_in_the_order_of_commits(bank: Bank) -> None:
    late, early = bank.open({Period.TOTAL: 10}), bank.open({Period.TOTAL: 10})
    with bank.store.engine.begin() as slow:
        ledger.apply(slow, [a_hold("late", late, amount=5)], now=T0)
        bank.ask(a_hold("early", early, amount=5))
        assert bank.store.read(statements.all_alerts, limit=9) == [], "one that came before is under way"
    found = bank.store.read(statements.all_alerts, limit=9)
    assert [alert.usage.account_id for _, alert in found] == [late, early]
    first, second = (position for position, _ in found)
    assert bank.store.read(statements.all_alerts, after=first, limit=9) == found[1:]
    assert bank.store.read(statements.all_alerts, after=second, limit=9) == []


def told(bank: Bank, account: int) -> list[tuple[int, int | None]]:
    found = bank.store.read(statements.alerts, account, limit=99)
    return [(alert.percent, alert.usage.limit_micros) for _, alert in found]


def test_marks_are_told_again_of_another_limit(bank: Bank) -> None:
    account = bank.open({Period.DAY: 10})
    bank.ask(a_spend("all", account, amount=10))
    first = [(mark, 10) for mark in (50, 80, 95, 100)]
    assert told(bank, account) == first
    bank.limit(account, Period.DAY, 1000)
    assert told(bank, account) == first
    bank.ask(a_spend("more", account, amount=1035))
    raised = first + [(mark, 1000) for mark in (50, 80, 95, 100)]
    assert told(bank, account) == raised
    bank.limit(account, Period.DAY, 1000)
    bank.limit(account, Period.DAY, 10)
    bank.ask(a_spend("again", account, amount=1))
    assert told(bank, account) == raised, "each mark of a limit is told once in a window"
    bank.limit(account, Period.DAY, 2000)
    assert told(bank, account) == [*raised, (50, 2000)]
    bank.limit(account, Period.DAY, 500)
    assert told(bank, account) == [*raised, (50, 2000), *((mark, 500) for mark in (50, 80, 95, 100))]
    bank.wait(timedelta(days=1))
    bank.ask(a_spend("tomorrow", account, amount=250))
    assert told(bank, account)[-1] == (50, 500)
