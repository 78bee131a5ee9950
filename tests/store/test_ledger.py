"""The ledger on the database: what is answered is there, once, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from gaelp_ray.domain.errors import GaelpError, IdempotencyConflict, NotFound, Unavailable
from gaelp_ray.domain.ledger import HoldState, Outcome, Receipt, Request, renewal
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import ledger
from gaelp_ray.store.engine import LostRace, Store
from tests.bank import (
    MINUTE,
    Bank,
    a_correction,
    a_hold,
    a_lease,
    a_post,
    a_settlement,
    a_spend,
    a_void,
    name,
)
from tests.builders import World, at_once
from tests.conftest import Sql


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


def test_a_batch_is_booked_and_answered(bank: Bank, sql: Sql) -> None:
    one, other = bank.open({Period.DAY: 100}), bank.open({Period.TOTAL: 70})
    outcomes = bank.submit(
        [
            a_hold("a", one, other, amount=60),
            a_hold("b", one, amount=41),
            a_post("a", 25),
            a_hold("c", other, amount=45),
            a_void("c"),
            a_spend("d", one, amount=30),
        ]
    )
    assert list(map(name, outcomes)) == [
        "hold 60",
        "budget_exceeded",
        "post 25",
        "hold 45",
        "void 45",
        "spend 30",
    ]
    assert bank.used(one, Period.DAY) == (0, 55)
    assert bank.used(one) == (0, 55)
    assert bank.used(other) == (0, 25)
    assert sql("SELECT key, state, posted_micros FROM money_holds ORDER BY key") == [
        ("a", "posted", 25),
        ("c", "voided", 0),
    ]
    assert sql("SELECT key, refusal FROM ledger_operations WHERE refusal IS NOT NULL") == [
        ("b", "budget_exceeded")
    ]
    assert bank.differences() == []


def test_a_hold_is_resolved_in_a_later_batch(bank: Bank) -> None:
    account = bank.open()
    bank.submit([a_hold(f"{n}", account) for n in range(4)])
    bank.wait(timedelta(seconds=1))
    outcomes = bank.submit([a_post("0", 4), a_void("1"), a_settlement("2", 15), a_post("2")])
    assert list(map(name, outcomes)) == ["post 4", "void 10", "settle 15", "already_posted"]
    assert bank.used(account) == (10, 19)
    held = bank.store.read(ledger.hold, "2")
    assert (held.state, held.posted_micros, held.resolved_at) == (HoldState.POSTED, 15, bank.now)
    assert [hold.key for hold in bank.store.read(ledger.pending_holds, account, limit=10)] == ["3"]
    assert bank.differences() == []


def test_the_first_answer_comes_from_the_database_word_for_word(bank: Bank) -> None:
    account = bank.open({Period.TOTAL: 100})
    requests: list[Request] = [
        a_hold("a", account),
        a_hold("b", account, amount=101),
        a_post("a", 4),
        a_void("x"),
        a_spend("c", account, amount=500),
        a_correction("d", account, delta=-4),
        a_hold("e", account, follows="b"),
    ]
    first = bank.submit(requests)
    bank.wait(timedelta(hours=1))
    again = bank.submit(requests)
    assert list(map(said, again)) == list(map(said, first))
    assert isinstance(bank.ask(a_hold("a", account, amount=11)), IdempotencyConflict)
    assert bank.used(account) == (0, 500)


def said(outcome: Outcome) -> object:
    return (type(outcome), outcome.message, outcome.details) if isinstance(outcome, GaelpError) else outcome


def test_holds_past_their_time_are_ended(bank: Bank) -> None:
    account = bank.open()
    bank.submit([a_hold("a", account), a_lease("b", account), a_hold("c", account, ttl=2 * MINUTE)])
    assert bank.expire() == 0
    bank.wait(MINUTE)
    assert list(map(name, bank.submit([a_post("a"), a_void("b")]))) == ["hold_expired", "hold_expired"]
    assert bank.used(account) == (30, 0), "until somebody ends them, they are held"
    assert bank.expire() == 2
    assert bank.expire() == 0
    assert bank.used(account) == (10, 10)
    assert name(bank.ask(a_settlement("b", 3))) == "settle 3"
    assert bank.used(account) == (10, 3)
    assert bank.differences() == []


def test_a_renewal_is_one_step(bank: Bank) -> None:
    account = bank.open({Period.TOTAL: 100})
    bank.ask(a_lease("a", account, amount=100))
    outcomes = bank.submit(renewal("b", "a", 30, a_lease("ignored", account, amount=70)))
    assert list(map(name, outcomes)) == ["settle 30", "hold 70"]
    assert bank.used(account) == (70, 30)


def test_a_hold_knows_its_job(world: World, bank: Bank, sql: Sql) -> None:
    job, account = world.submit(), bank.open()
    assert name(bank.ask(a_hold("a", account, job_id=job.id))) == "hold 10"
    assert name(bank.ask(a_hold("b", account, job_id=job.id + 1))) == "not_found"
    assert bank.differences() == []
    world.cancel(job)
    assert bank.differences() == [f"job a: 10 micros, not no money held for job {job.id}, which is cancelled"]


def test_a_hold_that_never_was_is_not_found(bank: Bank) -> None:
    with pytest.raises(NotFound, match="There is no hold 'a'"):
        bank.store.read(ledger.hold, "a")


def test_an_empty_batch_does_nothing(bank: Bank) -> None:
    assert bank.submit([]) == []


def test_spenders_at_the_same_moment_never_pass_a_limit(bank: Bank) -> None:
    shared = bank.open({Period.DAY: 100})
    own = [bank.open({Period.TOTAL: 40}) for _ in range(8)]

    def spend(number: int) -> int:
        keys = [f"{number}/{n}" for n in range(10)]
        # Named in either order: the ledger locks in its own.
        ids = (shared, own[number]) if number % 2 else (own[number], shared)
        return sum(isinstance(bank.ask(a_hold(key, *ids, amount=7)), Receipt) for key in keys)

    granted = at_once(8, spend)
    assert [g for g in granted if not isinstance(g, int)] == []
    assert sum(g for g in granted if isinstance(g, int)) == 100 // 7
    assert bank.used(shared, Period.DAY) == (98, 0)
    assert bank.differences() == []


def test_one_key_from_many_at_the_same_moment_is_one_hold(bank: Bank, sql: Sql) -> None:
    account = bank.open({Period.TOTAL: 10})
    answers = at_once(8, lambda _: bank.ask(a_hold("a", account)))
    assert {name(answer) for answer in answers if not isinstance(answer, Exception)} == {"hold 10"}
    assert bank.used(account) == (10, 0)


def test_one_key_on_different_accounts_at_the_same_moment_is_one_hold(bank: Bank) -> None:
    own = [bank.open() for _ in range(8)]
    answers = at_once(8, lambda n: bank.ask(a_hold("a", own[n])))
    words = [
        a.code if isinstance(a, GaelpError) else name(a) for a in answers if not isinstance(a, ValueError)
    ]
    assert sorted(words) == ["hold 10"] + ["idempotency_conflict"] * 7
    assert sorted(bank.used(account) for account in own) == [(0, 0)] * 7 + [(10, 0)]


def test_a_hold_is_resolved_once_by_many_at_the_same_moment(bank: Bank) -> None:
    account = bank.open()
    bank.ask(a_hold("a", account))
    resolve: list[Callable[[int], Request]] = [
        lambda n: a_post("a", 4, key=f"post {n}"),
        lambda n: a_void("a", key=f"void {n}"),
    ]
    answers = at_once(8, lambda n: bank.ask(resolve[n % 2](n)))
    assert sum(isinstance(answer, Receipt) for answer in answers) == 1
    assert bank.used(account) in [(0, 4), (0, 0)]
    assert bank.differences() == []


def test_chains_over_the_same_accounts_in_all_orders_do_not_deadlock(bank: Bank) -> None:
    ids = [bank.open() for _ in range(6)]

    def work(number: int) -> list[str]:
        order = ids[number:] + ids[:number]
        keys = [f"{(number * 7 + n) % 30} {number}" for n in range(30)]
        return [
            name(o) for o in bank.submit([a_hold(key, *order[: 1 + n % 6]) for n, key in enumerate(keys)])
        ]

    answers = at_once(6, work)
    assert answers == [["hold 10"] * 30] * 6


def test_a_hold_made_while_its_accounts_were_looked_for_is_tried_again(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = bank.open()
    from gaelp_ray.store import ledger as ledger_store  # noqa: PLC0415 - to reach into it

    look, calls = ledger_store._accounts_of, []

    def too_early(tx: Connection, keys: set[str]) -> set[int]:
        calls.append(keys)
        if len(calls) == 1:
            found = look(tx, keys)
            bank.ask(a_hold("a", account))
            return found
        return look(tx, keys)

    monkeypatch.setattr(ledger_store, "_accounts_of", too_early)
    assert name(bank.ask(a_post("a"))) == "post 10"


def test_a_race_that_is_always_lost_is_unavailable(bank: Bank) -> None:
    def lose(_: Connection) -> None:
        raise LostRace

    with pytest.raises(Unavailable, match="Other changes were in the way three times"):
        bank.store.transact(lose)


def booked(sql: Sql) -> dict[str, list[tuple[object, ...]]]:
    """Everything that the ledger has written."""
    tables = ["ledger_operations", "money_holds", "ledger_entries", "account_windows", "budget_alerts"]
    return {table: sorted(sql(f"SELECT t::text FROM {table} t")) for table in tables}


class PowerCut(BaseException):
    """The process dies here."""


@contextmanager
def cut_at(store: Store, statement: int) -> Iterator[list[str]]:
    """Die before the so-manieth statement from now; yields those that were sent."""
    sent: list[str] = []

    def count(_c: object, _cursor: object, sql: str, *_: object) -> None:
        if len(sent) == statement:
            raise PowerCut
        sent.append(sql)

    event.listen(store.engine, "before_cursor_execute", count)
    try:
        yield sent
    finally:
        event.remove(store.engine, "before_cursor_execute", count)


def test_a_death_at_any_statement_leaves_all_or_nothing(bank: Bank, sql: Sql) -> None:
    account = bank.open({Period.DAY: 100})
    bank.submit([a_hold("old", account), a_lease("lease", account)])
    requests: list[Request] = [
        a_hold("a", account, amount=60),
        a_hold("b", account, amount=30),
        a_post("a", 25),
        a_settlement("old", 3),
        a_spend("c", account),
        *renewal("next", "lease", 10, a_lease("ignored", account)),
    ]
    before = booked(sql)
    for statement in range(100):
        try:
            with cut_at(bank.store, statement) as sent:
                outcomes = bank.submit(requests)
        except PowerCut:
            assert booked(sql) == before, f"died before statement {statement}"
            continue
        break
    assert len(sent) == statement
    assert statement > 8, "it died at every statement there is"
    assert list(map(name, outcomes)) == [
        "hold 60", "budget_exceeded", "post 25", "settle 3", "spend 10", "settle 10", "hold 10",
    ]  # fmt: skip
    assert bank.differences() == []
    after = booked(sql)
    assert list(map(said, bank.submit(requests))) == list(map(said, outcomes))
    assert booked(sql) == after, "an answer lost with the commit is given again and nothing is booked twice"


@pytest.mark.parametrize("table", ["ledger_entries", "ledger_operations"])
@pytest.mark.parametrize("change", ["UPDATE {} SET at = now()", "DELETE FROM {}", "TRUNCATE {}"])
def test_what_is_booked_cannot_be_changed(bank: Bank, sql: Sql, table: str, change: str) -> None:
    bank.ask(a_spend("a", bank.open()))
    with pytest.raises(DBAPIError, match=f"rows of {table} are never changed"):
        sql(change.format(table))


def test_the_database_resolves_a_hold_once(bank: Bank, sql: Sql) -> None:
    bank.submit([a_hold("a", bank.open()), a_void("a")])
    copy = """INSERT INTO ledger_entries (account_id, operation, key, hold_key, pending_micros, posted_micros,
              counted_at, at) SELECT account_id, operation, key, hold_key, pending_micros, posted_micros,
              counted_at, at FROM ledger_entries WHERE pending_micros < 0"""
    with pytest.raises(DBAPIError, match="uq_ledger_entries_resolution"):
        sql(copy)


#: A change behind the ledger's back, and how the reconciler finds it.
TAMPERED = {
    "a window": (
        "UPDATE account_windows SET posted_micros = posted_micros + 1 WHERE period = 'total'",
        "window",
    ),
    "a hold": ("UPDATE money_holds SET state = 'posted', posted_micros = 3, resolved_at = now()", "hold"),
    "a hold that is gone": ("DELETE FROM money_holds", "entry"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_the_reconciler_finds_what_does_not_add_up(bank: Bank, sql: Sql, case: str) -> None:
    account = bank.open({Period.DAY: 100})
    bank.submit([a_hold("a", account), a_spend("b", account)])
    assert bank.differences() == []
    change, kind = TAMPERED[case]
    sql(change)
    assert [difference.split()[0] for difference in bank.differences()] == [kind]


def test_the_reconciler_finds_holds_that_nobody_ends(bank: Bank) -> None:
    bank.ask(a_hold("a", bank.open()))
    bank.wait(MINUTE)
    assert bank.differences() == []
    bank.wait(MINUTE)
    assert [difference.split()[0] for difference in bank.differences()] == ["overdue"]
