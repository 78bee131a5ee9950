"""Every moment lies in one window of each period, in every time zone, whatever its clocks were set by."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaelp_ray.domain.windows import ALWAYS, Period, Window, gaps, window, zones

MICROSECOND, HOUR, DAY = timedelta(microseconds=1), timedelta(hours=1), timedelta(days=1)
PERIODS = [period for period in Period if period is not Period.TOTAL]
#: Clocks that were set by much, by half an hour, over midnight, over a day, or with the moon.
ODD = [
    "Africa/Casablanca", "Africa/Monrovia", "America/Havana", "America/Sao_Paulo", "America/St_Johns",
    "Antarctica/Casey", "Antarctica/Troll", "Asia/Beirut", "Asia/Gaza", "Asia/Pyongyang",
    "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kwajalein",
]  # fmt: skip
#: How far from a change of the clock is looked.
NEAR = [
    -DAY,
    -3 * HOUR,
    -HOUR,
    -MICROSECOND,
    0 * HOUR,
    MICROSECOND,
    30 * MICROSECOND,
    HOUR / 2,
    3 * HOUR,
    DAY,
]


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """When the clock of a zone was set or will be, by the file of the zone (RFC 8536)."""
    data = files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes()
    header = struct.Struct(">4s c 15x 6l")
    *_, utc, std, leap, times, kinds, chars = header.unpack_from(data)
    second = header.size + times * 5 + kinds * 6 + chars + leap * 8 + std + utc
    *_, times, _, _ = header.unpack_from(data, second)
    found = struct.unpack_from(f">{times}q", data, second + header.size)
    first, last = ALWAYS.starts_at.timestamp() + 10 * 86400, datetime(2500, 1, 1, tzinfo=UTC).timestamp()
    return tuple(datetime.fromtimestamp(at, UTC) for at in found if first < at < last)


def check(period: Period, zone: str, moment: datetime) -> Window:
    found = window(period, zone, moment)
    assert moment in found
    inside = (found.starts_at, found.starts_at + (found.ends_at - found.starts_at) / 2)
    for other in (*inside, found.ends_at - MICROSECOND):
        assert window(period, zone, other) == found
    assert window(period, zone, found.ends_at).starts_at == found.ends_at, "no gap, no overlap"
    assert window(period, zone, found.starts_at - MICROSECOND).ends_at == found.starts_at
    return found


def test_every_change_of_every_clock_lies_in_one_window() -> None:
    seen = set()
    for zone in sorted(zones()):
        if (key := changes(zone)) not in seen:
            seen.add(key)
            for moment in key[-30:]:
                for period in (Period.HOUR, Period.DAY):
                    check(period, zone, moment)
                    check(period, zone, moment - MICROSECOND)
    assert len(seen) > 200


@pytest.mark.parametrize("zone", ODD)
def test_windows_around_odd_changes_follow_each_other(zone: str) -> None:
    for change in changes(zone)[-60:]:
        for period in PERIODS:
            for near in NEAR:
                check(period, zone, change + near)


@settings(max_examples=300)
@given(st.data(), st.sampled_from(PERIODS), st.integers(-3 * 86400, 3 * 86400))
def test_a_moment_near_a_change_lies_in_one_window(data: st.DataObject, period: Period, seconds: int) -> None:
    zone = data.draw(st.sampled_from(sorted(zone for zone in zones() if changes(zone))))
    change = data.draw(st.sampled_from(changes(zone)))
    check(period, zone, change + timedelta(seconds=seconds))


@settings(max_examples=300)
@given(
    st.sampled_from(sorted(zones())),
    st.sampled_from(PERIODS),
    st.datetimes(datetime(1970, 2, 10), datetime(8999, 11, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_any_moment_of_any_zone_lies_in_one_window(zone: str, period: Period, moment: datetime) -> None:
    check(period, zone, moment)


@given(st.sets(st.integers(0, 50), max_size=12), st.integers(0, 49), st.integers(1, 20))
def test_gaps_are_what_no_other_window_covers(ends: set[int], start: int, length: int) -> None:
    def minute(n: int) -> datetime:
        return datetime(2025, 3, 1, tzinfo=UTC) + timedelta(minutes=n)

    taken = [Window(minute(a), minute(b)) for a, b in list(pairwise(sorted(ends)))[::2]]
    span = Window(minute(start), minute(start + length))
    found = gaps(span, taken)
    for n in range(80):
        free = minute(n) in span and not any(minute(n) in each for each in taken)
        assert sum(minute(n) in gap for gap in found) == free
