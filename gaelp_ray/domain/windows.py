"""Calendar windows that limits are tested in: aligned to the wall clock of a time zone.

The windows of one period and zone never overlap and leave no gap, on days of 23 or 25 hours too. Zones are
those of the tzdata package, so that a window does not depend on the machine. A release of tzdata may move
windows that are still to come; those that were opened stay as they were, see ``store.ledger``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
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


def gaps(span: Window, taken: Iterable[Window]) -> list[Window]:
    """The parts of a window that are in none of others, which do not overlap."""
    found, since = [], span.starts_at
    for each in sorted(taken, key=lambda window: window.starts_at):
        if since < each.starts_at:
            found.append(Window(since, min(each.starts_at, span.ends_at)))
        since = max(since, each.ends_at)
    return [*found, Window(since, span.ends_at)] if since < span.ends_at else found


#: The one window of ``Period.TOTAL``; no moment outside it is accepted.
ALWAYS = Window(instants.EARLIEST, instants.END)
_SECOND, _HOUR, _DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
#: No clock is further from UTC, nor was it ever set by more.
_FARTHEST = timedelta(hours=26)
#: What a machine without a zone is set to: it says nothing of a place.
_NO_PLACE = "Factory"


@lru_cache(maxsize=1)
def zones() -> frozenset[str]:
    """The names of all IANA time zones, the same on every machine."""
    listed = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {_NO_PLACE}


def zone_name(name: object, *, field: str = "timezone") -> str:
    """The name of an IANA time zone; raises ``InvalidInput`` for a name that is none.

    Names that mean another place on another machine, such as ``localtime``, are none.
    """
    if not isinstance(name, str) or name not in zones():
        raise InvalidInput(
            f"`{field}` must be an IANA name such as 'Europe/Berlin'; got {str(name)[:64]!r}.", field=field
        )
    return name


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """The IANA time zone; raises ``InvalidInput`` for a name that is none."""
    zone_name(name)
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


@lru_cache(maxsize=1024)
def _place(name: str) -> ZoneInfo:
    """The zone of an account that was opened already: one whose name is none any more keeps UTC."""
    return zone(name) if name in zones() else zone("UTC")


@lru_cache(maxsize=8192)
def window(period: Period, timezone: str, moment: datetime) -> Window:
    """The window that a moment falls into; its ends are in UTC.

    A day begins when the clock on the wall first shows it, or a later one where it was skipped, and does not
    begin again when the clock is set back over midnight.
    """
    if period is Period.TOTAL:
        return ALWAYS
    place = _place(timezone)
    if period is Period.HOUR:
        return _hour(place, moment.astimezone(UTC))
    today = moment.astimezone(place).date()
    while _begins(timezone, today + _DAY) <= moment:
        today += _DAY
    if period is Period.DAY:
        first, after = today, today + _DAY
    elif period is Period.WEEK:
        first = today - today.weekday() * _DAY
        after = first + 7 * _DAY
    else:
        first = today.replace(day=1)
        after = (first + 31 * _DAY).replace(day=1)
    return Window(_begins(timezone, first), _begins(timezone, after))


@lru_cache(maxsize=8192)
def _begins(timezone: str, day: date) -> datetime:
    """The first moment at which the clock shows a day or a later one."""
    place, midnight = _place(timezone), datetime.combine(day, time(), UTC)
    first, last = midnight - _FARTHEST, midnight + _FARTHEST
    changes = _changes(place, first, last)
    for since, until in zip([first, *changes], [*changes, last], strict=True):
        shown = max(since, midnight - _offset(place, since))
        if shown < until:
            return shown
    raise AssertionError("no clock is a day late")


def _hour(place: ZoneInfo, moment: datetime) -> Window:
    """The hour that the clock on the wall shows, cut where the clock is set: of an hour that it shows twice,
    each is a window.
    """
    local = moment.astimezone(place)
    starts_at = moment - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    ends_at = starts_at + _HOUR
    if _offset(place, starts_at) == local.utcoffset() == _offset(place, ends_at - _SECOND):
        return Window(starts_at, ends_at)
    for change in _changes(place, starts_at, ends_at):
        if change <= moment:
            starts_at = max(starts_at, change)
        else:
            ends_at = min(ends_at, change)
    return Window(starts_at, ends_at)


def _changes(place: ZoneInfo, first: datetime, last: datetime) -> list[datetime]:
    """The moments between two others from which the clock's offset is another one.

    They lie at whole seconds, and further apart than the quarter of an hour in which one is looked for.
    """
    found, step = [], timedelta(minutes=15)
    since = first
    while since < last:
        until = min(since + step, last)
        if _offset(place, until) != _offset(place, since):
            found.append(_change(place, since, until))
        since = until
    return [change for change in found if first < change < last]


def _change(place: ZoneInfo, since: datetime, until: datetime) -> datetime:
    """The moment of the one change in between, at a whole second."""
    since, before = since.replace(microsecond=0), _offset(place, since)
    while until - since > _SECOND:
        middle = since + (until - since) // (2 * _SECOND) * _SECOND
        since, until = (middle, until) if _offset(place, middle) == before else (since, middle)
    return until.replace(microsecond=0)


def _offset(place: ZoneInfo, moment: datetime) -> timedelta:
    found = moment.astimezone(place).utcoffset()
    assert found is not None
    return found
