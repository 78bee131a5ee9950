"""How long a job still takes, from its pace so far."""

from __future__ import annotations

from datetime import datetime

import pytest

from gaelp_ray.domain.jobs import Progress, eta_seconds
from tests.builders import T0, at

#: id: (step, total, started, now, expected)
ETAS: dict[str, tuple[int | None, int | None, datetime | None, datetime, float | None]] = {
    "a quarter done in a minute": (25, 100, T0, at(60), 180.0),
    "done": (100, 100, T0, at(60), 0.0),
    "past its own total": (120, 100, T0, at(60), 0.0),
    "not started": (25, 100, None, at(60), None),
    "before the first report": (None, None, T0, at(60), None),
    "at step zero": (0, 100, T0, at(60), None),
    "without a known total": (25, None, T0, at(60), None),
}


@pytest.mark.parametrize("case", ETAS)
def test_the_eta_of_a_job(case: str) -> None:
    step, total, started, now, expected = ETAS[case]
    assert eta_seconds(Progress(step, total), started, now) == expected
