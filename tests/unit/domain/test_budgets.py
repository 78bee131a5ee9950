"""Marks are told once, and projections draw the line on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from gaelp_ray.domain.budgets import Projection, Usage, marks_passed, project
from gaelp_ray.domain.windows import Period, window
from tests.builders import T0, at

DAY = timedelta(days=1)


def usage(
    limit: int | None = 100, *, pending: int = 0, posted: int = 0, told: int = 0, period: Period = Period.DAY
) -> Usage:
    return Usage(1, period, window(period, "UTC", T0), limit, pending, posted, told)


#: Limit, used, told before; marks to tell of.
MARKS: dict[str, tuple[int | None, int, int, list[int]]] = {
    "nothing used": (100, 0, 0, []),
    "just below the first": (100, 49, 0, []),
    "the first": (100, 50, 0, [50]),
    "told before": (100, 79, 50, []),
    "several at once": (100, 96, 50, [80, 95]),
    "all at once": (100, 100, 0, [50, 80, 95, 100]),
    "past the limit": (100, 300, 95, [100]),
    "all told": (100, 300, 100, []),
    "a mark between two micros": (3, 2, 0, [50]),
    "no limit": (None, 10**12, 0, []),
    "nothing allowed, nothing used": (0, 0, 0, []),
    "nothing allowed, something used": (0, 1, 0, [50, 80, 95, 100]),
    "a gift": (100, -50, 0, []),
}


@pytest.mark.parametrize("case", MARKS)
def test_a_mark_is_told_once(case: str) -> None:
    limit, used, told, expected = MARKS[case]
    assert marks_passed(usage(limit, posted=used, told=told)) == expected


def test_held_money_counts_as_used() -> None:
    assert marks_passed(usage(pending=30, posted=20)) == [50]
    assert usage(pending=30, posted=20).remaining_micros == 50


def test_less_than_nothing_never_remains() -> None:
    over = usage(pending=80, posted=40)
    assert over.remaining_micros == 0
    assert over.is_over
    assert not usage(pending=60, posted=40).is_over


#: Usage, spent in the last day; when it is exhausted and what is spent by the end. It is noon.
PROJECTIONS: dict[str, tuple[Usage, int, datetime | None, int | None]] = {
    "in six hours": (usage(posted=75), 100, at(6 * 3600), 125),
    "not today": (usage(posted=10), 100, None, 60),
    "just as the window ends": (usage(posted=50), 100, None, 100),
    "a standstill": (usage(posted=10), 0, None, 10),
    "more given back than spent": (usage(posted=10), -50, None, 10),
    "now": (usage(posted=100), 100, T0, 150),
    "held money is as good as gone": (usage(pending=50, posted=25), 100, at(6 * 3600), 75),
    "no limit": (usage(None, posted=10), 100, None, 60),
    "a total without an end": (usage(posted=0, limit=300, period=Period.TOTAL), 100, at(3 * 86400), None),
    "a total after the end of time": (usage(posted=0, limit=10**18, period=Period.TOTAL), 1, None, None),
}


@pytest.mark.parametrize("case", PROJECTIONS)
def test_a_projection_draws_the_line_on(case: str) -> None:
    present, recent, exhausted_at, at_end = PROJECTIONS[case]
    found = project(present, recent_micros=recent, recent=DAY, now=T0)
    assert found == Projection(exhausted_at, at_end)


def test_a_window_that_ended_has_nothing_ahead() -> None:
    late = replace(usage(posted=10), window=window(Period.DAY, "UTC", T0 - DAY))
    assert project(late, recent_micros=100, recent=DAY, now=T0) == Projection(None, 10)
