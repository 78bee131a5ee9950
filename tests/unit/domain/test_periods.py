"""The period that was meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gaelp_ray.domain import periods
from gaelp_ray.domain.errors import InvalidInput
from tests.builders import T0

DAY, HOUR = timedelta(days=1), timedelta(hours=1)

#: What was named, and the period that was meant, from now on, in hours.
MEANT: dict[str, tuple[float | None, float | None, float, float]] = {
    "nothing": (None, None, -24, 0),
    "a beginning": (-2, None, -2, 0),
    "an end": (None, -2, -26, -2),
    "both": (-5, -2, -5, -2),
    "an end in the future": (None, 48, -24, 0),
    "both, the end in the future": (-2, 48, -2, 0),
    "now, by another clock": (0.05, None, 0.05, 0.05),
}


def hours(n: float | None) -> datetime | None:
    return None if n is None else T0 + n * HOUR


@pytest.mark.parametrize("case", MEANT)
def test_what_is_left_out_is_the_last_day(case: str) -> None:
    since, until, begin, end = MEANT[case]
    found = periods.meant(hours(since), hours(until), span=DAY, now=T0)
    assert found == (hours(begin), hours(end))


#: What was named, and what is said of it.
WRONG: dict[str, tuple[datetime | None, datetime | None, str]] = {
    "it ends before it begins": (T0, T0 - HOUR, "`since` must lie before `until`"),
    "it ends as it begins": (T0 - HOUR, T0 - HOUR, "`since` must lie before `until`"),
    "it begins in the future": (T0 + HOUR, None, "`since` lies in the future"),
    "all of it lies in the future": (T0 + HOUR, T0 + DAY, "`since` lies in the future"),
    "it ends before all windows": (None, datetime(1, 1, 1, tzinfo=UTC), "`until` must lie between the years"),
    "it begins after all windows": (datetime(9999, 1, 1, tzinfo=UTC), None, "`since` must lie between"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_period_that_can_show_nothing_is_refused(case: str) -> None:
    since, until, why = WRONG[case]
    with pytest.raises(InvalidInput, match=why):
        periods.meant(since, until, span=DAY, now=T0)
