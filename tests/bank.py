"""Ledgers to test against: one in memory, one in a database, with the same handles."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gaelp_ray.domain.booking import Book, Changes, decide, usages_needed
from gaelp_ray.domain.budgets import Usage
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import (
    Account,
    AtExpiry,
    Correct,
    Hold,
    Limit,
    Money,
    NewAccount,
    Outcome,
    Post,
    Request,
    Scope,
    Settle,
    Spend,
    Void,
)
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, ledger, statements
from gaelp_ray.store.engine import Store
from tests.builders import T0

MINUTE = timedelta(minutes=1)
Limits = Mapping[Period, int | None]


def a_hold(key: str, *ids: int, amount: int = 10, **fields: Any) -> Hold:
    given: dict[str, Any] = {"currency": "EUR", "ttl": MINUTE}
    return Hold(key=key, account_ids=ids or (1,), amount_micros=amount, **given | fields)


def a_lease(key: str, *ids: int, amount: int = 10, **fields: Any) -> Hold:
    return a_hold(key, *ids, amount=amount, at_expiry=AtExpiry.SPEND, **fields)


def a_post(hold: str, amount: int | None = None, *, key: str | None = None) -> Post:
    return Post(key=key or f"post {hold}", hold_key=hold, amount_micros=amount)


def a_void(hold: str, *, key: str | None = None) -> Void:
    return Void(key=key or f"void {hold}", hold_key=hold)


def a_settlement(hold: str, spent: int, *, key: str | None = None) -> Settle:
    return Settle(key=key or f"settle {hold}", hold_key=hold, spent_micros=spent)


def a_spend(key: str, *ids: int, amount: int = 10, at: datetime | None = None) -> Spend:
    return Spend(key=key, account_ids=ids or (1,), currency="EUR", amount_micros=amount, occurred_at=at)


def a_correction(key: str, *ids: int, delta: int, at: datetime = T0, **fields: Any) -> Correct:
    given: dict[str, Any] = {"currency": "EUR", "reason": "a test"} | fields
    return Correct(key=key, account_ids=ids or (1,), delta_micros=delta, counted_at=at, **given)


def an_account(account_id: int, **fields: Any) -> Account:
    given: dict[str, Any] = {"currency": "EUR", "money": Money.SIMULATED, "scope": Scope.TEAM}
    return Account(id=account_id, **{"subject": f"team {account_id}"} | given | fields)


class MemoryBank:
    """The domain on a book in memory; also a lender, for leases."""

    def __init__(self, limits: Mapping[int, Limits], *, accounts: Sequence[Account] = ()) -> None:
        known = {i: an_account(i) for i in limits} | {account.id: account for account in accounts}
        rows = {i: [Limit(i, p, m) for p, m in limits.get(i, {Period.TOTAL: None}).items()] for i in known}
        self.book = Book(accounts=known, limits=rows, holds={}, answers={})
        self.now = T0
        self.changes: Changes | None = None

    def wait(self, length: timedelta) -> None:
        self.now += length

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        self.book.usages = usages_needed(self.book, requests, self.now) | self.book.usages
        self.changes = decide(self.book, requests, self.now)
        return self.changes.outcomes

    def ask(self, request: Request) -> Outcome:
        return self.submit([request])[0]

    def usage(self, account_id: int = 1, period: Period = Period.TOTAL) -> Usage:
        """The newest window of an account."""
        found = [u for (i, p, _), u in self.book.usages.items() if (i, p) == (account_id, period)]
        return max(found, key=lambda usage: usage.window.starts_at)

    def used(self, account_id: int = 1, period: Period = Period.TOTAL) -> tuple[int, int]:
        usage = self.usage(account_id, period)
        return usage.pending_micros, usage.posted_micros


class Bank:
    """The services on a database, with a clock of its own."""

    _names = itertools.count(1)

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = T0

    def wait(self, length: timedelta) -> datetime:
        self.now += length
        return self.now

    def open(self, limits: Limits | None = None, **fields: Any) -> int:
        given: dict[str, Any] = {"scope": Scope.TEAM, "currency": "EUR", "money": Money.SIMULATED}
        new = NewAccount(**{"subject": f"team {next(self._names)}"} | given | fields)
        account = self.store.transact(accounts.open_account, new, now=self.now)
        for period, limit in (limits or {}).items():
            self.limit(account.id, period, limit)
        return account.id

    def limit(self, account_id: int, period: Period, limit: int | None) -> Usage:
        return self.store.transact(accounts.set_limit, account_id, period, limit, now=self.now)

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        return self.store.transact(ledger.apply, requests, now=self.now)

    def ask(self, request: Request) -> Outcome:
        return self.submit([request])[0]

    def expire(self) -> int:
        return self.store.transact(ledger.expire_due, now=self.now)

    def usage(self, account_id: int, period: Period = Period.TOTAL) -> Usage:
        found = self.store.read(accounts.usages, account_id, now=self.now)
        return next(usage for usage in found if usage.period is period)

    def used(self, account_id: int, period: Period = Period.TOTAL) -> tuple[int, int]:
        usage = self.usage(account_id, period)
        return usage.pending_micros, usage.posted_micros

    def differences(self) -> list[str]:
        found = self.store.read(statements.reconcile, now=self.now)
        return [f"{each.kind} {each.subject}: {each.found}, not {each.expected}" for each in found]


def name(outcome: Outcome) -> str:
    """A refusal by its code; what was done by its amount."""
    return outcome.code if isinstance(outcome, GaelpError) else f"{outcome.operation} {outcome.amount_micros}"
