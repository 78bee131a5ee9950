"""A hold that cannot be ended is set aside; every other ends in its time."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

import pytest

from gaelp_ray.actors.budget_guard import _end_holds
from gaelp_ray.actors.duties import round_of
from gaelp_ray.domain.duties import EXPIRE_HOLDS
from gaelp_ray.domain.ledger import HoldState
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import ledger
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store.engine import Store
from tests.bank import MINUTE, Bank, a_hold, a_lease, name
from tests.conftest import Sql

_INSERT = """
    INSERT INTO money_holds (key, account_ids, currency, amount_micros, margin_micros, at_expiry, state,
                             posted_micros, created_at, expires_at)
    SELECT 'bad', {accounts}, 'EUR', 10, 0, 'return', 'pending', 0, created_at, expires_at
    FROM money_holds WHERE key = 'good'
    RETURNING created_at, account_ids
"""
_SAME = _INSERT.format(accounts="account_ids")
#: Rows as nothing that runs makes them: a hold 'bad' that cannot be ended.
BAD: dict[str, str] = {
    "nothing was booked for it": _INSERT.format(accounts="ARRAY[(SELECT max(id) FROM accounts)]"),
    "its account does not exist": _INSERT.format(accounts="ARRAY[999999]"),
    "it was ended before, by its entries": f"""
        WITH held AS ({_SAME})
        INSERT INTO ledger_entries (account_id, operation, key, hold_key, pending_micros, posted_micros,
                                    counted_at, at)
        SELECT account_ids[1], 'void', 'void bad', 'bad', -10, 0, created_at, created_at FROM held""",
    "it was ended before, by its answer": f"""
        WITH held AS ({_SAME})
        INSERT INTO ledger_operations (key, operation, digest, hold_key, amount_micros, breached, at)
        SELECT 'gaelp:expire:bad', 'expire', 'of another body', 'bad', 0, false, created_at FROM held""",
    "its amount is out of range": f"""
        {_SAME};
        UPDATE money_holds SET amount_micros = 9223372036854775807, margin_micros = 9223372036854775807
        WHERE key = 'bad'""",
    "a window of its account overlaps another": f"""
        {_SAME};
        INSERT INTO account_windows (account_id, period, starts_at, ends_at, pending_micros, posted_micros)
        SELECT account_id, period, starts_at + interval '1 second', ends_at + interval '1 hour', 0, 0
        FROM account_windows WHERE account_id = (SELECT account_ids[1] FROM money_holds WHERE key = 'bad')""",
}


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


@pytest.mark.parametrize("case", BAD)
def test_one_hold_that_cannot_be_ended_keeps_no_other(
    bank: Bank, sql: Sql, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    other, poisoned, _ = (bank.open({Period.DAY: 100}) for _ in range(3))
    bank.submit([a_hold("good", poisoned, amount=60), a_hold("full", other, amount=90)])
    bank.ask(a_lease("lease", other, amount=10))
    sql(BAD[case])
    bank.wait(MINUTE)
    with caplog.at_level(logging.ERROR):
        assert bank.expire() == 3
    assert "a hold cannot be ended" in caplog.text
    assert (bank.used(other, Period.DAY), bank.used(poisoned)) == ((0, 10), (0, 0))
    assert name(bank.ask(a_hold("again", other, amount=90))) == "hold 90"
    assert str(bank.store.read(ledger.hold, "bad").state) == HoldState.PENDING
    [(tries, error)] = sql("SELECT tries, error FROM overdue_holds WHERE hold_key = 'bad'")
    assert tries == 1
    assert error
    bank.wait(timedelta(minutes=2))
    assert [line for line in bank.differences() if line.startswith("overdue bad")], "somebody must look"


def test_a_hold_that_is_set_aside_is_tried_again_ever_later(bank: Bank, sql: Sql) -> None:
    account = bank.open()
    bank.ask(a_hold("good", account))
    sql(BAD["its account does not exist"])
    bank.wait(MINUTE)
    assert bank.expire() == 1
    tries = []
    for _ in range(10):
        bank.expire()
        tries += [row for (row,) in sql("SELECT tries FROM overdue_holds")]
        bank.wait(MINUTE)
    assert tries == sorted(tries)
    assert 1 < tries[-1] < 6
    sql("UPDATE money_holds SET account_ids = ARRAY[(SELECT min(id) FROM accounts)], amount_micros = 1")
    sql(
        """
        INSERT INTO ledger_entries (account_id, operation, key, hold_key, pending_micros, posted_micros,
                                    counted_at, at)
        SELECT account_ids[1], 'hold', 'bad', 'bad', 1, 0, created_at, created_at
        FROM money_holds WHERE key = 'bad'
        """
    )
    sql("UPDATE account_windows SET pending_micros = pending_micros + 1")
    bank.wait(timedelta(hours=1))
    assert bank.expire() == 1, "once its rows are right it ends like any other"


@pytest.mark.parametrize("case", BAD)
def test_the_duty_that_ends_holds_goes_on_past_a_bad_row(bank: Bank, sql: Sql, case: str) -> None:
    other, poisoned, _ = (bank.open({Period.DAY: 100}) for _ in range(3))
    bank.submit([a_hold("good", poisoned, amount=60), a_hold("full", other, amount=90)])
    sql(BAD[case])
    bank.wait(MINUTE)
    for _ in range(2):
        end = partial(_end_holds, now=bank.now)
        round_of(bank.store, EXPIRE_HOLDS, ledger_store.due, end, now=lambda: bank.now, limit=500)
    assert bank.used(other, Period.DAY) == (0, 0)
    assert str(bank.store.read(ledger.hold, "full").state) == HoldState.EXPIRED
    assert str(bank.store.read(ledger.hold, "good").state) == HoldState.EXPIRED
    assert str(bank.store.read(ledger.hold, "bad").state) == HoldState.PENDING
    assert name(bank.ask(a_hold("again", other, amount=90))) == "hold 90"
    assert sql("SELECT item FROM set_aside") == [("bad",)]
