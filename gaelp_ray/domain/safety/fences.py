"""Rules that bound when, where and for what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import ClassVar

from gaelp_ray.domain import names
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.safety.verdicts import Action, Finding, Severity
from gaelp_ray.domain.windows import zone

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(
    r"(?P<first>daily|[a-z]{3})(-(?P<last>[a-z]{3}))? (?P<h1>\d\d):(?P<m1>\d\d)-(?P<h2>\d\d):(?P<m2>\d\d)"
)
_MIDNIGHT = 24 * 60
#: Names that a sentence shows of many.
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Span:
    """Minutes of the day on the wall clock, on some weekdays. One that ends early runs into the next day."""

    days: frozenset[int]
    starts: int
    ends: int

    def covers(self, weekday: int, minute: int) -> bool:
        if self.starts < self.ends:
            return weekday in self.days and self.starts <= minute < self.ends
        began_today = weekday in self.days and minute >= self.starts
        return began_today or ((weekday - 1) % 7 in self.days and minute < self.ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedHours:
    """Only at these hours of the wall clock.

    ``mon-fri 08:00-20:00``, ``sat 22:00-02:00`` or ``daily 00:00-24:00``. An hour that the clock shows twice
    is allowed twice.
    """

    kind: ClassVar[str] = "allowed_hours"
    timezone: str
    hours: tuple[str, ...]
    on_breach: Severity = Severity.DENY

    def __post_init__(self) -> None:
        zone(self.timezone)
        _no_clip(self.on_breach)
        if not 1 <= len(self.hours) <= 50:
            raise InvalidInput("`hours` must name 1 to 50 spans such as 'mon-fri 08:00-20:00'.")
        for text in self.hours:
            span(text)

    def check_new(self) -> None:
        """Raise ``InvalidInput`` for digits of other scripts, which older policies may have."""
        for text in self.hours:
            if not text.isascii():
                raise _no_span(text)

    def judge_at(self, now: datetime) -> Finding | None:
        local = now.astimezone(zone(self.timezone))
        minute = local.hour * 60 + local.minute
        if any(span(text).covers(local.weekday(), minute) for text in self.hours):
            return None
        message = f"{local:%a %H:%M} in {self.timezone} is outside {_listed(self.hours)}."
        return Finding(self.kind, message, self.on_breach)


@lru_cache(maxsize=512)
def span(text: str) -> Span:
    """Raises ``InvalidInput`` for what is no span."""
    found = _HOURS.fullmatch(text) if isinstance(text, str) else None
    days = _days(found["first"], found["last"]) if found else None
    if found is None or days is None:
        raise _no_span(text)
    starts, ends = _minute(found["h1"], found["m1"]), _minute(found["h2"], found["m2"])
    if starts in (ends, _MIDNIGHT) or max(starts, ends) > _MIDNIGHT:
        raise InvalidInput(f"`hours` must begin before 24:00 and end at another time; got {text!r}.")
    return Span(days, starts, ends)


def _no_span(text: object) -> InvalidInput:
    return InvalidInput(
        f"`hours` must read like 'mon-fri 08:00-20:00' or 'daily 00:00-24:00'; got {text!r:.60}."
    )


def _days(first: str, last: str | None) -> frozenset[int] | None:
    if first == "daily":
        return frozenset(range(7)) if last is None else None
    if first not in _DAYS or (last is not None and last not in _DAYS):
        return None
    begin, end = _DAYS.index(first), _DAYS.index(last or first)
    return frozenset((begin + n) % 7 for n in range((end - begin) % 7 + 1))


def _minute(hours: str, minutes: str) -> int:
    length = timedelta(hours=int(hours), minutes=int(minutes))
    return length // timedelta(minutes=1) if int(minutes) < 60 else _MIDNIGHT + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Only there, or nowhere there. A country covers its parts; an action without a region breaks it."""

    kind: ClassVar[str] = "regions"
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    on_breach: Severity = Severity.DENY

    def __post_init__(self) -> None:
        _no_clip(self.on_breach)
        _some(self.allowed, self.blocked)
        for field in ("allowed", "blocked"):
            codes = tuple(names.region(code, field=field) for code in getattr(self, field))
            object.__setattr__(self, field, codes)

    def judge(self, action: Action, _measured: object) -> Finding | None:
        region = None if action.region is None else _region(action.region)
        if region is None:
            return Finding(
                self.kind, "The action names no region, and this policy asks for one.", self.on_breach
            )
        inside = not self.allowed or any(_lies_in(region, code) for code in self.allowed)
        # A whole country is blocked by one blocked part of it: the action would reach that too.
        outside = not any(_lies_in(region, code) or _lies_in(code, region) for code in self.blocked)
        if inside and outside:
            return None
        return Finding(self.kind, f"Region {region} is not allowed.", self.on_breach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """Only these, or none of these. Where some are allowed, an action without a category breaks the rule."""

    kind: ClassVar[str] = "categories"
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    on_breach: Severity = Severity.DENY

    def __post_init__(self) -> None:
        _no_clip(self.on_breach)
        _some(self.allowed, self.blocked)
        for name in (*self.allowed, *self.blocked):
            if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable():
                raise InvalidInput("`categories` must be texts of 1 to 100 printable characters.")
        for field in ("allowed", "blocked"):
            object.__setattr__(self, field, tuple(map(names.canonical, getattr(self, field))))

    def check_new(self) -> None:
        """Raise ``InvalidInput`` for what no action can name, which older policies may have."""
        for field in ("allowed", "blocked"):
            for name in getattr(self, field):
                names.category(name, field=field)

    def judge(self, action: Action, _measured: object) -> Finding | None:
        named = {names.canonical(name) for name in action.categories}
        wrong = named & set(self.blocked) or (named - set(self.allowed) if self.allowed else set())
        if wrong:
            return Finding(self.kind, f"Categories {_listed(sorted(wrong))} are not allowed.", self.on_breach)
        if self.allowed and not named:
            return Finding(self.kind, "Categories none are not allowed.", self.on_breach)
        return None


def spelled(action: Action) -> Action:
    """The action with its region and categories as doors take them in; what is neither is left as it is."""
    if not all(isinstance(name, str) for name in (action.region or "", *action.categories)):
        return action
    region = None if action.region is None else _region(action.region) or action.region
    return replace(action, region=region, categories=tuple(map(names.canonical, action.categories)))


def _region(code: str) -> str | None:
    try:
        return names.region(code)
    except InvalidInput:
        return None


def _listed(named: Sequence[str]) -> str:
    """Some of many: a sentence that anybody may ask for is never large."""
    more = len(named) - _SHOWN
    return ", ".join(named[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _lies_in(region: str, wider: str) -> bool:
    return region == wider or region.startswith(f"{wider}-")


def _some(allowed: tuple[str, ...], blocked: tuple[str, ...]) -> None:
    if not allowed and not blocked:
        raise InvalidInput("Name at least one thing in `allowed` or `blocked`.")


def _no_clip(severity: Severity) -> None:
    if severity is Severity.CLIP:
        raise InvalidInput("`on_breach` must be 'deny' or 'halt': there is nothing here to make smaller.")
