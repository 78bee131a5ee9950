"""Settings are documented, survive the way to another process, and become the policies they name."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.scheduling import PreemptionMode, SchedulingPolicy

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "operating-locally.md"

#: A value of every part of the policy that is not the default one.
CHANGED: dict[str, Any] = {
    "aging_step": timedelta(minutes=5),
    "aging_most": 2,
    "fair_share": False,
    "half_life": timedelta(days=1),
    "short_first": False,
    "preemption": "lower_priority",
    "preemption_budget": 1,
    "preempt_after": timedelta(seconds=1),
    "preempt_after_most": timedelta(hours=2),
    "preemptors": 3,
    "reservation": timedelta(seconds=30),
    "protected_heads": 4,
    "protect_after": timedelta(seconds=0),
    "protect_horizon": 0.25,
    "spot_wait": timedelta(hours=1),
    "starts_per_tick": 7,
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"GAELP_{name.upper()}", raising=False)


def test_the_default_settings_are_the_default_policy() -> None:
    assert Runtime(Settings()).scheduling_policy == SchedulingPolicy()


def test_every_part_of_the_policy_can_be_set() -> None:
    policy = Runtime(Settings(**CHANGED)).scheduling_policy
    expected = CHANGED | {"preemption": PreemptionMode.LOWER_PRIORITY, "starts": 7}
    del expected["starts_per_tick"]
    assert {each.name: getattr(policy, each.name) for each in fields(policy)} == expected


PRICES: dict[str, Any] = {
    "currency": "EUR",
    "price_cpu_hour": "0.05",
    "price_gib_hour": "0.006",
    "price_gpu_hour": {"A100": "3.673", "*": 1.5},
    "price_spot_discount": 0.7,
}


def test_prices_become_whole_micros() -> None:
    assert Runtime(Settings(**PRICES)).prices == PriceTable(
        currency="EUR",
        cpu_hour_micros=50_000,
        gib_hour_micros=6_000,
        gpu_hour_micros={"A100": 3_673_000, "*": 1_500_000},
        spot_discount_ppm=700_000,
    )


def test_the_environment_of_another_process_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=Path("/data"), user_queue_limit=5, **CHANGED, **PRICES)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


@pytest.mark.parametrize(
    "bad",
    [
        {"half_life": timedelta(0)},
        {"aging_step": timedelta(0)},
        {"preemption": "always"},
        {"price_gpu_hour": {"*": -1}},
    ],
    ids=str,
)
def test_a_policy_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**bad)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_is_in_the_guide(name: str) -> None:
    assert f"`GAELP_{name.upper()}`" in GUIDE.read_text()
