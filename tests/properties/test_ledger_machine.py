"""Every order of operations, batches, repeats, waits and limits, against a model that adds all up anew."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, event, text

from gaelp_ray.domain.ledger import (
    AtExpiry,
    Correct,
    Hold,
    Outcome,
    Post,
    Receipt,
    Request,
    Settle,
    Spend,
    Void,
    renewal,
)
from gaelp_ray.domain.windows import Period, window
from gaelp_ray.services import ledger
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_correction, a_hold, a_post, a_settlement, a_spend, a_void, name

#: Such that limits are often reached to the micro, and passed by one.
AMOUNTS = st.sampled_from([1, 10, 20, 29, 30, 40, 60])
#: What is asked: hold, lease, post, void, settle, spend, correct, renew.
KINDS = st.sampled_from("hhhhllpppvssxcrr")
ASKED = st.tuples(KINDS, AMOUNTS, st.integers(1, 3), st.integers(0, 99))
LIMITS = st.none() | st.sampled_from([0, 60, 100, 150, 200])
#: Narrow enough that a run meets the ends of them.
PERIODS = (Period.HOUR, Period.DAY, Period.TOTAL)
ZONE = "Europe/Berlin"
TTL = timedelta(minutes=20)


#: Every row that an operation adds or changes.
BOOKS = """
    SELECT (SELECT count(*) FROM ledger_operations), (SELECT count(*) FROM ledger_entries),
           (SELECT count(*) FROM budget_alerts),
           (SELECT md5(string_agg(h::text, ' ' ORDER BY h.key)) FROM money_holds h),
           (SELECT md5(string_agg(w::text, ' ' ORDER BY w::text)) FROM account_windows w)
"""


class Crash(Exception):
    """Whoever wrote to the ledger is gone."""


@dataclass
class ModelHold:
    accounts: tuple[int, ...]
    held: int
    lease: bool
    made_at: datetime
    state: str = "pending"
    posted: int = 0
    settled_late: bool = False


@dataclass
class Model:
    """Movements as a list; every sum is added up anew."""

    limits: dict[tuple[int, Period], int | None]
    holds: dict[str, ModelHold] = field(default_factory=dict)
    #: Account, moment that it counts at, micros.
    posted: list[tuple[int, datetime, int]] = field(default_factory=list)
    answers: dict[str, tuple[Request, str]] = field(default_factory=dict)

    def used(self, account: int, period: Period, moment: datetime) -> tuple[int, int]:
        span = window(period, ZONE, moment)
        pending = sum(
            h.held
            for h in self.holds.values()
            if h.state == "pending" and account in h.accounts and h.made_at in span
        )
        return pending, sum(m for i, at, m in self.posted if i == account and at in span)

    def ask(self, request: Request, now: datetime) -> str:
        if request.key in self.answers:
            body, answer = self.answers[request.key]
            return answer if body == request else "idempotency_conflict"
        answer = self._carry_out(request, now)
        self.answers[request.key] = request, answer
        return answer

    def expire(self, now: datetime) -> int:
        due = [h for h in self.holds.values() if h.state == "pending" and h.made_at + TTL <= now]
        for hold in due:
            hold.state = "expired"
            if hold.lease:
                self._post(hold, hold.held)
        return len(due)

    def _carry_out(self, request: Request, now: datetime) -> str:
        if isinstance(request, Hold):
            return self._hold(request, now)
        if isinstance(request, Spend | Correct):
            amount = request.amount_micros if isinstance(request, Spend) else request.delta_micros
            kind = "spend" if isinstance(request, Spend) else "correct"
            periods = [(i, p) for i in request.account_ids for p in PERIODS]
            if any(self.used(i, p, now)[1] + amount < 0 for i, p in periods):
                return "invalid_input"
            self.posted += [(i, now, amount) for i in request.account_ids]
            return f"{kind} {amount}"
        assert isinstance(request, Post | Void | Settle)
        hold = self.holds.get(request.hold_key)
        if hold is None:
            return "not_found"
        if isinstance(request, Settle):
            return self._settle(hold, request.spent_micros)
        return self._resolve(hold, request, now)

    def _hold(self, request: Hold, now: datetime) -> str:
        if request.follows is not None:
            followed = self.answers.get(request.follows)
            if followed is None or " " not in followed[1]:
                return "link_failed"
        held = request.held_micros
        for (account, period), limit in self.limits.items():
            if account not in request.account_ids or limit is None:
                continue
            if sum(self.used(account, period, now)) + held > limit:
                return "budget_exceeded"
        lease = request.at_expiry is AtExpiry.SPEND
        self.holds[request.key] = ModelHold(tuple(sorted(request.account_ids)), held, lease, now)
        return f"hold {held}"

    def _settle(self, hold: ModelHold, spent: int) -> str:
        if hold.state == "pending":
            hold.state = "posted" if spent else "voided"
            self._post(hold, spent)
        elif hold.state == "expired" and not hold.settled_late:
            difference = spent - hold.posted
            periods = [(i, p) for i in hold.accounts for p in PERIODS]
            if any(self.used(i, p, hold.made_at)[1] + difference < 0 for i, p in periods):
                return "invalid_input"
            hold.settled_late = True
            self._post(hold, difference)
        else:
            return "already_voided" if hold.state == "voided" else "already_posted"
        return f"settle {spent}"

    def _resolve(self, hold: ModelHold, request: Post | Void, now: datetime) -> str:
        if hold.state == "expired" or (hold.state == "pending" and hold.made_at + TTL <= now):
            return "already_posted" if hold.settled_late else "hold_expired"
        if hold.state != "pending":
            return f"already_{hold.state}"
        if isinstance(request, Void):
            hold.state = "voided"
            return f"void {hold.held}"
        assert request.amount_micros is not None
        if request.amount_micros > hold.held:
            return "exceeds_hold"
        hold.state = "posted"
        self._post(hold, request.amount_micros)
        return f"post {request.amount_micros}"

    def _post(self, hold: ModelHold, amount: int) -> None:
        hold.posted += amount
        self.posted += [(i, hold.made_at, amount) for i in hold.accounts]


@contextmanager
def cutting(engine: Engine, cut_off: Callable[..., None]) -> Iterator[None]:
    event.listen(engine, "after_cursor_execute", cut_off)
    try:
        yield
    finally:
        event.remove(engine, "after_cursor_execute", cut_off)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self, store: Store) -> None:
        super().__init__()
        self.bank = Bank(store)
        self.prefix = f"run {id(self)}"
        self.numbers = itertools.count()
        self.asked: list[Request] = []
        self.hold_keys = [f"{self.prefix} never was"]
        self.ids: list[int] = []

    @initialize(first=LIMITS, second=LIMITS)
    def open_accounts(self, first: int | None, second: int | None) -> None:
        limits = ({Period.HOUR: first, Period.DAY: 100}, {Period.DAY: second, Period.TOTAL: 120})
        self.ids = [self.bank.open(each, timezone=ZONE) for each in limits]
        self.model = Model({(self.ids[n], p): limits[n].get(p) for n in range(2) for p in PERIODS})
        for account in self.ids:
            for period in PERIODS:
                self.bank.limit(account, period, self.model.limits[account, period])

    @rule(asked=st.lists(ASKED, min_size=4, max_size=12), crash_at=st.none() | st.integers(1, 16))
    def submit(self, asked: Sequence[tuple[str, int, int, int]], crash_at: int | None) -> None:
        batch, expected = [], []
        for each in asked:
            for request in self.build(*each):
                batch.append(request)
                expected.append(self.model.ask(request, self.bank.now))
                if request.key in self.model.holds:
                    self.hold_keys.append(request.key)
        self.asked += batch
        if crash_at is not None:
            self.crash(batch, crash_at)
        assert list(map(name, self.bank.submit(batch))) == expected

    def crash(self, batch: Sequence[Request], at: int) -> None:
        """Die after so many statements, or after the last of them has been committed."""
        statements = itertools.count(1)

        def cut_off(*_: object) -> None:
            if next(statements) == at:
                raise Crash

        before = self.books()
        with cutting(self.bank.store.engine, cut_off):
            try:
                self.bank.submit(batch)
            except Crash:
                assert self.books() == before, "what was cut off changed nothing"

    def books(self) -> object:
        with self.bank.store.connection() as connection:
            return connection.execute(text(BOOKS)).one()

    def build(self, kind: str, amount: int, which: int, pick: int) -> list[Request]:
        ids = [account for n, account in enumerate(self.ids) if which & (1 << n)]
        key = f"{self.prefix} {next(self.numbers)}"
        # Mostly one of the newest, sometimes one that never was.
        hold = self.hold_keys[-1 - pick % min(8, len(self.hold_keys))]
        expiry = AtExpiry.SPEND if kind in "lr" else AtExpiry.RETURN
        new = a_hold(key, *ids, amount=amount, ttl=TTL, at_expiry=expiry, margin_micros=int(amount == 29))
        built: dict[str, list[Request]] = {
            "h": [new],
            "l": [new],
            "p": [a_post(hold, amount, key=key)],
            "v": [a_void(hold, key=key)],
            "s": [a_settlement(hold, amount - 1, key=key)],
            "x": [a_spend(key, *ids, amount=amount)],
            "c": [a_correction(key, *ids, delta=25 - amount, at=self.bank.now)],
            "r": renewal(key, hold, amount, new),
        }
        return built[kind]

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        again = data.draw(st.lists(st.sampled_from(self.asked), min_size=1, max_size=8))
        other: list[Request] = [a_spend(again[0].key, self.ids[0], amount=999)]
        before = self.written()
        expected = [self.model.ask(request, self.bank.now) for request in again + other]
        assert list(map(name, self.bank.submit(again + other))) == expected
        assert self.written() == before, "what is asked again changes nothing"

    @rule(which=st.integers(0, 1), period=st.sampled_from(PERIODS), limit=LIMITS)
    def change_a_limit(self, which: int, period: Period, limit: int | None) -> None:
        account = self.ids[which]
        usage = self.bank.limit(account, period, limit)
        self.model.limits[account, period] = limit
        assert (usage.pending_micros, usage.posted_micros) == self.model.used(account, period, self.bank.now)

    @rule(minutes=st.sampled_from([1, 19, 20, 60, 60 * 24]))
    def wait(self, minutes: int) -> None:
        self.bank.wait(timedelta(minutes=minutes))

    @rule()
    def expire(self) -> None:
        assert self.bank.expire() == self.model.expire(self.bank.now)

    def written(self) -> object:
        """The number of the newest entry."""
        with self.bank.store.connection() as connection:
            return connection.execute(text("SELECT max(id) FROM ledger_entries")).scalar_one()

    @invariant()
    def every_window_is_as_in_the_model(self) -> None:
        for account in self.ids:
            for period in PERIODS:
                assert self.bank.used(account, period) == self.model.used(account, period, self.bank.now)

    @invariant()
    def held_money_stays_within_the_limit(self) -> None:
        for (account, period), limit in getattr(self, "model", Model({})).limits.items():
            usage = self.bank.usage(account, period)
            assert usage.limit_micros == limit
            if not usage.is_over:
                continue
            hold = a_hold(f"{self.prefix} over {account} {len(self.asked)}", account, amount=1, ttl=TTL)
            assert not isinstance(self.bank.ask(hold), Receipt), "past a limit nothing more is held"
            self.model.answers[hold.key] = hold, "budget_exceeded"

    def reconcile(self) -> None:
        found = [line for line in self.bank.differences() if not line.startswith("overdue")]
        assert found == []

    def teardown(self) -> None:
        """Everything held can still be resolved, once."""
        for key, hold in getattr(self, "model", Model({})).holds.items():
            found = self.bank.store.read(ledger.hold, key)
            assert str(found.state) == hold.state
            outcome: Outcome = self.bank.ask(a_settlement(key, 0, key=f"{key} end"))
            resolved = hold.state == "pending" or (hold.state == "expired" and not hold.settled_late)
            assert isinstance(outcome, Receipt) or not resolved or name(outcome) == "invalid_input"
        self.reconcile()
        self.bank.wait(timedelta(days=40))
        self.bank.expire()


def test_no_order_of_operations_passes_a_limit_or_loses_a_micro(store: Store) -> None:
    chosen = settings(max_examples=40, stateful_step_count=20)
    run_state_machine_as_test(lambda: LedgerMachine(store), settings=chosen)
