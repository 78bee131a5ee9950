"""A budget that is spent locally: a lease on a slice of it, renewed before it runs out."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Lock
from types import TracebackType
from typing import Protocol

from gaelp_ray.domain.errors import BudgetExceeded
from gaelp_ray.domain.ledger import (
    AtExpiry,
    Hold,
    Outcome,
    Receipt,
    Request,
    Settle,
    granted,
    renewal,
)
from gaelp_ray.domain.money import whole_micros

#: Ever smaller slices that are asked for when the budget is nearly used up.
_TRIES = 4


class Lender(Protocol):
    """The far side of a lease: a budget guard, by whatever way it is reached."""

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answers when the database has it; raises ``Unavailable`` when it may not."""


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
        account_ids: tuple[int, ...],
        currency: str,
        slice_micros: int,
        ttl: timedelta = timedelta(seconds=30),
        job_id: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lender = lender
        self._accounts, self._currency, self._job_id = account_ids, currency, job_id
        self._slice = whole_micros(slice_micros, field="slice_micros")
        self._ttl = ttl
        # Monotonic: when the clock on the wall jumps, no lease lives longer.
        self._clock = clock
        self._prefix, self._number = f"lease {uuid.uuid4()}", 0
        self._lock = Lock()
        self._lease: Receipt | None = None
        self._left = 0
        self._ends_at = 0.0
        #: Sent, and not answered yet: sent again as it was until it is.
        self._asked: tuple[list[Request], float] | None = None

    def spend(self, amount_micros: int) -> None:
        """Take money that is about to be spent.

        Raises ``BudgetExceeded`` when the budget has not that much left, ``Unavailable`` when a new slice is
        needed and the ledger does not answer; then nothing was taken.
        """
        if type(amount_micros) is not int or amount_micros <= 0:
            whole_micros(amount_micros)
        with self._lock:
            if amount_micros > self._left or self._clock() >= self._ends_at:
                self._refill(amount_micros)
            self._left -= amount_micros

    @property
    def left_micros(self) -> int:
        """What can be spent without asking."""
        with self._lock:
            return self._left if self._clock() < self._ends_at else 0

    def close(self) -> None:
        """Settle what was spent; the rest returns."""
        with self._lock:
            if self._asked is not None:
                self._send()
            if self._lease is not None:
                spent = self._spent(self._lease)
                settle = Settle(key=f"{self._prefix} end", hold_key=self._lease.key, spent_micros=spent)
                self._asked = [settle], self._clock()
                self._send()

    def __enter__(self) -> LeasedBudget:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
        raise BudgetExceeded(f"The budget changes too fast to lease {needed} micros of it; try again.")

    def _ask(self, amount: int) -> None:
        self._number += 1
        key = f"{self._prefix} {self._number}"
        hold = Hold(
            key=key,
            account_ids=self._accounts,
            currency=self._currency,
            amount_micros=amount,
            ttl=self._ttl,
            at_expiry=AtExpiry.SPEND,
            job_id=self._job_id,
        )
        last = self._lease
        requests = [hold] if last is None else renewal(key, last.key, self._spent(last), hold)
        self._asked = list(requests), self._clock()

    def _send(self) -> BudgetExceeded | None:
        """Send what is to be sent and take in the answer; returns the refusal for want of money."""
        assert self._asked is not None
        requests, asked_at = self._asked
        # What is being settled is no longer there to be spent, answered or not.
        self._left = 0
        outcomes = self._lender.submit(requests)
        self._asked = None
        if isinstance(requests[0], Settle):
            self._lease = None
            granted(outcomes[0])
        if not isinstance(requests[-1], Hold):
            return None
        if isinstance(outcomes[-1], BudgetExceeded):
            return outcomes[-1]
        self._lease = granted(outcomes[-1])
        self._left = self._lease.amount_micros
        self._ends_at = asked_at + self._ttl.total_seconds()
        return None

    def _spent(self, lease: Receipt) -> int:
        return lease.amount_micros - self._left


def _left_of(refused: BudgetExceeded, needed: int) -> int:
    """What the window that refused has left; raises the refusal if that is not enough."""
    details = refused.details
    left = int(details["limit_micros"] - details["pending_micros"] - details["posted_micros"])
    if left < needed:
        raise refused
    return left
