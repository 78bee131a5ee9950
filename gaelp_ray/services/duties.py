"""Use cases of duties: a round of one over the items that are due, and what is set aside of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from gaelp_ray.domain.duties import Duty, Failed, isolated, words_of
from gaelp_ray.store import set_aside
from gaelp_ray.store.engine import Store
from gaelp_ray.store.set_aside import SetAside

K = TypeVar("K", int, str)
K_co = TypeVar("K_co", int, str, covariant=True)
R = TypeVar("R")

#: Items that are set aside, and when each is tried again; None for what is not.
Known = Mapping[str, datetime | None]

#: What failed last so long ago is forgotten, and what was to be tried again so long ago.
REMEMBERED, UNTRIED = timedelta(days=1), timedelta(minutes=10)
#: Items done in one round, unless a duty says otherwise.
ROUND = 500


@dataclass(frozen=True)
class Failure:
    """An item that was set aside."""

    item: str
    error: Exception
    #: How often it has failed by now.
    times: int = 1


@dataclass(frozen=True)
class Report:
    """What came of one round of a duty."""

    duty: Duty
    done: int = 0
    failures: tuple[Failure, ...] = ()
    #: There may be more that is due.
    more: bool = False


class Look(Protocol[K_co]):
    """Finds the items that are due, the first of them, at most ``limit``."""

    def __call__(self, connection: Connection, /, *, now: datetime, limit: int) -> Sequence[K_co]: ...


def in_turn(
    store: Store,
    duty: Duty,
    look: Look[K],
    do: Callable[[Connection, Sequence[K]], Any],
    *,
    now: datetime,
    limit: int = ROUND,
    together: bool = True,
    known: Known | None = None,
) -> Report:
    """Do the items that are due: together in one transaction, or, where that fails, those that can be done.

    ``together`` False: each in a transaction of its own. What cannot be done is set aside and left out until
    its pause is over; what is set aside and not due any more is forgotten. ``known``: what is set aside,
    where it was read already. Raises ``Unavailable`` when the database does not answer.
    """
    if known is None:
        known = store.read(set_aside.of_duty, duty.name)
    paused = {item for item, again_at in known.items() if again_at is None or again_at > now}
    # Those set aside are due as well: room for others must not go to them.
    most = limit + len(paused)
    found = store.read(look, now=now, limit=most)
    due = [item for item in found if str(item) not in paused]

    def transact(part: Sequence[K]) -> Sequence[K]:
        store.transact(do, part)
        return part

    parts = [due] if together else [[item] for item in due]
    results = [result for part in parts for result in isolated(part, transact)]
    failed = {
        str(item): result.error
        for item, result in zip(due, results, strict=True)
        if isinstance(result, Failed)
    }
    gone = known.keys() - {str(item) for item in found} if len(found) < most else set()
    tried = {str(item) for item in due} | gone
    failures = settle(store, duty, tried, failed, known=known, now=now)
    return Report(duty, len(due) - len(failed), failures, more=len(due) >= limit)


def settle(
    store: Store,
    duty: Duty,
    tried: Collection[str],
    failed: Mapping[str, Exception],
    *,
    now: datetime,
    known: Known | None = None,
    again: bool = True,
) -> tuple[Failure, ...]:
    """Note what failed, and forget what was tried again and did not.

    ``known``: what was set aside before, where it was read already. What failed again before its pause was
    over is not noted anew. ``again``: what failed is to be tried again.
    """
    if not failed and not known and known is not None:
        return ()
    if known is None:
        known = store.read(set_aside.of_duty, duty.name)
    recovered = (known.keys() & set(tried)) - failed.keys()
    fresh = [item for item in failed if not _paused(known, item, now)]
    if not recovered and not fresh:
        return ()
    return store.transact(_note, duty, recovered, {item: failed[item] for item in fresh}, now, again)


def _paused(known: Known, item: str, now: datetime) -> bool:
    again_at = known.get(item)
    return again_at is not None and again_at > now


def _note(
    tx: Connection,
    duty: Duty,
    recovered: Collection[str],
    failed: Mapping[str, Exception],
    now: datetime,
    again: bool,
) -> tuple[Failure, ...]:
    set_aside.remove(tx, duty.name, recovered)
    return tuple(
        Failure(item, error, set_aside.put(tx, duty.name, _name(item), words_of(error), now=now, again=again))
        # In order, so that two processes never wait for each other in a circle.
        for item, error in sorted(failed.items())
    )


def _name(item: str) -> str:
    return item.replace("\x00", "")[:200]


def known(connection: Connection, duty: Duty) -> Known:
    """Items of a duty that are set aside, and when each is tried again."""
    return set_aside.of_duty(connection, duty.name)


@dataclass(frozen=True)
class Waiting:
    """Everything that waits to be tried again, read at once."""

    rows: tuple[SetAside, ...]
    at: datetime

    def of(self, duty: Duty) -> Known:
        """As ``known``."""
        return {row.item: row.next_try_at for row in self.rows if row.duty == duty.name}

    def due(self, duty: Duty) -> set[str]:
        """Items whose pause is over."""
        return {item for item, again_at in self.of(duty).items() if again_at and again_at <= self.at}

    def paused(self, *of: Duty) -> dict[str, str]:
        """Items of these duties whose pause is not over, and what went wrong with them."""
        names = {duty.name for duty in of}
        return {
            row.item: row.error
            for row in self.rows
            if row.duty in names and row.next_try_at is not None and row.next_try_at > self.at
        }


def waiting(connection: Connection, *, now: datetime) -> Waiting:
    return Waiting(tuple(set_aside.waiting(connection)), now)


def page(connection: Connection, *, limit: int) -> list[SetAside]:
    """What is set aside, the newest failures first."""
    return set_aside.page(connection, limit=limit)


def counts(connection: Connection) -> dict[str, int]:
    """How many items of each duty wait to be tried again; duties without any are left out."""
    return set_aside.counts(connection)


def prune(tx: Connection, *, now: datetime) -> None:
    """Forget what is not due any more."""
    set_aside.prune(tx, before=now - REMEMBERED, untried=now - UNTRIED)
