"""What a budget tells its owner: how much is used, which marks it has passed, when it will be gone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gaelp_ray.domain.windows import ALWAYS, Period, Window

#: Percent of a limit at which its owner is told, once in each window; of another limit anew.
MARKS = (50, 80, 95, 100)


@dataclass(frozen=True, slots=True)
class Usage:
    """One window of one account. ``used`` is the very number that limits are tested against.

    More may be given back in a window than was spent in it, because money that was spent earlier is given
    back now. Then ``posted`` is below 0, and nothing counts as posted: a refund makes no room above the
    limit, so none is missing when it is booked elsewhere later.
    """

    account_id: int
    period: Period
    window: Window
    limit_micros: int | None
    pending_micros: int = 0
    posted_micros: int = 0
    #: Highest mark that was told in this window.
    told_percent: int = 0
    #: When spent money first took it past its limit.
    breached_at: datetime | None = None
    #: Of which limit ``told_percent`` was told; None: of the present one.
    told_limit_micros: int | None = None

    @property
    def used_micros(self) -> int:
        return self.pending_micros + max(0, self.posted_micros)

    @property
    def remaining_micros(self) -> int | None:
        """What a hold may still take, never below 0; None without a limit."""
        return None if self.limit_micros is None else max(0, self.limit_micros - self.used_micros)

    @property
    def is_over(self) -> bool:
        """More is used than the limit allows: it was lowered, or breached by what was spent."""
        return self.limit_micros is not None and self.used_micros > self.limit_micros


@dataclass(frozen=True, slots=True)
class Alert:
    """A mark passed, as it stood at that moment."""

    usage: Usage
    percent: int
    at: datetime


def marks_passed(usage: Usage) -> list[int]:
    """The marks to tell of that were not told before in this window, of this limit."""
    limit, used = usage.limit_micros, usage.used_micros
    if limit is None or used <= 0 or used * 100 < limit * MARKS[0]:
        return []
    told = usage.told_percent if usage.told_limit_micros in (None, limit) else 0
    return [mark for mark in MARKS if mark > told and used * 100 >= limit * mark]


def told(usage: Usage, now: datetime) -> tuple[Usage, list[Alert]]:
    """The window with every mark told that it has passed, and what is to be told."""
    marks = marks_passed(usage)
    if not marks:
        return usage, []
    alerts = [Alert(usage, mark, now) for mark in marks]
    return replace(usage, told_percent=marks[-1], told_limit_micros=usage.limit_micros), alerts


@dataclass(frozen=True, slots=True)
class Projection:
    """Where spending leads at its recent pace."""

    #: When the limit is reached; None if not before the window ends.
    exhausted_at: datetime | None
    #: What will be spent by the end of the window; None for one without an end.
    spent_at_end_micros: int | None


def project(usage: Usage, *, recent_micros: int, recent: timedelta, now: datetime) -> Projection:
    """Draw the line on: ``recent_micros`` were posted in the last ``recent``.

    Held money is taken as gone, for no new hold can have it.
    """
    ends_at = None if usage.window == ALWAYS else usage.window.ends_at
    pace = max(0, recent_micros)
    at_end = None
    if ends_at is not None:
        ahead = max(timedelta(0), ends_at - now)
        at_end = usage.posted_micros + pace * _micros(ahead) // _micros(recent)
    return Projection(_exhaustion(usage, pace, recent, ends_at, now), at_end)


def _exhaustion(
    usage: Usage, pace: int, recent: timedelta, ends_at: datetime | None, now: datetime
) -> datetime | None:
    left = usage.remaining_micros
    if left is None:
        return None
    if left == 0:
        return now
    if pace == 0:
        return None
    ahead = left * _micros(recent) // pace
    if ahead >= _micros((ends_at or ALWAYS.ends_at) - now):
        return None
    return now + timedelta(microseconds=ahead)


def _micros(length: timedelta) -> int:
    return length // timedelta(microseconds=1)
