"""Instants: moments in time, read from text (RFC 3339) and kept in UTC.

Years 1970 to 8999 in UTC: what PostgreSQL and every window of a budget can hold, with room for what is added
to or taken from an instant.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from gaelp_ray.domain.errors import InvalidInput

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
#: The first instant that is too late.
END = datetime(9000, 1, 1, tzinfo=UTC)
#: How far the clocks of those who measure may be ahead of ours.
LEEWAY = timedelta(minutes=5)

_EXAMPLE = "2025-03-01T12:00:00Z"
# RFC 3339, section 5.6; seconds may be left out, as ISO 8601 allows.
_INSTANT = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})"
    r"(?:\.(?P<fraction>[0-9]{1,30}))?)?(?P<zone>[Zz]|[+-][0-9]{2}:?[0-9]{2})?)?"
)


def read(value: object, *, field: str) -> datetime:
    """An instant from text, or from a ``datetime`` that says its zone; in UTC.

    Digits beyond microseconds are cut. Raises ``InvalidInput`` for everything else: numbers, dates without a
    time, times without a zone, seconds 60, years before 1970 or after 8999.
    """
    if isinstance(value, datetime):
        return check(value, field=field)
    found = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        hint = ""
        if isinstance(value, str) and re.fullmatch(r".*[0-9] [0-9]{2}:?[0-9]{2}", value):
            hint = " In an address, write `+` as `%2B`."
        raise InvalidInput(
            f"`{field}` must be an instant such as {_EXAMPLE}; got {_shown(value)}.{hint}", field=field
        )
    if found["hour"] is None:
        raise InvalidInput(
            f"`{field}` must be an instant, with a time, such as {_EXAMPLE}; got the date {value!r}.",
            field=field,
        )
    if found["zone"] is None:
        raise InvalidInput(
            f"`{field}` must say its time zone, such as {_EXAMPLE}; got {value!r}.", field=field
        )
    if found["second"] == "60":
        raise InvalidInput(f"`{field}` may not name a leap second; write second 59.", field=field)
    return check(_built(found, value, field), field=field)


def check(moment: datetime, *, field: str) -> datetime:
    """The instant in UTC; raises ``InvalidInput`` unless it says its zone and lies in 1970 to 8999."""
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidInput(
            f"`{field}` must be an instant with its time zone, such as {_EXAMPLE}.", field=field
        )
    try:
        there = moment.astimezone(UTC)
    except OverflowError:
        there = None
    if there is None or not EARLIEST <= there < END:
        raise InvalidInput(f"`{field}` must lie between the years 1970 and 8999, in UTC.", field=field)
    return there


def past(moment: datetime, now: datetime, *, field: str) -> datetime:
    """An instant at which something was measured: no later than now, but for ``LEEWAY``."""
    moment = check(moment, field=field)
    if moment > now + LEEWAY:
        raise InvalidInput(
            f"`{field}` lies in the future, {moment.isoformat()}; report a value once it was measured.",
            field=field,
        )
    return moment


def _built(found: re.Match[str], value: object, field: str) -> datetime:
    zone = found["zone"].upper()
    sign = -1 if zone[0] == "-" else 1
    fraction = (found["fraction"] or "")[:6].ljust(6, "0")
    try:
        offset = timedelta()
        if zone != "Z":
            if int(zone[-2:]) > 59:
                raise ValueError("no such offset")
            offset = sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        parts = [int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")]
        return datetime(*parts, int(fraction), tzinfo=timezone(offset))  # type: ignore[arg-type,misc]
    except ValueError:
        raise InvalidInput(
            f"`{field}` must be an instant such as {_EXAMPLE}; there is no {_shown(value)}.", field=field
        ) from None


def _shown(value: object) -> str:
    return f"{value!r:.60}"
