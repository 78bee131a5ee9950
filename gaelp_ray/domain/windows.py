"""Calendar windows that limits are tested in: aligned to the wall clock of a time zone.

The windows of one period and zone never overlap and leave no gap, on days of 23 or 25 hours too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from gaelp_ray.domain import instants
from gaelp_ray.domain.errors import InvalidInput


class Period(StrEnum):
    """How long a window lasts, shortest first."""

    HOUR = "hour"
    DAY = "day"
    #: Begins on Monday.
    WEEK = "week"
    MONTH = "month"
    #: Everything since the account was opened.
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Window:
    """``starts_at`` belongs to it, ``ends_at`` to the next."""

    starts_at: datetime
    ends_at: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.ends_at


#: The one window of ``Period.TOTAL``; no moment outside it is accepted.
ALWAYS = Window(instants.EARLIEST, instants.END)
#: Offsets of time zones change at whole quarters of an hour.
_QUARTER = timedelta(minutes=15)
_HOUR = timedelta(hours=1)


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """The IANA time zone; raises ``InvalidInput`` for a name that is none."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError, TypeError):
        raise InvalidInput(
            f"`timezone` must be an IANA name such as 'Europe/Berlin'; got {str(name)[:64]!r}."
        ) from None


@lru_cache(maxsize=8192)
def window(period: Period, timezone: str, moment: datetime) -> Window:
    """The window that a moment falls into; its ends are in UTC."""
    if period is Period.TOTAL:
        return ALWAYS
    local = moment.astimezone(zone(timezone))
    if period is Period.HOUR:
        return _hour(local)
    today = local.date()
    if period is Period.DAY:
        first, after = today, today + timedelta(days=1)
    elif period is Period.WEEK:
        first = today - timedelta(days=today.weekday())
        after = first + timedelta(days=7)
    else:
        first = today.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    return Window(_midnight(first, timezone), _midnight(after, timezone))


def _midnight(day: date, timezone: str) -> datetime:
    """When a day begins. Where the clock skips midnight that is the moment of the skip, where it shows
    midnight twice the first of them.
    """
    return datetime.combine(day, time(), zone(timezone)).astimezone(UTC)


def _hour(local: datetime) -> Window:
    """The hour that the clock on the wall shows, cut where its offset changes: of an hour that the clock
    shows twice, each is a window.
    """
    moment = local.astimezone(UTC)
    starts_at = moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    ends_at = starts_at + _HOUR
    offset, place = local.utcoffset(), local.tzinfo
    while starts_at.astimezone(place).utcoffset() != offset:
        starts_at += _QUARTER
    while (ends_at - _QUARTER).astimezone(place).utcoffset() != offset:
        ends_at -= _QUARTER
    return Window(starts_at, ends_at)
