"""Statements show every movement and the balance after it, of any time."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaelp_ray.domain.ledger import Balance
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import statements
from gaelp_ray.store.engine import Store
from tests.bank import MINUTE, Bank, a_correction, a_hold, a_post, a_spend
from tests.builders import T0

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
