"""Items that duties could not do, and when each is tried again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, select, text

from gaelp_ray.domain.duties import FIRST_PAUSE, LONGEST_PAUSE
from gaelp_ray.store.tables import set_aside

#: Rows of one duty at most; the newest failures stay.
MOST = 1000


@dataclass(frozen=True)
class SetAside:
    duty: str
    item: str
    error: str
    first_at: datetime
    last_at: datetime
    #: How often it failed.
    times: int
    #: None: it is not tried again, since whoever asked for it was told.
    next_try_at: datetime | None


_PUT = text(
    """
    INSERT INTO set_aside AS known (duty, item, error, first_at, last_at, times, next_try_at)
    VALUES (:duty, :item, :error, :now, :now, 1, CASE WHEN :again THEN :now + :first END)
    ON CONFLICT (duty, item) DO UPDATE
    SET error = excluded.error, last_at = excluded.last_at, times = known.times + 1,
        next_try_at = CASE WHEN :again
            THEN :now + least(:longest, :first * power(2, least(known.times, 30))) END
    RETURNING times
    """
)


def put(tx: Connection, duty: str, item: str, error: str, *, now: datetime, again: bool) -> int:
    """Note a failure; returns how often the item has failed by now. ``again``: it is to be tried again."""
    given = {"duty": duty, "item": item, "error": error, "now": now, "again": again}
    pauses = {"first": FIRST_PAUSE, "longest": LONGEST_PAUSE}
    return int(tx.execute(_PUT, given | pauses).scalar_one())


def of_duty(connection: Connection, duty: str) -> dict[str, datetime | None]:
    """Items of a duty, and when each is tried again."""
    query = select(set_aside.c.item, set_aside.c.next_try_at).where(set_aside.c.duty == duty)
    return {row.item: row.next_try_at for row in connection.execute(query)}


def waiting(connection: Connection) -> list[SetAside]:
    """Every item that is tried again."""
    query = select(set_aside).where(set_aside.c.next_try_at.is_not(None))
    return [SetAside(**row._mapping) for row in connection.execute(query)]


def remove(tx: Connection, duty: str, items: Collection[str]) -> None:
    """These were done, or are not due any more."""
    if items:
        tx.execute(
            delete(set_aside).where(set_aside.c.duty == duty, set_aside.c.item == func.any(list(items)))
        )


def page(connection: Connection, *, limit: int) -> list[SetAside]:
    """The newest failures first."""
    query = select(set_aside).order_by(set_aside.c.last_at.desc(), set_aside.c.duty, set_aside.c.item)
    return [SetAside(**row._mapping) for row in connection.execute(query.limit(limit))]


def counts(connection: Connection) -> dict[str, int]:
    """How many items of each duty wait to be tried again."""
    query = (
        select(set_aside.c.duty, func.count().label("total"))
        .where(set_aside.c.next_try_at.is_not(None))
        .group_by(set_aside.c.duty)
    )
    return {row.duty: row.total for row in connection.execute(query)}


_PRUNE = text(
    """
    DELETE FROM set_aside USING (
        SELECT duty, item, row_number() OVER (PARTITION BY duty ORDER BY last_at DESC, item) AS place
        FROM set_aside
    ) AS ranked
    WHERE set_aside.duty = ranked.duty AND set_aside.item = ranked.item
        AND (ranked.place > :most OR set_aside.last_at < :before OR set_aside.next_try_at < :untried)
    """
)


def prune(tx: Connection, *, before: datetime, untried: datetime) -> None:
    """Forget what failed last before a moment, and of each duty all but the newest failures.

    What was to be tried again before ``untried``, and was not, is not due any more.
    """
    tx.execute(_PRUNE, {"before": before, "untried": untried, "most": MOST})
