"""Windows follow the clock on the wall, through every change of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.windows import ALWAYS, Period, window, zone

#: Zone, period, a moment in UTC, and the window it belongs to.
CASES: dict[str, tuple[str, Period, str, str, str]] = {
    "a day in UTC": ("UTC", Period.DAY, "2025-03-01T12:00", "2025-03-01T00:00", "2025-03-02T00:00"),
    "its first moment": ("UTC", Period.DAY, "2025-03-01T00:00", "2025-03-01T00:00", "2025-03-02T00:00"),
    "a day in New York begins later": (
        "America/New_York", Period.DAY, "2025-03-01T03:00", "2025-02-28T05:00", "2025-03-01T05:00",
    ),
    "a day of 23 hours": (
        "Europe/Berlin", Period.DAY, "2025-03-30T12:00", "2025-03-29T23:00", "2025-03-30T22:00",
    ),
    "a day of 25 hours": (
        "Europe/Berlin", Period.DAY, "2025-10-26T12:00", "2025-10-25T22:00", "2025-10-26T23:00",
    ),
    "a day without a midnight begins at the skip": (
        "Asia/Beirut", Period.DAY, "2022-03-27T12:00", "2022-03-26T22:00", "2022-03-27T21:00",
    ),
    "a day with two midnights begins at the first": (
        "Atlantic/Azores", Period.DAY, "2025-10-26T12:00", "2025-10-26T00:00", "2025-10-27T01:00",
    ),
    "a day that a country skipped is no window": (
        "Pacific/Apia", Period.DAY, "2011-12-30T12:00", "2011-12-30T10:00", "2011-12-31T10:00",
    ),
    "a week from Monday": ("UTC", Period.WEEK, "2025-03-02T23:59", "2025-02-24T00:00", "2025-03-03T00:00"),
    "a week over a change of the clock": (
        "Europe/Berlin", Period.WEEK, "2025-03-30T12:00", "2025-03-23T23:00", "2025-03-30T22:00",
    ),
    "a month": ("UTC", Period.MONTH, "2025-12-31T23:59", "2025-12-01T00:00", "2026-01-01T00:00"),
    "a leap February": ("UTC", Period.MONTH, "2024-02-29T12:00", "2024-02-01T00:00", "2024-03-01T00:00"),
    "an hour": ("Europe/Berlin", Period.HOUR, "2025-03-01T12:34", "2025-03-01T12:00", "2025-03-01T13:00"),
    "an hour of a zone with half hours": (
        "Asia/Kolkata", Period.HOUR, "2025-03-01T12:00", "2025-03-01T11:30", "2025-03-01T12:30",
    ),
    "the first of an hour shown twice": (
        "Europe/Berlin", Period.HOUR, "2025-10-26T00:30", "2025-10-26T00:00", "2025-10-26T01:00",
    ),
    "the second of an hour shown twice": (
        "Europe/Berlin", Period.HOUR, "2025-10-26T01:30", "2025-10-26T01:00", "2025-10-26T02:00",
    ),
    "an hour in which the clock is set on by three": (
        "Antarctica/Casey", Period.HOUR, "2020-10-03T16:05", "2020-10-03T16:01", "2020-10-03T17:00",
    ),
    "the minute before": (
        "Antarctica/Casey", Period.HOUR, "2020-10-03T16:00:30", "2020-10-03T16:00", "2020-10-03T16:01",
    ),
    "the day of it": (
        "Antarctica/Casey", Period.DAY, "2020-10-03T16:05", "2020-10-03T16:00", "2020-10-04T13:00",
    ),
    "a day that comes back over midnight is over": (
        "America/St_Johns", Period.DAY, "2010-11-07T02:45", "2010-11-07T02:30", "2010-11-08T03:30",
    ),
    "an hour cut short where the clock goes back by half of it": (
        "Australia/Lord_Howe", Period.HOUR, "2025-04-05T15:10", "2025-04-05T15:00", "2025-04-05T15:30",
    ),
}  # fmt: skip


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("case", CASES)
def test_a_moment_belongs_to_the_window_of_the_clock_on_the_wall(case: str) -> None:
    place, period, moment, starts_at, ends_at = CASES[case]
    found = window(period, place, utc(moment))
    assert (found.starts_at, found.ends_at) == (utc(starts_at), utc(ends_at))
    assert utc(moment) in found


@pytest.mark.parametrize("place", ["Europe/Berlin", "Australia/Lord_Howe", "America/Havana", "Asia/Beirut"])
@pytest.mark.parametrize("period", [Period.HOUR, Period.DAY, Period.WEEK, Period.MONTH])
def test_the_windows_of_a_year_follow_each_other_without_a_gap(place: str, period: Period) -> None:
    found = window(period, place, utc("2025-01-01T12:00"))
    while found.ends_at < utc("2026-01-01T12:00"):
        following = window(period, place, found.ends_at)
        last = window(period, place, found.ends_at - timedelta(microseconds=1))
        assert last == found
        assert following.starts_at == found.ends_at
        found = following


def test_everything_is_in_the_total() -> None:
    assert window(Period.TOTAL, "Europe/Berlin", utc("2025-03-01T12:00")) == ALWAYS


@pytest.mark.parametrize(
    "name", ["localtime", "posixrules", "Factory", "posix/Europe/Berlin", "right/UTC", "europe/berlin", "utc"]
)
def test_a_zone_that_is_another_on_another_machine_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="`timezone` must be an IANA name"):
        zone(name)


def test_an_account_of_a_zone_that_is_none_any_more_counts_in_utc() -> None:
    moment = utc("2025-03-01T12:00")
    assert window(Period.DAY, "localtime", moment) == window(Period.DAY, "UTC", moment)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "/etc/localtime", "a\0b"])
def test_a_zone_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="`timezone` must be an IANA name"):
        zone(name)
