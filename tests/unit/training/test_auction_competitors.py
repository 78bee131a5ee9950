from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gaelp_ray.training.environments.competitors import DEFAULT_COMPETITORS, PACE_LIMITS, Competitor, Rivals
from gaelp_ray.training.environments.traffic import conversion_profile, traffic_left, traffic_share

PERIODS = 24
TRAFFIC_LEFT = traffic_left(PERIODS).tolist()


def rival(**settings: Any) -> Competitor:
    return Competitor(**{"name": "rival", "bid_micros": 1_000_000, "budget_micros": 1_000_000} | settings)


def test_a_competitor_bids_only_in_its_active_hours() -> None:
    rivals = Rivals([rival(active_from=8, active_until=18)], TRAFFIC_LEFT)
    active = [hour for hour in range(PERIODS) if rivals.strengths(hour) == [1.0]]
    assert active == list(range(8, 18))


def test_a_competitor_stops_once_its_budget_is_gone_and_returns_the_next_day() -> None:
    rivals = Rivals([rival(), rival()], TRAFFIC_LEFT)
    rivals.pay([999_999, 1_000_001])
    assert rivals.strengths(12) == [1.0, 0.0]
    rivals.start_day()
    assert rivals.strengths(0) == [1.0, 1.0]


def test_a_paced_competitor_bids_less_when_it_spends_ahead_of_traffic_and_more_when_behind() -> None:
    rivals = Rivals([rival(paced=True), rival(paced=True)], TRAFFIC_LEFT)
    assert rivals.strengths(0) == pytest.approx([1.0, 1.0])
    rivals.pay([600_000, 0])
    ahead, behind = rivals.strengths(12)
    assert ahead == pytest.approx(0.4 / TRAFFIC_LEFT[12])
    assert PACE_LIMITS[0] <= ahead < 1
    assert 1 < behind <= PACE_LIMITS[1]
    assert rivals.strengths(PERIODS - 1)[1] == PACE_LIMITS[1]


def test_the_default_competitors_behave_differently() -> None:
    rivals = Rivals(DEFAULT_COMPETITORS, TRAFFIC_LEFT)
    assert len({tuple(rivals.strengths(hour)[row] for hour in range(PERIODS)) for row in range(5)}) >= 4


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": ""}, "needs a name"),
        ({"bid_micros": 0}, "bid_micros must be positive"),
        ({"bid_micros": 1.5}, "bid_micros must be an integer"),
        ({"budget_micros": -1}, "budget_micros must not be negative"),
        ({"spread": 3}, "spread must lie in"),
        ({"active_from": 9, "active_until": 9}, "active hours"),
        ({"active_until": 25}, "active hours"),
        ({"paced": "yes"}, "paced must be true or false"),
    ],
)
def test_a_wrong_competitor_is_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        rival(**settings)


@pytest.mark.parametrize("periods", [1, 7, 24, 96])
def test_the_day_s_curves_are_normalised(periods: int) -> None:
    share = traffic_share(periods)
    assert share.sum() == pytest.approx(1)
    assert (share > 0).all()
    assert traffic_left(periods)[0] == pytest.approx(1)
    assert np.diff(traffic_left(periods)) == pytest.approx(-share[:-1])
    assert conversion_profile(periods) @ share == pytest.approx(1)
