"""Every order of operations, refused ones too, of limits, expiry and reports, against a model and the books.

The model knows every window of every account by adding up anew. What it does not know, the entries say: they
alone show that no hold was ever granted past a limit, and what was booked for an order.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
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

from gaelp_ray.domain.budgets import MARKS, Usage
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
from gaelp_ray.domain.platforms import DeliveryReport
from gaelp_ray.domain.windows import Period, window
from gaelp_ray.services import accounts, platforms
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_correction, a_hold, a_post, a_settlement, a_spend, a_void, name

#: Such that limits are often reached to the micro, and passed by one.
AMOUNTS = st.sampled_from([1, 10, 20, 29, 30, 60, 90])
#: When something is said to have happened: now, in other windows, and in the future.
AGES = st.sampled_from([0, 0, 0, 0, 1, 24, 24, 48, -1])
#: What is asked: hold, lease, post, void, settle, spend, correct, give back, correct a hold, renew; spend
#: yesterday and give back today, and book that refund where it was spent after all.
KINDS = st.sampled_from("hhhhllpppvssxxccggkrmmu")
ASKED = st.tuples(KINDS, AMOUNTS, st.integers(1, 3), st.integers(0, 99), AGES)
#: Like the stages of a ramp, and like somebody who changes their mind.
LIMITS = st.sampled_from([None, 0, 5, 25, 50, 100, 100, 150, 1000])
PERIODS = tuple(Period)
ZONE = "Europe/Berlin"
TTL = timedelta(minutes=20)
HOUR = timedelta(hours=1)
#: How long before a period reports are looked at as well.
LEEWAY = timedelta(minutes=5)
#: What is checked; less than all of it shows which check finds what.
CHECKS = frozenset(
    {"answers", "spent", "refusals", "grants", "windows", "expiry", "orders", "marks", "books"}
)

#: Every row that anything adds or changes.
BOOKS = """
    SELECT (SELECT md5(string_agg(o::text, ' ' ORDER BY o.key)) FROM ledger_operations o WHERE o.key <> :key),
           (SELECT count(*) FROM ledger_entries), (SELECT count(*) FROM budget_alerts),
           (SELECT md5(string_agg(h::text, ' ' ORDER BY h.key)) FROM money_holds h),
           (SELECT md5(string_agg(w::text, ' ' ORDER BY w::text)) FROM account_windows w)
"""
#: Windows that are not what their entries add up to, or that overlap.
WRONG_WINDOWS = """
    SELECT w.account_id, w.period, w.starts_at FROM account_windows w CROSS JOIN LATERAL (
        SELECT coalesce(sum(pending_micros), 0) AS pending, coalesce(sum(posted_micros), 0) AS posted
        FROM ledger_entries e
        WHERE e.account_id = w.account_id AND e.counted_at >= w.starts_at AND e.counted_at < w.ends_at
    ) s
    WHERE w.account_id = ANY(:ids) AND (w.pending_micros, w.posted_micros) <> (s.pending, s.posted)
    UNION ALL
    SELECT w.account_id, w.period, w.starts_at FROM account_windows w JOIN account_windows other
        ON (other.account_id, other.period) = (w.account_id, w.period) AND other.starts_at > w.starts_at
        AND other.starts_at < w.ends_at
    WHERE w.account_id = ANY(:ids)
"""
#: Holds whose entries do not say what they are.
WRONG_HOLDS = """
    SELECT h.key, a.id FROM money_holds h JOIN accounts a ON a.id = ANY(h.account_ids)
    WHERE a.id = ANY(:ids) AND (
        SELECT (coalesce(sum(pending_micros), 0), coalesce(sum(posted_micros), 0))
        FROM ledger_entries e WHERE e.account_id = a.id AND e.hold_key = h.key
    ) <> (CASE h.state WHEN 'pending' THEN h.amount_micros + h.margin_micros ELSE 0 END::numeric,
          coalesce(h.reported_micros, h.posted_micros)::numeric)
"""
#: What was booked for an order: in its hold, and as corrections of it.
BOOKED = """
    SELECT coalesce((SELECT sum(posted_micros) FROM ledger_entries
                     WHERE hold_key = :key AND account_id = :account), 0)
        + coalesce((SELECT sum(amount_micros) FROM ledger_operations
                    WHERE operation = 'correct' AND refusal IS NULL
                        AND (hold_key = :key OR hold_key IS NULL AND split_part(key, ':', 2)
                             = encode(sha256(convert_to(:key, 'UTF8')), 'hex'))), 0)
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
    #: What was booked beside it.
    corrected: int = 0

    @property
    def booked(self) -> int:
        return self.posted + self.corrected


@dataclass
class Model:
    """Movements as a list; every sum is added up anew."""

    limits: dict[tuple[int, Period], int | None] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)
    #: Account, moment that it counts at, micros.
    posted: list[tuple[int, datetime, int]] = field(default_factory=list)
    answers: dict[str, tuple[Request, str]] = field(default_factory=dict)
    #: By order: number, cost, whether it is the last word, when it was received.
    reports: dict[str, list[tuple[int, int, bool, datetime]]] = field(default_factory=dict)

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
        # What records spent money and cannot yet may be asked again.
        if isinstance(request, Hold) or answer not in {"not_found", "invalid_input"}:
            self.answers[request.key] = request, answer
        return answer

    def expire(self, now: datetime) -> int:
        due = [h for h in self.holds.values() if h.state == "pending" and h.made_at + TTL <= now]
        for hold in due:
            hold.state = "expired"
            if hold.lease:
                self._post(hold, hold.held)
        return len(due)

    def reconcile(self, since: datetime, until: datetime) -> None:
        """Of each order of which a report came in the period, book what the newest of all says."""
        for key, reports in self.reports.items():
            if any(since - LEEWAY <= received < until for *_, received in reports):
                _, cost, final, _ = max(reports)
                self._agree(self.holds[key], cost, final)

    def _agree(self, hold: ModelHold, cost: int, final: bool) -> None:
        if cost == hold.booked and hold.state != "pending":
            return
        if cost <= hold.held or cost == hold.booked:
            if hold.state == "pending" and not final:
                return
            if not final and cost < hold.booked:
                return
        late = hold.state == "expired" and not hold.settled_late
        if hold.state == "pending" or late:
            spent = max(0, cost - hold.corrected)
            self._settle(hold, spent)
        if difference := cost - hold.booked:
            if min(self.used(i, Period.TOTAL, hold.made_at)[1] for i in hold.accounts) + difference < 0:
                return
            hold.corrected += difference
            self.posted += [(i, hold.made_at, difference) for i in hold.accounts]

    def _carry_out(self, request: Request, now: datetime) -> str:
        if isinstance(request, Hold):
            return self._hold(request, now)
        if isinstance(request, Spend):
            at = request.occurred_at or now
            return self._move(f"spend {request.amount_micros}", request, request.amount_micros, at, now)
        if isinstance(request, Correct):
            return self._correct(request, now)
        assert isinstance(request, Post | Void | Settle)
        hold = self.holds.get(request.hold_key)
        if hold is None:
            return "not_found"
        if isinstance(request, Settle):
            return self._settle(hold, request.spent_micros)
        return self._resolve(hold, request, now)

    def _move(self, answer: str, request: Spend | Correct, micros: int, at: datetime, now: datetime) -> str:
        if at > now + LEEWAY:
            return "invalid_input"
        if micros < 0 and any(self.used(i, Period.TOTAL, at)[1] + micros < 0 for i in request.account_ids):
            return "invalid_input"
        self.posted += [(i, at, micros) for i in request.account_ids]
        return answer

    def _correct(self, request: Correct, now: datetime) -> str:
        key = getattr(request, "hold_key", None)
        if key is not None and key not in self.holds:
            return "not_found"
        answer = f"correct {request.delta_micros}"
        found = self._move(answer, request, request.delta_micros, request.counted_at, now)
        if key is not None and found == answer:
            self.holds[key].corrected += request.delta_micros
        return found

    def _hold(self, request: Hold, now: datetime) -> str:
        if request.follows is not None:
            followed = self.answers.get(request.follows)
            if followed is None or " " not in followed[1]:
                return "link_failed"
        held = request.held_micros
        for (account, period), limit in self.limits.items():
            if account not in request.account_ids or limit is None:
                continue
            pending, posted = self.used(account, period, now)
            # What was given back of other money makes no room.
            if pending + max(0, posted) + held > limit:
                return "budget_exceeded"
        lease = request.at_expiry is AtExpiry.SPEND
        self.holds[request.key] = ModelHold(tuple(sorted(request.account_ids)), held, lease, now)
        return f"hold {held}"

    def _settle(self, hold: ModelHold, spent: int) -> str:
        if hold.state == "pending":
            hold.state = "posted" if spent else "voided"
            self._post(hold, spent)
        elif hold.state == "expired" and not hold.settled_late:
            hold.settled_late = True
            self._post(hold, spent - hold.posted)
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
    _runs = itertools.count(1)

    def __init__(self, store: Store, checks: frozenset[str] = CHECKS) -> None:
        super().__init__()
        self.bank, self.checks, self.model = Bank(store), checks, Model()
        self.prefix = f"run {next(self._runs)}"
        self.numbers = itertools.count()
        self.asked: list[Request] = []
        self.hold_keys = [f"{self.prefix} never was"]
        self.ids: list[int] = []
        #: Ends of periods that were asked for.
        self.cuts = [self.bank.now]
        #: Of entries that were added up, the newest, and what they add up to, by account and window.
        self.read_up_to = 0
        self.held: set[tuple[int, str]] = set()
        self.sums: dict[tuple[int, Period, datetime], Counter[str]] = defaultdict(Counter)

    def checks_that(self, check: str, holds: bool, what: object = "") -> None:
        assert holds or check not in self.checks, f"{check}: {what}"

    @initialize(day=st.none() | LIMITS, total=st.none() | LIMITS)
    def open_accounts(self, day: int | None, total: int | None) -> None:
        self.ids = [self.bank.open({}, timezone=ZONE) for _ in range(2)]
        self.set_limit(0, Period.TOTAL, None)
        for which, period, limit in ((0, Period.DAY, day), (1, Period.TOTAL, total)):
            if limit is not None:
                self.set_limit(which, period, limit)

    @rule(asked=st.lists(ASKED, min_size=4, max_size=12), crash_at=st.none() | st.integers(1, 16))
    def submit(self, asked: Sequence[tuple[str, int, int, int, int]], crash_at: int | None) -> None:
        batch = [request for each in asked for request in self.build(*each)]
        if crash_at is not None:
            self.crash(batch, crash_at)
        self.carry_out(batch)

    @rule(asked=ASKED)
    def ask_one(self, asked: tuple[str, int, int, int, int]) -> None:
        [request, *rest] = self.build(*asked)
        if rest:
            self.carry_out([request, *rest])
            return
        before = self.books(request.key)
        [outcome] = self.carry_out([request])
        if not isinstance(outcome, Receipt):
            self.checks_that("refusals", self.books(request.key) == before, f"{request}: {outcome}")

    def carry_out(self, batch: Sequence[Request]) -> list[Outcome]:
        expected = []
        for request in batch:
            expected.append(self.model.ask(request, self.bank.now))
            if request.key in self.model.holds:
                self.hold_keys.append(request.key)
        self.asked += batch
        outcomes = self.bank.submit(batch)
        found = list(map(name, outcomes))
        for request, answer, wanted in zip(batch, found, expected, strict=True):
            recorded = isinstance(request, Hold) or " " not in wanted or answer != "invalid_input"
            self.checks_that("spent", recorded, f"{request} must be recorded")
        self.checks_that("answers", found == expected, f"{found}, not {expected}")
        self.no_hold_was_granted_past_a_limit()
        return outcomes

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

    def books(self, key: str = "") -> object:
        return self.rows(BOOKS, key=key)

    def rows(self, query: str, **given: object) -> list[Any]:
        with self.bank.store.connection() as connection:
            return [tuple(row) for row in connection.execute(text(query), given)]

    def build(self, kind: str, amount: int, which: int, pick: int, age: int) -> list[Request]:
        ids = [account for n, account in enumerate(self.ids) if which & (1 << n)]
        key = f"{self.prefix} {next(self.numbers)}"
        # Mostly one of the newest, sometimes one that never was.
        hold = self.hold_keys[-1 - pick % min(8, len(self.hold_keys))]
        expiry = AtExpiry.SPEND if kind in "lr" else AtExpiry.RETURN
        new = a_hold(key, *ids, amount=amount, ttl=TTL, at_expiry=expiry, margin_micros=int(amount == 29))
        at, yesterday = self.bank.now - age * HOUR, self.bank.now - 24 * HOUR
        built: dict[str, Callable[[], list[Request]]] = {
            "h": lambda: [new],
            "l": lambda: [new],
            "p": lambda: [a_post(hold, amount, key=key)],
            "v": lambda: [a_void(hold, key=key)],
            "s": lambda: [a_settlement(hold, amount - 1, key=key)],
            "x": lambda: [a_spend(key, *ids, amount=amount, at=at if age else None)],
            "c": lambda: [a_correction(key, *ids, delta=amount, at=at)],
            "g": lambda: [a_correction(key, *ids, delta=-amount, at=at)],
            "k": lambda: self.correct_a_hold(key, hold, 15 - amount),
            "r": lambda: renewal(key, hold, amount, new),
            "m": lambda: [
                a_spend(key, *ids, amount=10 * amount, at=yesterday),
                a_correction(f"{key} back", *ids, delta=-10 * amount, at=self.bank.now),
            ],
            "u": lambda: [
                a_correction(key, *ids, delta=10 * amount, at=self.bank.now),
                a_correction(f"{key} there", *ids, delta=-10 * amount, at=yesterday),
            ],
        }
        return built[kind]()

    def correct_a_hold(self, key: str, hold: str, delta: int) -> list[Request]:
        known = self.model.holds.get(hold)
        ids, at = (known.accounts, known.made_at) if known is not None else (self.ids, self.bank.now)
        return [a_correction(key, *ids, delta=delta, at=at, hold_key=hold)]

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        answered = [request for request in self.asked if request.key in self.model.answers]
        if not answered:
            return
        again = data.draw(st.lists(st.sampled_from(answered), min_size=1, max_size=8))
        other: list[Request] = [a_spend(again[0].key, self.ids[0], amount=999)]
        before = self.books()
        expected = [self.model.ask(request, self.bank.now) for request in again + other]
        found = list(map(name, self.bank.submit(again + other)))
        self.checks_that("answers", found == expected, f"{found}, not {expected}")
        self.checks_that("answers", self.books() == before, "what is asked again changes nothing")

    @rule(which=st.integers(0, 1), period=st.sampled_from(PERIODS), limit=LIMITS)
    def set_limit(self, which: int, period: Period, limit: int | None) -> None:
        account = self.ids[which]
        usage = self.bank.limit(account, period, limit)
        self.model.limits[account, period] = limit
        used = self.model.used(account, period, self.bank.now)
        self.checks_that("windows", (usage.pending_micros, usage.posted_micros) == used, usage)

    @rule(which=st.integers(0, 1), period=st.sampled_from(PERIODS), limit=LIMITS, asked=ASKED)
    def limit_after_a_refund(
        self, which: int, period: Period, limit: int | None, asked: tuple[str, int, int, int, int]
    ) -> None:
        """Of a new account: what was spent yesterday is given back today, then a window is limited."""
        self.ids[which] = self.bank.open({}, timezone=ZONE)
        self.carry_out(self.build("m", 20, 1 << which, 0, 0))
        self.set_limit(which, period, limit)
        self.ask_one(asked)

    @rule(minutes=st.sampled_from([1, 19, 20, 60, 60 * 24, 60 * 24 * 8]))
    def wait(self, minutes: int) -> None:
        self.bank.wait(timedelta(minutes=minutes))

    @rule()
    def expire(self) -> None:
        expected = self.model.expire(self.bank.now)
        try:
            ended = self.bank.expire()
        except Exception as error:
            self.checks_that("expiry", False, error)
            return
        self.checks_that("expiry", ended == expected, f"{ended}, not {expected} holds ended")
        due = self.rows(
            "SELECT key FROM money_holds WHERE state = 'pending' AND expires_at <= :now", now=self.bank.now
        )
        self.checks_that("expiry", due == [], due)

    @precondition(lambda self: self.model.holds)
    @rule(pick=st.integers(0, 9), number=st.integers(1, 4), cost=AMOUNTS, final=st.booleans())
    def report(self, pick: int, number: int, cost: int, final: bool) -> None:
        """A platform says what an order has cost: in any order of numbers, more or less than before."""
        order = list(self.model.holds)[-1 - pick % min(3, len(self.model.holds))]
        report = DeliveryReport(
            platform=self.prefix,
            order_key=order,
            number=number,
            campaign="spring",
            currency="EUR",
            cost_micros=cost,
            final=final,
            reported_at=self.bank.now,
        )
        self.bank.store.transact(platforms.receive, [report], now=self.bank.now)
        known = self.model.reports.setdefault(order, [])
        if all(number != earlier for earlier, *_ in known):
            known.append((number, cost, final, self.bank.now))

    @precondition(lambda self: self.model.reports)
    @rule(data=st.data())
    def reconcile(self, data: st.DataObject) -> None:
        """Ask for a period, new or old: all that was reported, or up to an end that was asked for before."""
        since = data.draw(st.sampled_from(self.cuts)) - timedelta(days=1)
        until = data.draw(st.sampled_from([*self.cuts, self.bank.now + HOUR]))
        if until <= since:
            return
        self.cuts = [*self.cuts[-3:], self.bank.now + timedelta(seconds=1)]
        self.reconcile_period(since, until)

    def reconcile_period(self, since: datetime, until: datetime) -> None:
        self.bank.store.transact(platforms.book, self.prefix, since=since, until=until, now=self.bank.now)
        self.model.reconcile(since, until)
        for key in self.model.reports:
            hold = self.model.holds[key]
            [(booked,)] = self.rows(BOOKED, key=key, account=hold.accounts[0])
            self.checks_that("orders", booked == hold.booked, f"{key}: {booked}, not {hold.booked}")

    @rule(
        costs=st.tuples(AMOUNTS, AMOUNTS),
        final=st.tuples(st.booleans(), st.booleans()),
        asked=st.lists(st.sampled_from(["both", "first", "second"]), min_size=1, max_size=4),
    )
    def reconcile_again(self, costs: tuple[int, int], final: tuple[bool, bool], asked: Sequence[str]) -> None:
        """Two reports of an order that was posted, an hour apart; ask for the periods in any order."""
        key, begin = f"{self.prefix} {next(self.numbers)}", self.bank.now
        outcomes = self.carry_out(
            [a_hold(key, self.ids[0], amount=60, ttl=TTL), a_post(key, 20, key=f"post {key}")]
        )
        if not isinstance(outcomes[0], Receipt):
            return
        order = list(self.model.holds).index(key) - len(self.model.holds)
        self.report(-1 - order, 1, costs[0], final[0])
        middle = self.bank.wait(HOUR)
        self.report(-1 - order, 2, costs[1], final[1])
        end = self.bank.wait(HOUR)
        spans = {"both": (begin, end), "first": (begin, middle), "second": (middle, end)}
        for each in asked:
            self.reconcile_period(*spans[each])

    def no_hold_was_granted_past_a_limit(self) -> None:
        """Add up the new entries in the order in which they were booked."""
        new = self.rows(
            """
            SELECT id, account_id, operation, hold_key, pending_micros, posted_micros, counted_at
            FROM ledger_entries WHERE account_id = ANY(:ids) AND id > :after ORDER BY id
            """,
            ids=self.ids,
            after=self.read_up_to,
        )
        for entry_id, account, operation, hold, pending, posted, counted_at in new:
            self.read_up_to = entry_id
            if operation == "hold":
                self.held.add((account, hold))
            # Nothing comes back of what was never held.
            back = pending if operation == "hold" or (account, hold) in self.held else 0
            for period in PERIODS:
                sums = self.sums[account, period, window(period, ZONE, counted_at).starts_at]
                sums.update(pending=back, posted=posted)
                limit = self.model.limits.get((account, period))
                if operation == "hold" and limit is not None:
                    used = sums["pending"] + max(0, sums["posted"])
                    self.checks_that("grants", used <= limit, f"{used} of {limit} in the {period}")

    @invariant()
    def every_window_is_what_its_entries_add_up_to(self) -> None:
        wrong = self.rows(WRONG_WINDOWS, ids=self.ids)
        self.checks_that("windows", wrong == [], wrong)
        for account, usage in self.usages():
            used = self.model.used(account, usage.period, self.bank.now)
            found = (usage.pending_micros, usage.posted_micros)
            self.checks_that("windows", found == used, f"{usage}, not {used}")

    @invariant()
    def every_mark_of_every_limit_was_told(self) -> None:
        told: dict[tuple[object, ...], set[int]] = defaultdict(set)
        query = "SELECT account_id, period, starts_at, limit_micros, percent FROM budget_alerts"
        for *window_of_limit, percent in self.rows(f"{query} WHERE account_id = ANY(:ids)", ids=self.ids):
            told[tuple(window_of_limit)].add(percent)
        for account, usage in self.usages():
            limit, used = usage.limit_micros, usage.used_micros
            if limit is not None and used > 0:
                due = {mark for mark in MARKS if used * 100 >= limit * mark}
                found = told[account, usage.period, usage.window.starts_at, limit]
                self.checks_that("marks", due <= found, f"{due} of {limit}, told are {found}")

    def usages(self) -> list[tuple[int, Usage]]:
        """Of every present window."""
        read, now = self.bank.store.read, self.bank.now
        found = [(i, usage) for i in self.ids for usage in read(accounts.usages, i, now=now)]
        limits = {(i, usage.period): usage.limit_micros for i, usage in found}
        assert limits == {at: self.model.limits.get(at) for at in limits}
        return found

    @invariant()
    def every_hold_is_what_its_entries_add_up_to(self) -> None:
        found = self.rows(WRONG_HOLDS, ids=self.ids)
        self.checks_that("books", found == [], found)

    def teardown(self) -> None:
        """Everything held can still be resolved, once."""
        for key, hold in self.model.holds.items():
            outcome: Outcome = self.bank.ask(a_settlement(key, 0, key=f"{key} end"))
            resolved = hold.state == "pending" or (hold.state == "expired" and not hold.settled_late)
            self.checks_that("answers", isinstance(outcome, Receipt) == resolved, f"{key}: {outcome}")
        found = [line for line in self.bank.differences() if not line.startswith("overdue")]
        self.checks_that("books", found == [], found)
        self.bank.wait(timedelta(days=40))
        self.bank.expire()


def refund(machine: LedgerMachine) -> None:
    """Spend 100 yesterday, give it back today, and limit the day to 100."""
    machine.carry_out(machine.build("m", 10, 1, 0, 0))
    machine.set_limit(0, Period.DAY, 100)


def hold_90(machine: LedgerMachine) -> None:
    machine.ask_one(("h", 90, 1, 0, 0))


#: Steps that once broke a promise, in words.
STEPS: dict[str, list[Callable[[LedgerMachine], object]]] = {
    "a hold in a window below nothing": [refund, hold_90],
    "a refund is moved while money is held": [
        refund, hold_90, lambda m: m.wait(1), lambda m: m.carry_out(m.build("u", 10, 1, 0, 0)), hold_90,
        lambda m: m.wait(19), lambda m: m.expire(), hold_90,
    ],
    "holds expire in a window below nothing": [
        refund, hold_90, lambda m: m.ask_one(("h", 10, 2, 0, 0)), lambda m: m.wait(20), lambda m: m.expire(),
    ],
    "money is spent in a window below nothing": [refund, lambda m: m.ask_one(("x", 30, 1, 0, 0))],
    "an older period is asked for again": [
        lambda m: m.reconcile_again((10, 29), (True, True), ["both", "first", "both"]),
    ],
    "a limit changes after its marks were told": [
        lambda m: m.set_limit(0, Period.DAY, 5), lambda m: m.carry_out(m.build("x", 10, 1, 0, 0)),
        lambda m: m.set_limit(0, Period.DAY, 1000), lambda m: m.carry_out(m.build("x", 90, 1, 0, 0)),
        lambda m: m.set_limit(0, Period.DAY, 150),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", STEPS)
def test_steps_that_once_broke_a_promise_keep_every_one(store: Store, case: str) -> None:
    machine = LedgerMachine(store)
    machine.open_accounts(None, None)
    for step in STEPS[case]:
        step(machine)
        machine.every_window_is_what_its_entries_add_up_to()
        machine.every_mark_of_every_limit_was_told()
        machine.every_hold_is_what_its_entries_add_up_to()
    machine.teardown()


@pytest.mark.timeout(1200)
def test_no_order_of_operations_passes_a_limit_or_loses_a_micro(store: Store) -> None:
    chosen = settings(max_examples=int(os.environ.get("LEDGER_EXAMPLES", "30")), stateful_step_count=20)
    run_state_machine_as_test(lambda: LedgerMachine(store), settings=chosen)
