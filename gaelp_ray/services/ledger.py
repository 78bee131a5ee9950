"""Use cases of the ledger: money is held, spent, given back; every door leads through ``apply``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.booking import decide
from gaelp_ray.domain.errors import NotFound
from gaelp_ray.domain.ledger import Expire, HeldMoney, Outcome, Receipt, Request
from gaelp_ray.store import ledger as ledger_store


def apply(tx: Connection, requests: Sequence[Request], *, now: datetime) -> list[Outcome]:
    """Carry out a batch and return one outcome for each request, in order.

    Each request stands alone, unless it follows another. Refusals are returned, not raised, because they are
    remembered: once the transaction is committed, ``domain.ledger.granted`` turns an outcome into its receipt
    or raises the refusal.
    """
    if not requests:
        return []
    changes = decide(ledger_store.lock_book(tx, requests, now=now), requests, now)
    ledger_store.write(tx, changes)
    return changes.outcomes


def expire_due(tx: Connection, *, now: datetime, limit: int = 500) -> int:
    """End holds that are past their time, at most ``limit``; returns how many were ended.

    A hold that is past its time can no longer be posted or voided, whether or not this has run; until it has,
    its money stays held.
    """
    due = ledger_store.due(tx, now=now, limit=limit)
    outcomes = apply(tx, [Expire(hold_key=key) for key in due], now=now)
    return sum(isinstance(outcome, Receipt) for outcome in outcomes)


def hold(connection: Connection, key: str) -> HeldMoney:
    found = ledger_store.get_hold(connection, key)
    if found is None:
        raise NotFound(f"There is no hold {key!r}.")
    return found


def holds(connection: Connection, keys: Iterable[str]) -> dict[str, HeldMoney]:
    """By key; those that do not exist are left out."""
    return ledger_store.get_holds(connection, keys)


def pending_holds(connection: Connection, account_id: int, *, limit: int) -> list[HeldMoney]:
    """What is held on an account, first what expires first."""
    return ledger_store.pending_holds(connection, account_id, limit=limit)
