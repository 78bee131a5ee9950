"""A budget that is spent locally: a lease on a slice of it, renewed before it runs out."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from types import TracebackType
from typing import Protocol

from gaelp_ray.domain import names
from gaelp_ray.domain.errors import BudgetExceeded, Forbidden, GaelpError, InvalidInput
from gaelp_ray.domain.ledger import AtExpiry, Hold, Outcome, Request, Settle
from gaelp_ray.domain.money import whole_micros

#: The longest key that a job gives a spend or an order; the service puts its own words around it.
MAX_JOB_KEY = 120
#: Ever smaller slices that are asked for when the budget is nearly used up.
_TRIES = 4


class BudgetExhausted(BudgetExceeded):
    """The agent's budget has not that much left."""

    @property
    def left_micros(self) -> int:
        """What the limit that refused had left; 0 where it did not say."""
        numbers = [self.details.get(f"{name}_micros") for name in ("limit", "pending", "posted")]
        limit, pending, posted = (each if isinstance(each, int) else 0 for each in numbers)
        return max(0, limit - pending - posted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A slice of a budget that is asked for; whoever lends knows from which accounts."""

    key: str
    amount_micros: int
    ttl: timedelta
    #: The key of a settlement without which this is refused.
    follows: str | None = None


class Lender(Protocol):
    """The far side of a lease."""

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        """The refusal of each, or None where it was done, in order and once the ledger has it.

        Raises ``Unavailable`` when it may not have it; the same may then be asked again.
        """


class Bank(Protocol):
    """A ledger, by whatever way it is reached."""

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answers when the database has it; raises ``Unavailable`` when it may not."""


class AccountLender:
    """Lends from accounts of the ledger."""

    def __init__(
        self, bank: Bank, *, account_ids: tuple[int, ...], currency: str, job_id: int | None = None
    ) -> None:
        self._bank = bank
        self._accounts, self._currency, self._job_id = account_ids, currency, job_id

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        requests = [
            booking(
                each,
                account_ids=self._accounts,
                currency=self._currency,
                job_id=self._job_id,
                prefix="lease ",
            )
            for each in asked
        ]
        return refusals(self._bank.submit(requests))


def booking(
    asked: Lease | Settle,
    *,
    account_ids: tuple[int, ...],
    currency: str,
    job_id: int | None = None,
    prefix: str = "",
) -> Hold | Settle:
    """What to ask of the ledger. All keys get the ``prefix``, so that a borrower touches only its own."""
    if isinstance(asked, Settle):
        return Settle(
            key=prefix + asked.key, hold_key=prefix + asked.hold_key, spent_micros=asked.spent_micros
        )
    return Hold(
        key=prefix + asked.key,
        account_ids=account_ids,
        currency=currency,
        amount_micros=asked.amount_micros,
        ttl=asked.ttl,
        at_expiry=AtExpiry.SPEND,
        job_id=job_id,
        follows=None if asked.follows is None else prefix + asked.follows,
    )


def refusals(outcomes: Sequence[Outcome]) -> list[GaelpError | None]:
    return [outcome if isinstance(outcome, GaelpError) else None for outcome in outcomes]


def check_job_key(key: object) -> str:
    """Raise ``InvalidInput`` for a key that a job may not give to what it spends."""
    if not isinstance(key, str) or not 0 < len(key) <= MAX_JOB_KEY or not key.isprintable():
        raise InvalidInput(
            f"`key` must be a text of 1 to {MAX_JOB_KEY} printable characters; got {str(key)[:64]!r}."
        )
    return names.hold_key(key)


class LeasedBudget:
    """Spends from a lease without asking anybody, and asks only for the next.

    No overspend is possible. The whole slice is held, so nobody else can have it. If this process dies, the
    lease expires and counts as spent in full: at most one slice is counted that was not spent, never the
    other way round. A process that was only slow settles its expired lease when it asks for the next, and
    what it did not spend of it returns.

    A lease past its time is not spent from until it is renewed, so whoever cuts off a budget is obeyed after
    ``ttl`` at the latest. Safe to use from several threads.
    """

    def __init__(
        self,
        lender: Lender,
        *,
        slice_micros: int,
        ttl: timedelta = timedelta(seconds=30),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lender = lender
        self._slice = whole_micros(slice_micros, field="slice_micros")
        self._ttl = ttl
        # Monotonic: when the clock on the wall jumps, no lease lives longer.
        self._clock = clock
        self._prefix, self._number = str(uuid.uuid4()), 0
        self._lock, self._owner = Lock(), os.getpid()
        self._lease: Lease | None = None
        self._left = 0
        self._ends_at = 0.0
        #: Sent, and not answered yet: sent again as it was until it is.
        self._asked: tuple[list[Lease | Settle], float] | None = None

    def spend(self, amount_micros: int) -> None:
        """Take money that is about to be spent.

        Raises ``Forbidden`` in a process forked from its own, ``BudgetExceeded`` when the budget has not that
        much left, ``Unavailable`` when a new slice is needed and the ledger does not answer; then nothing was
        taken.
        """
        if type(amount_micros) is not int or amount_micros <= 0:
            whole_micros(amount_micros)
        self._check_owner()
        with self._lock:
            if amount_micros > self._left or self._clock() >= self._ends_at:
                self._refill(amount_micros)
            self._left -= amount_micros

    @property
    def left_micros(self) -> int:
        """What can be spent without asking."""
        self._check_owner()
        with self._lock:
            return self._left if self._clock() < self._ends_at else 0

    def close(self) -> None:
        """Settle what was spent; the rest returns. Closed again it does nothing; spent from, it opens."""
        self._check_owner()
        with self._lock:
            if self._asked is not None:
                self._send()
            if self._lease is not None:
                self._asked = [self._settlement(self._lease, f"{self._lease.key} end")], self._clock()
                self._send()

    def __enter__(self) -> LeasedBudget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_owner(self) -> None:
        """A copy of a lease in a forked process would spend the same money twice."""
        if os.getpid() != self._owner:
            raise Forbidden(
                f"Process {os.getpid()} was forked from {self._owner}, whose lease this is; only that one "
                f"spends from it."
            )

    def _refill(self, needed: int) -> None:
        """Renew until there is as much as needed, with smaller slices where the budget has no more."""
        wanted = max(needed, self._slice)
        for _ in range(_TRIES):
            if self._asked is None:
                self._ask(wanted)
            refused = self._send()
            if needed <= self._left and self._clock() < self._ends_at:
                return
            if refused is not None:
                wanted = min(wanted, _left_of(refused, needed))
        raise BudgetExhausted(f"The budget changes too fast to lease {needed} micros of it; try again.")

    def _ask(self, amount: int) -> None:
        """Ask for the next lease, and in one step with it settle the last."""
        self._number += 1
        key, last = f"{self._prefix} {self._number}", self._lease
        lease = Lease(key=key, amount_micros=amount, ttl=self._ttl)
        if last is None:
            self._asked = [lease], self._clock()
            return
        settle = self._settlement(last, f"{key} before")
        lease = Lease(key=key, amount_micros=amount, ttl=self._ttl, follows=settle.key)
        self._asked = [settle, lease], self._clock()

    def _send(self) -> BudgetExceeded | None:
        """Send what is to be sent and take in the answer; returns the refusal for want of money."""
        assert self._asked is not None
        asked, asked_at = self._asked
        # What is being settled is no longer there to be spent, answered or not.
        self._left = 0
        refused = self._lender.lend(asked)
        self._asked = None
        if isinstance(asked[0], Settle):
            self._lease = None
            _raise(refused[0])
        lease = asked[-1]
        if isinstance(lease, Settle):
            return None
        if isinstance(refused[-1], BudgetExceeded):
            return refused[-1]
        _raise(refused[-1])
        self._lease, self._left = lease, lease.amount_micros
        self._ends_at = asked_at + self._ttl.total_seconds()
        return None

    def _settlement(self, lease: Lease, key: str) -> Settle:
        return Settle(key=key, hold_key=lease.key, spent_micros=lease.amount_micros - self._left)


def _raise(refused: GaelpError | None) -> None:
    if refused is not None:
        raise refused


def _left_of(refused: BudgetExceeded, needed: int) -> int:
    """What the window that refused has left; raises the refusal if that is not enough."""
    details = refused.details
    left = int(details["limit_micros"] - details["pending_micros"] - details["posted_micros"])
    if left < needed:
        raise refused
    return left
