"""Use cases of the ledger: money is held, spent, given back; every door leads through ``apply``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.booking import Changes, decide
from gaelp_ray.domain.errors import GaelpError, IdempotencyConflict, NotFound, Unavailable, Unbookable
from gaelp_ray.domain.ledger import (
    Answer,
    Expire,
    HeldMoney,
    Hold,
    Outcome,
    Receipt,
    Request,
    digest,
    operation,
)
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store.engine import translate

log = logging.getLogger(__name__)


def apply(tx: Connection, requests: Sequence[Request], *, now: datetime) -> list[Outcome]:
    """Carry out a batch and return one outcome for each request, in order.

    Each request stands alone, unless it follows another. Refusals are returned, not raised, because they are
    remembered: once the transaction is committed, ``domain.ledger.granted`` turns an outcome into its receipt
    or raises the refusal.
    """
    return _apply(tx, requests, now=now).outcomes


def expire_due(tx: Connection, *, now: datetime, limit: int = 500) -> int:
    """End holds that are past their time, at most ``limit``; returns how many were ended.

    A hold that is past its time can no longer be posted or voided, whether or not this has run; until it has,
    its money stays held. One that cannot be ended is set aside for a while and logged, and keeps nobody else:
    the proof of the ledger finds it until somebody has looked.
    """
    due = ledger_store.due(tx, now=now, limit=limit)
    # All of them now and in their order, whoever is tried alone later.
    ledger_store.lock_accounts_of(tx, due)
    left = _expire(tx, due, now)
    if left is None:
        alone = {key: _expire(tx, [key], now) for key in due}
        left = [key for key, found in alone.items() if found != []]
    return len(due) - len(left)


def _expire(tx: Connection, due: Sequence[str], now: datetime) -> list[str] | None:
    """End these holds and return those that were not; None if that failed, and changed nothing."""
    try:
        with tx.begin_nested():
            changes = _apply(tx, [Expire(hold_key=key) for key in due], now=now)
    except Exception as error:
        if isinstance(translate(error), Unavailable):
            raise  # The fault of no hold: the whole is tried again.
        if len(due) == 1:
            _set_aside(tx, due[0], error, now)
        return None
    for key, outcome in zip(due, changes.outcomes, strict=True):
        # What was answered before, though it is pending all the same, or cannot be booked. Any other answer
        # is of a hold that somebody resolved meanwhile.
        if key not in changes.resolved and isinstance(outcome, Unbookable | Receipt | IdempotencyConflict):
            _set_aside(tx, key, outcome, now)
    return [key for key in due if key not in changes.resolved]


def _set_aside(tx: Connection, key: str, why: object, now: datetime) -> None:
    tries = ledger_store.set_aside(tx, key, str(why), now=now)
    log.error("a hold cannot be ended", extra={"hold": key, "tries": tries, "reason": str(why)})


def _apply(tx: Connection, requests: Sequence[Request], *, now: datetime) -> Changes:
    if not requests:
        return Changes(now)
    changes = decide(ledger_store.lock_book(tx, requests, now=now), requests, now)
    for request, fault in changes.faults:
        log.error("an operation cannot be booked", exc_info=fault, extra={"key": request.key})
    ledger_store.write(tx, changes)
    return changes


def refuse(tx: Connection, asked: Hold, refusal: GaelpError, *, now: datetime) -> None:
    """Keep under its key what a hold was refused with before the ledger was asked for it.

    Whoever calls this has found no answer under that key in this transaction.
    """
    answer = Answer(digest(asked), operation(asked), refusal)
    ledger_store.add_answer(tx, asked.key, answer, now=now)


def answer(connection: Connection, key: str) -> Answer | None:
    """What a key stands for; None for one that was never answered."""
    return ledger_store.answers(connection, [key]).get(key)


def answered(connection: Connection, keys: Iterable[str]) -> frozenset[str]:
    """Those keys that were answered before, with a receipt or a refusal, and always will be so."""
    return frozenset(ledger_store.answers(connection, keys))


def carried_out(connection: Connection, keys: Iterable[str]) -> frozenset[str]:
    """Those keys that were answered with a receipt."""
    found = ledger_store.answers(connection, keys)
    return frozenset(key for key, answer in found.items() if isinstance(answer.outcome, Receipt))


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
