"""What the ledger grants and refuses, and in which order it gives its reasons; all in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.errors import (
    AlreadyPosted,
    BudgetExceeded,
    Forbidden,
    GaelpError,
    IdempotencyConflict,
    InvalidInput,
)
from gaelp_ray.domain.ledger import (
    Account,
    Expire,
    Hold,
    HoldState,
    Money,
    NewAccount,
    Request,
    Scope,
    check_opening,
    granted,
    renewal,
)
from gaelp_ray.domain.money import MAX_AMOUNT_MICROS, MAX_MICROS, written
from gaelp_ray.domain.windows import Period
from tests.bank import (
    MINUTE,
    MemoryBank,
    a_correction,
    a_hold,
    a_lease,
    a_post,
    a_settlement,
    a_spend,
    a_void,
    an_account,
    name,
)
from tests.builders import T0, at

HUNDRED = {1: {Period.TOTAL: 100}}


def bank(limits: dict[int, dict[Period, int | None]] | None = None) -> MemoryBank:
    return MemoryBank(limits or HUNDRED)


#: Operations one after the other; their answers, then pending and posted.
STORIES: dict[str, tuple[Sequence[Request], list[str], tuple[int, int]]] = {
    "a hold takes from what is left": ([a_hold("a", amount=60)], ["hold 60"], (60, 0)),
    "holds add up to the limit": (
        [a_hold("a", amount=60), a_hold("b", amount=40)], ["hold 60", "hold 40"], (100, 0),
    ),
    "a hold past the limit is refused in full": (
        [a_hold("a", amount=60), a_hold("b", amount=41)], ["hold 60", "budget_exceeded"], (60, 0),
    ),
    "what was posted counts as well": (
        [a_hold("a", amount=60), a_post("a"), a_hold("b", amount=41)],
        ["hold 60", "post 60", "budget_exceeded"], (0, 60),
    ),
    "a partial post returns the rest": (
        [a_hold("a", amount=60), a_post("a", 15), a_hold("b", amount=85)],
        ["hold 60", "post 15", "hold 85"], (85, 15),
    ),
    "a void returns all": ([a_hold("a", amount=60), a_void("a")], ["hold 60", "void 60"], (0, 0)),
    "a post of more than held is refused": (
        [a_hold("a", amount=60), a_post("a", 61)], ["hold 60", "exceeds_hold"], (60, 0),
    ),
    "a margin is held": ([a_hold("a", amount=60, margin_micros=6)], ["hold 66"], (66, 0)),
    "a post may use the margin": (
        [a_hold("a", amount=60, margin_micros=6), a_post("a", 66)], ["hold 66", "post 66"], (0, 66),
    ),
    "a post in full leaves the margin": (
        [a_hold("a", amount=60, margin_micros=6), a_post("a")], ["hold 66", "post 60"], (0, 60),
    ),
    "a hold is posted once": (
        [a_hold("a"), a_post("a"), a_post("a", key="again")],
        ["hold 10", "post 10", "already_posted"], (0, 10),
    ),
    "what is posted is not voided": (
        [a_hold("a"), a_post("a"), a_void("a")], ["hold 10", "post 10", "already_posted"], (0, 10),
    ),
    "what is voided is not posted": (
        [a_hold("a"), a_void("a"), a_post("a")], ["hold 10", "void 10", "already_voided"], (0, 0),
    ),
    "what is voided is not voided again": (
        [a_hold("a"), a_void("a"), a_void("a", key="again")],
        ["hold 10", "void 10", "already_voided"], (0, 0),
    ),
    "what was spent is recorded past the limit": ([a_spend("a", amount=150)], ["spend 150"], (0, 150)),
    "a settlement takes what was spent": (
        [a_hold("a", amount=60), a_settlement("a", 25)], ["hold 60", "settle 25"], (0, 25),
    ),
    "a settlement of more than held is recorded": (
        [a_hold("a", amount=60), a_settlement("a", 130)], ["hold 60", "settle 130"], (0, 130),
    ),
    "a settlement of nothing is a void": (
        [a_hold("a", amount=60), a_settlement("a", 0), a_void("a")],
        ["hold 60", "settle 0", "already_voided"], (0, 0),
    ),
    "a settlement comes once": (
        [a_hold("a"), a_settlement("a", 4), a_settlement("a", 4, key="again")],
        ["hold 10", "settle 4", "already_posted"], (0, 4),
    ),
    "a correction gives back": (
        [a_spend("a", amount=70), a_correction("b", delta=-30)], ["spend 70", "correct -30"], (0, 40),
    ),
    "a correction takes no more back than was posted": (
        [a_spend("a", amount=70), a_correction("b", delta=-71)], ["spend 70", "invalid_input"], (0, 70),
    ),
    "no hold, no post": ([a_hold("a"), a_post("b")], ["hold 10", "not_found"], (10, 0)),
    "a hold that is posted before it is made": (
        [a_post("a"), a_hold("a")], ["not_found", "hold 10"], (10, 0),
    ),
    "the same key is the same operation": (
        [a_hold("a", amount=60), a_hold("a", amount=60)], ["hold 60", "hold 60"], (60, 0),
    ),
    "the same key with another body is a conflict": (
        [a_hold("a", amount=60), a_hold("a", amount=61)], ["hold 60", "idempotency_conflict"], (60, 0),
    ),
    "the same key for another operation is a conflict": (
        [a_hold("a"), a_post("a", key="a")], ["hold 10", "idempotency_conflict"], (10, 0),
    ),
    "a key that was refused stays refused": (
        [a_hold("a", amount=60), a_hold("b", amount=60), a_void("a"), a_hold("b", amount=60)],
        ["hold 60", "budget_exceeded", "void 60", "budget_exceeded"], (0, 0),
    ),
    "what follows something done is done": (
        [a_hold("a"), a_hold("b", follows="a")], ["hold 10", "hold 10"], (20, 0),
    ),
    "what follows something refused is refused": (
        [a_hold("a", amount=101), a_hold("b", follows="a")], ["budget_exceeded", "link_failed"], (0, 0),
    ),
    "what follows nothing is refused": ([a_hold("b", follows="a")], ["link_failed"], (0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("case", STORIES)
def test_the_ledger_grants_and_refuses(case: str) -> None:
    requests, answers, used = STORIES[case]
    ledger = bank()
    assert [name(outcome) for outcome in ledger.submit(requests)] == answers
    assert (ledger.used() if ledger.book.usages else (0, 0)) == used


@pytest.mark.parametrize("case", STORIES)
def test_a_batch_is_its_operations_one_by_one(case: str) -> None:
    requests, answers, used = STORIES[case]
    ledger = bank()
    assert [name(ledger.ask(request)) for request in requests] == answers
    assert (ledger.used() if ledger.book.usages else (0, 0)) == used


CLOSED = an_account(5, closes_at=T0)
DOLLARS = an_account(6, currency="USD")
REAL = an_account(7, money=Money.REAL)

#: What is wrong with a hold, in the order in which it is said; each case has all faults from its own on.
FAULTS: list[tuple[str, Callable[[Hold], Hold], str]] = [
    ("the key was used", lambda h: replace(h, key="used"), "idempotency_conflict"),
    ("it follows a refusal", lambda h: replace(h, follows="refused"), "link_failed"),
    ("no such job", lambda h: replace(h, job_id=9), "not_found"),
    ("no such account", lambda h: replace(h, account_ids=(*h.account_ids, 99)), "not_found"),
    ("another currency", lambda h: replace(h, account_ids=(*h.account_ids, 6)), "mixed_currencies"),
    ("another kind of money", lambda h: replace(h, account_ids=(*h.account_ids, 7)), "mixed_currencies"),
    ("a closed account", lambda h: replace(h, account_ids=(*h.account_ids, 5)), "account_closed"),
    ("over a limit", lambda h: replace(h, amount_micros=101), "budget_exceeded"),
]


@pytest.mark.parametrize("first", range(len(FAULTS)), ids=[fault[0] for fault in FAULTS])
def test_the_most_telling_reason_is_given(first: int) -> None:
    ledger = MemoryBank({1: {Period.TOTAL: 100}, 2: {Period.TOTAL: None}}, accounts=[CLOSED, DOLLARS, REAL])
    ledger.submit([a_hold("used"), a_hold("refused", amount=101), a_spend("all", 2)])
    hold = a_hold("new")
    for _, spoil, _ in FAULTS[first:]:
        hold = spoil(hold)
    assert name(ledger.ask(hold)) == FAULTS[first][2]
    assert ledger.used(1) == (10, 0)


def count_past_a_column(ledger: MemoryBank, account: int) -> None:
    """As if so much had been spent from it as no column of the database holds."""
    for key, usage in ledger.book.usages.items():
        if key[0] == account:
            ledger.book.usages[key] = replace(usage, posted_micros=MAX_MICROS)


def test_a_refusal_says_what_is_left_and_when_there_is_more() -> None:
    ledger = bank({1: {Period.DAY: 3_000_000, Period.TOTAL: None}})
    with pytest.raises(BudgetExceeded) as refused:
        granted(ledger.ask(a_hold("a", amount=4_500_000)))
    assert refused.value.message == (
        "4.5 EUR are more than the 3 left of the day limit of team team 1, 3; the next window begins at "
        "2025-03-02T00:00:00+00:00."
    )
    assert refused.value.details == {
        "account_id": 1,
        "period": "day",
        "limit_micros": 3_000_000,
        "pending_micros": 0,
        "posted_micros": 0,
        "asked_micros": 4_500_000,
        "window_ends_at": "2025-03-02T00:00:00+00:00",
    }


def test_linked_accounts_are_held_all_or_none() -> None:
    ledger = bank({1: {Period.TOTAL: 100}, 2: {Period.TOTAL: 30}, 3: {Period.TOTAL: None}})
    assert name(ledger.ask(a_hold("a", 3, 1, 2, amount=31))) == "budget_exceeded"
    assert ledger.changes is not None
    assert ledger.changes.entries == []
    assert name(ledger.ask(a_hold("b", 3, 1, 2, amount=30))) == "hold 30"
    assert [ledger.used(i) for i in (1, 2, 3)] == [(30, 0)] * 3
    assert [entry.account_id for entry in ledger.changes.entries] == [1, 2, 3]


def test_the_shortest_window_of_the_lowest_account_is_named() -> None:
    tight = {Period.TOTAL: 5, Period.DAY: 5, Period.HOUR: 5}
    ledger = bank(
        {1: {Period.TOTAL: 100}, 2: dict(sorted(tight.items(), key=lambda x: list(Period).index(x[0])))}
    )
    refused = ledger.ask(a_hold("a", 2, 1, amount=10))
    assert isinstance(refused, BudgetExceeded)
    assert (refused.details["account_id"], refused.details["period"]) == (2, "hour")


def test_a_new_window_has_room_again_and_what_is_held_stays_in_the_old_one() -> None:
    ledger = bank({1: {Period.DAY: 100, Period.TOTAL: None}})
    ledger.ask(a_hold("a", amount=100, ttl=timedelta(days=2)))
    ledger.wait(timedelta(days=1))
    assert name(ledger.ask(a_hold("b", amount=100))) == "hold 100"
    assert name(ledger.ask(a_post("a", 70))) == "post 70"
    assert ledger.used(period=Period.DAY) == (100, 0), "today"
    assert ledger.used() == (100, 70)


def test_a_clock_that_jumps_back_meets_the_window_it_left() -> None:
    ledger = bank({1: {Period.DAY: 100, Period.TOTAL: None}})
    ledger.ask(a_hold("a", amount=100))
    ledger.wait(timedelta(days=1))
    assert name(ledger.ask(a_hold("b", amount=100))) == "hold 100"
    ledger.wait(timedelta(days=-1))
    assert name(ledger.ask(a_hold("c", amount=1))) == "budget_exceeded"


def test_a_spend_counts_when_it_happened() -> None:
    ledger = bank({1: {Period.DAY: 100, Period.TOTAL: None}})
    ledger.ask(a_spend("late report", amount=90, at=T0 - timedelta(days=1)))
    assert name(ledger.ask(a_hold("a", amount=100))) == "hold 100"
    assert name(ledger.ask(a_spend("early", at=T0 + timedelta(minutes=6)))) == "invalid_input"


def test_money_spent_past_a_limit_is_marked_and_stops_new_holds() -> None:
    ledger = bank()
    assert not granted(ledger.ask(a_spend("a", amount=100))).breached
    assert granted(ledger.ask(a_spend("b", amount=1))).breached
    assert ledger.usage().breached_at == T0
    assert name(ledger.ask(a_hold("c", amount=1))) == "budget_exceeded"


def test_only_a_settlement_past_what_was_held_breaches() -> None:
    ledger = bank()
    ledger.submit([a_hold("a", amount=100), a_hold("b", amount=10)])
    assert granted(ledger.ask(a_settlement("a", 101))).breached


def test_each_mark_is_told_as_it_is_passed() -> None:
    ledger = bank()
    told = []
    for key, amount in (("a", 49), ("b", 1), ("c", 46), ("d", 4)):
        ledger.ask(a_hold(key, amount=amount))
        assert ledger.changes is not None
        told.append([alert.percent for alert in ledger.changes.alerts])
    assert told == [[], [50], [80, 95], [100]]
    ledger.submit([a_void("d"), a_hold("e", amount=4)])
    assert ledger.changes is not None
    assert ledger.changes.alerts == []


#: A hold, what happens to it after its time, the answers; then pending and posted.
LATE: dict[str, tuple[Hold, Sequence[Request], list[str], tuple[int, int]]] = {
    "it can no longer be posted": (a_hold("a"), [a_post("a")], ["hold_expired"], (10, 0)),
    "it can no longer be voided": (a_hold("a"), [a_void("a")], ["hold_expired"], (10, 0)),
    "its money returns": (a_hold("a"), [Expire(hold_key="a")], ["expire 0"], (0, 0)),
    "it expires once": (
        a_hold("a"), [Expire(hold_key="a"), a_void("a")], ["expire 0", "hold_expired"], (0, 0),
    ),
    "what was spent of it is recorded": (
        a_hold("a"), [Expire(hold_key="a"), a_settlement("a", 12)], ["expire 0", "settle 12"], (0, 12),
    ),
    "it is settled before anybody noticed": (a_hold("a"), [a_settlement("a", 4)], ["settle 4"], (0, 4)),
    "a lease counts as spent": (
        a_lease("a", margin_micros=2), [Expire(hold_key="a")], ["expire 12"], (0, 12),
    ),
    "a lease that is settled late returns the rest": (
        a_lease("a"), [Expire(hold_key="a"), a_settlement("a", 4)], ["expire 10", "settle 4"], (0, 4),
    ),
    "a lease that was not used returns all": (
        a_lease("a"), [Expire(hold_key="a"), a_settlement("a", 0)], ["expire 10", "settle 0"], (0, 0),
    ),
    "a lease that was used up stays as it is": (
        a_lease("a"), [Expire(hold_key="a"), a_settlement("a", 10)], ["expire 10", "settle 10"], (0, 10),
    ),
    "a late settlement comes once": (
        a_lease("a"),
        [Expire(hold_key="a"), a_settlement("a", 4), a_settlement("a", 0, key="again")],
        ["expire 10", "settle 4", "already_posted"], (0, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LATE)
def test_a_hold_past_its_time(case: str) -> None:
    hold, requests, answers, used = LATE[case]
    ledger = bank()
    ledger.ask(hold)
    ledger.wait(MINUTE)
    assert [name(outcome) for outcome in ledger.submit(requests)] == answers
    assert ledger.used() == used


def test_a_hold_does_not_expire_before_its_time() -> None:
    ledger = bank()
    ledger.ask(a_hold("a"))
    ledger.wait(MINUTE - timedelta(microseconds=1))
    assert name(ledger.ask(Expire(hold_key="a"))) == "conflict"
    ledger.wait(timedelta(microseconds=1))
    assert name(ledger.ask(Expire(hold_key="a"))) == "expire 0", "being too early is not remembered"


def test_a_renewal_spends_and_holds_in_one_step() -> None:
    ledger = bank()
    ledger.ask(a_hold("a", amount=100))
    steps = renewal("b", "a", 30, a_hold("ignored", amount=70))
    assert [name(outcome) for outcome in ledger.submit(steps)] == ["settle 30", "hold 70"]
    assert ledger.used() == (70, 30)
    assert [name(outcome) for outcome in ledger.submit(steps)] == ["settle 30", "hold 70"], "again"
    assert ledger.used() == (70, 30)


def test_a_renewal_records_what_was_spent_where_the_next_hold_is_refused() -> None:
    ledger = bank()
    ledger.ask(a_hold("a", amount=100))
    outcomes = ledger.submit(renewal("b", "a", 60, a_hold("ignored", amount=41)))
    assert [name(outcome) for outcome in outcomes] == ["settle 60", "budget_exceeded"]
    assert ledger.used() == (0, 60)


def test_a_hold_that_was_resolved_is_not_renewed() -> None:
    ledger = bank()
    ledger.submit([a_hold("a", amount=10), a_post("a")])
    outcomes = ledger.submit(renewal("b", "a", 1, a_hold("ignored")))
    assert [name(outcome) for outcome in outcomes] == ["already_posted", "link_failed"]
    assert ledger.used() == (0, 10)


def test_a_renewed_lease_that_had_expired_returns_what_was_not_spent() -> None:
    ledger = bank()
    ledger.ask(a_lease("a", amount=100))
    ledger.wait(MINUTE)
    ledger.ask(Expire(hold_key="a"))
    outcomes = ledger.submit(renewal("b", "a", 30, a_lease("ignored", amount=70)))
    assert [name(outcome) for outcome in outcomes] == ["settle 30", "hold 70"]


def test_a_hold_made_and_posted_in_one_batch_is_written_as_posted() -> None:
    ledger = bank()
    ledger.submit([a_hold("a"), a_post("a", 4)])
    assert ledger.changes is not None
    assert ledger.changes.resolved == {}
    assert ledger.changes.opened["a"].state is HoldState.POSTED


def test_the_first_answer_is_given_again_word_for_word() -> None:
    ledger = bank()
    first = ledger.ask(a_hold("a", amount=60))
    ledger.submit([a_post("a", 5)])
    ledger.wait(timedelta(hours=1))
    assert ledger.ask(a_hold("a", amount=60)) == first
    conflict = ledger.ask(a_hold("a", amount=61))
    assert isinstance(conflict, IdempotencyConflict)
    assert conflict.message == "Key 'a' was used before for a hold with another body; use a new key."


def test_a_batch_that_changes_nothing_writes_nothing() -> None:
    ledger = bank()
    ledger.ask(a_hold("a"))
    ledger.ask(a_hold("a"))
    assert ledger.changes is not None
    assert (ledger.changes.answers, ledger.changes.entries, ledger.changes.usages) == ({}, [], {})


def test_granted_raises_the_refusal() -> None:
    with pytest.raises(AlreadyPosted):
        granted(AlreadyPosted())


#: What is wrong with an amount, wherever one is given.
AMOUNTS: dict[str, Any] = {
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a float": 1.0,
    "negative": -1,
    "zero": 0,
    "10**30": 10**30,
    "one too many": MAX_AMOUNT_MICROS + 1,
    "true": True,
    "text": "5",
    "none": None,
}
OPERATIONS: dict[str, Callable[[Any], object]] = {
    "hold": lambda amount: a_hold("a", amount=amount),
    "spend": lambda amount: a_spend("a", amount=amount),
    "correct": lambda amount: a_correction("a", delta=amount),
    "settle": lambda amount: a_settlement("a", amount),
    "post": lambda amount: a_post("a", amount),
    "margin": lambda amount: a_hold("a", margin_micros=amount),
}
#: Where an amount means something after all.
RIGHT = {("post", "none"), ("settle", "zero"), ("margin", "zero"), ("correct", "negative")}


@pytest.mark.parametrize("kind", OPERATIONS)
@pytest.mark.parametrize("case", AMOUNTS)
def test_only_whole_micros_above_zero_are_amounts(kind: str, case: str) -> None:
    if (kind, case) in RIGHT:
        OPERATIONS[kind](AMOUNTS[case])
        return
    with pytest.raises(InvalidInput, match="micros"):
        OPERATIONS[kind](AMOUNTS[case])


NAIVE = datetime(2025, 3, 1, 12)  # noqa: DTZ001 - that is what is wrong with it
BAD: dict[str, Callable[[], object]] = {
    "an empty key": lambda: a_hold(""),
    "a key that is too long": lambda: a_hold("k" * 201),
    "a key of another line": lambda: a_hold("a\nb"),
    "a key with NUL": lambda: a_hold("a\0b"),
    "half a character": lambda: a_hold("\ud800"),
    "a key of the service": lambda: a_hold("gaelp:expire:a"),
    "a hold of the service": lambda: a_post("gaelp:a"),
    "a key that is a number": lambda: a_hold(5),  # type: ignore[arg-type]
    "no accounts": lambda: Hold(key="a", account_ids=(), currency="EUR", amount_micros=1, ttl=MINUTE),
    "too many accounts": lambda: a_hold("a", *range(1, 18)),
    "an account twice": lambda: a_hold("a", 1, 1),
    "account 0": lambda: a_hold("a", 0),
    "an account past counting": lambda: a_hold("a", 2**63),
    "an account that is true": lambda: a_hold("a", True),
    "small letters": lambda: a_hold("a", currency="eur"),
    "no currency": lambda: a_hold("a", currency=""),
    "no time": lambda: a_hold("a", ttl=timedelta(0)),
    "a time that has passed": lambda: a_hold("a", ttl=-MINUTE),
    "a time without end": lambda: a_hold("a", ttl=timedelta(days=32)),
    "a margin past counting": lambda: a_hold("a", amount=MAX_AMOUNT_MICROS, margin_micros=1),
    "a time without a zone": lambda: a_spend("a", at=NAIVE),
    "before all windows": lambda: a_correction("a", delta=1, at=datetime.fromisoformat("1969-12-31T00:00Z")),
    "after all windows": lambda: a_correction("a", delta=1, at=datetime.fromisoformat("9000-01-01T00:00Z")),
    "no reason": lambda: replace(a_correction("a", delta=1), reason=" \n"),
    "a global account of somebody": lambda: new_account(scope=Scope.GLOBAL, subject="ann"),
    "an account of nobody": lambda: new_account(subject=""),
    "a subject that is too long": lambda: new_account(subject="n" * 201),
    "no such zone": lambda: new_account(timezone="Mars/Olympus"),
    "an end without a zone": lambda: new_account(closes_at=NAIVE),
}


def new_account(**fields: Any) -> NewAccount:
    given = {"scope": Scope.USER, "subject": "ann", "currency": "EUR", "money": Money.REAL}
    return NewAccount(**given | fields)


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_at_the_door(case: str) -> None:
    with pytest.raises(InvalidInput):
        BAD[case]()


@pytest.mark.parametrize("kind", AgentType)
@pytest.mark.parametrize("money", Money)
def test_a_simulation_never_gets_real_money(kind: AgentType, money: Money) -> None:
    new = new_account(scope=Scope.AGENT, subject="1", money=money)
    if (kind, money) == (AgentType.SIMULATION, Money.REAL):
        with pytest.raises(Forbidden):
            check_opening(new, kind)
    else:
        check_opening(new, kind)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "0.000001"), (12_500_000, "12.5"), (-1_000_000, "-1"), (10**13, "10000000")],
)
def test_money_is_written_exactly(amount: int, text: str) -> None:
    assert written(amount) == text


def test_an_account_that_closed_still_resolves_what_it_holds() -> None:
    closing: Account = an_account(1, closes_at=at(30))
    ledger = MemoryBank({}, accounts=[closing])
    ledger.book.limits = {1: []}
    ledger.ask(a_hold("a"))
    ledger.wait(timedelta(seconds=30))
    assert name(ledger.ask(a_hold("b"))) == "account_closed"
    assert name(ledger.ask(a_post("a"))) == "post 10"


def test_an_operation_that_cannot_be_booked_keeps_no_other() -> None:
    ledger = bank({1: {Period.DAY: 100, Period.TOTAL: None}})
    ledger.submit([a_hold("good"), a_hold("bad"), a_hold("less", amount=20)])
    # As if more were held than was ever booked, or on an account that is gone.
    ledger.book.holds["bad"] = replace(ledger.book.holds["bad"], account_ids=(9,))
    ledger.book.holds["less"] = replace(ledger.book.holds["less"], amount_micros=1000)
    before = dict(ledger.book.holds), dict(ledger.book.usages)
    outcomes = ledger.submit([a_void("bad"), a_settlement("less", 5)])
    assert [name(outcome) for outcome in outcomes] == ["unbookable"] * 2
    assert (ledger.book.holds, ledger.book.usages) == before
    assert ledger.changes is not None
    assert (ledger.changes.entries, ledger.changes.answers, ledger.changes.resolved) == ([], {}, {})
    assert [request.key for request, _ in ledger.changes.faults] == ["void bad", "settle less"]
    outcomes = ledger.submit([a_void("bad"), a_post("good", 4), a_hold("new")])
    assert [name(outcome) for outcome in outcomes] == ["unbookable", "post 4", "hold 10"]


def test_a_refusal_of_what_is_not_there_yet_is_not_remembered() -> None:
    ledger = bank()
    early: list[Request] = [
        a_post("a", 4),
        a_settlement("b", 4),
        a_void("c"),
        a_correction("x", delta=-1),
        a_spend("y", amount=5, at=T0 + timedelta(hours=1)),
        a_correction("z", delta=1, at=T0 + timedelta(hours=1)),
    ]
    assert [name(each) for each in ledger.submit(early)] == ["not_found"] * 3 + ["invalid_input"] * 3
    assert ledger.changes is not None
    assert ledger.changes.answers == {}
    ledger.submit([a_hold(key, ttl=timedelta(hours=2)) for key in "abc"])
    ledger.wait(timedelta(hours=1))
    assert [name(each) for each in ledger.submit(early)] == [
        "post 4", "settle 4", "void 10", "correct -1", "spend 5", "correct 1",
    ]  # fmt: skip


def test_more_is_counted_than_a_column_of_the_database_holds() -> None:
    ledger = bank({1: {Period.TOTAL: None}})
    ledger.ask(a_hold("a"))
    count_past_a_column(ledger, 1)
    requests = [a_hold("more"), a_spend("b"), a_settlement("a", 30)]
    assert [name(each) for each in ledger.submit(requests)] == ["hold 10", "spend 10", "settle 30"]
    assert ledger.used() == (10, MAX_MICROS + 40)


def test_every_refusal_of_a_hold_is_remembered_as_itself() -> None:
    ledger = bank()
    requests: list[Request] = [
        a_hold("over", amount=101),
        a_hold("nobody", 9),
        a_hold("after nothing", follows="x"),
        a_hold("of no job", job_id=9),
    ]
    first = ledger.submit(requests)
    assert all(isinstance(outcome, GaelpError) for outcome in first)
    assert ledger.submit(requests) == first
