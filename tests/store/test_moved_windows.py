"""A release of tzdata may move a clock: windows that are open stay, and none overlaps another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from gaelp_ray.domain import booking
from gaelp_ray.domain.windows import Period, Window, window
from gaelp_ray.services import accounts
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_hold, a_post, a_spend, name
from tests.builders import T0
from tests.conftest import Sql

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


def set_clocks(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """From now on days begin so much later, as if every zone had moved."""

    def moved(period: Period, timezone: str, moment: object) -> Window:
        found = window(period, timezone, moment - by)  # type: ignore[operator]
        return found if period is Period.TOTAL else Window(found.starts_at + by, found.ends_at + by)

    monkeypatch.setattr(booking, "window", moved)
    monkeypatch.setattr(accounts, "window", moved)


@pytest.mark.parametrize("by", [3 * HOUR, -3 * HOUR, 13 * HOUR, -13 * HOUR])
def test_what_is_booked_counts_in_the_window_that_is_open(
    bank: Bank, sql: Sql, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    account = bank.open({Period.DAY: 100})
    bank.submit([a_hold("held", account, amount=60, ttl=DAY), a_spend("spent", account, amount=30)])
    set_clocks(monkeypatch, by)
    assert bank.used(account, Period.DAY) == (60, 30)
    assert name(bank.ask(a_hold("over", account, amount=20))) == "budget_exceeded"
    assert name(bank.ask(a_post("held", 50))) == "post 50"
    for hours in range(-30, 60, 3):
        bank.ask(a_spend(f"at {hours}", account, amount=1, at=min(T0 + hours * HOUR, bank.now)))
        bank.wait(HOUR)
    overlaps = sql(
        """
        SELECT count(*) FROM account_windows a JOIN account_windows b
            ON (a.account_id, a.period) = (b.account_id, b.period)
            AND a.starts_at < b.starts_at AND b.starts_at < a.ends_at
        """
    )
    assert overlaps == [(0,)]
    assert bank.differences() == []
    counted = sql("SELECT sum(posted_micros) FROM account_windows WHERE period = 'day'")
    assert counted == [(30 + 50 + 30,)], "each entry counts once"
