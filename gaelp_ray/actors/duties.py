"""Duties in a process: their failures are counted and logged, whatever they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection

from gaelp_ray.actors import meters
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.duties import Duty, words_of
from gaelp_ray.observability.metrics import DUTY_FAILURES
from gaelp_ray.services import duties
from gaelp_ray.services.duties import ROUND, Failure, Known, Look, Report
from gaelp_ray.store.engine import Store

log = logging.getLogger(__name__)
K = TypeVar("K", int, str)
_ALL = 1_000_000


def round_of(
    store: Store,
    duty: Duty,
    look: Look[K],
    do: Callable[[Connection, Sequence[K]], Any],
    *,
    now: Callable[[], datetime] = utc_now,
    limit: int = ROUND,
    known: Known | None = None,
) -> int:
    """Do everything that is due, one batch after the other; returns how many items were done."""
    done, more = 0, True
    while more:
        report = duties.in_turn(store, duty, look, do, now=now(), limit=limit, known=known)
        tell(report)
        done, more, known = done + report.done, report.more and report.done > 0, None
    return done


def each_of(
    store: Store,
    duty: Duty,
    look: Look[K],
    do: Callable[[Connection, K], Any],
    *,
    now: Callable[[], datetime] = utc_now,
) -> int:
    """Do each item once, in a transaction of its own; returns how many were done."""

    def one(tx: Connection, items: Sequence[K]) -> None:
        for item in items:
            do(tx, item)

    report = duties.in_turn(store, duty, look, one, now=now(), limit=_ALL, together=False)
    tell(report)
    return report.done


def settle(
    store: Store,
    duty: Duty,
    tried: Collection[str],
    failed: Mapping[str, Exception],
    *,
    known: Known | None = None,
    again: bool = True,
) -> tuple[Failure, ...]:
    """As ``services.duties.settle``, counted and logged.

    What failed counts even where the database cannot note it: the duty itself must go on.
    """
    try:
        noted = duties.settle(store, duty, tried, failed, now=utc_now(), known=known, again=again)
    except Exception as error:
        log.warning("not noted", extra={"action": duty.name, "reason": words_of(error)})
        noted = tuple(Failure(item, error) for item, error in failed.items())
    tell(Report(duty, failures=noted))
    return noted


def tell(report: Report) -> None:
    """Count what failed, and log each item once, when it fails for the first time."""
    meters.count(DUTY_FAILURES, len(report.failures), duty=report.duty.name)
    for failure in report.failures:
        level = logging.ERROR if failure.times == 1 else logging.DEBUG
        log.log(
            level,
            "set aside",
            exc_info=failure.error,
            extra={"action": report.duty.name, "item": failure.item, "times": failure.times},
        )
