"""The sandbox behaves as badly as it says, and the same way each time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from gaelp_ray.domain.platforms import DeliveryReport, Order
from gaelp_ray.domain.reconciliation import latest
from gaelp_ray.training.platforms.port import AdPlatform
from gaelp_ray.training.platforms.sandbox import GOOD, Manners, SandboxPlatform
from tests.builders import T0

MINUTE = timedelta(minutes=1)


def an_order(key: str = "order", **fields: Any) -> Order:
    given = {"campaign": "spring", "currency": "EUR", "amount_micros": 6000, "bid_micros": 10}
    return Order(key=key, **given | fields)


def insist(call: Callable[[], Any]) -> Any:
    """Ask until it answers."""
    while True:
        with contextlib.suppress(Unavailable):
            return call()


def heard(platform: AdPlatform, *, orders: int = 5, minutes: int = 600) -> list[DeliveryReport]:
    """All that a platform says of some orders, asked every ten minutes."""
    for number in range(orders):
        order = an_order(f"order {number}")
        insist(lambda order=order: platform.place(order, now=T0))
    found: list[DeliveryReport] = []
    for minute in range(0, minutes, 10):
        now = T0 + minute * MINUTE
        found += insist(lambda now=now: platform.reports(now=now))
    return found


def test_a_good_platform_delivers_what_it_was_told_and_says_so() -> None:
    platform = SandboxPlatform(1, GOOD)
    platform.place(an_order(), now=T0)
    costs = [platform.reports(now=T0 + m * MINUTE) for m in (0, 15, 30, 60, 90)]
    assert [[(r.number, r.cost_micros, r.final) for r in each] for each in costs] == [
        [(1, 0, False)], [(2, 1500, False)], [(3, 3000, False)], [(4, 6000, True)], [],
    ]  # fmt: skip


def test_it_is_the_same_for_the_same_seed() -> None:
    assert heard(SandboxPlatform(7)) == heard(SandboxPlatform(7))
    assert heard(SandboxPlatform(7)) != heard(SandboxPlatform(8))


def test_it_is_late_repeats_itself_and_mixes_things_up() -> None:
    found = heard(SandboxPlatform(3))
    keys = [(report.order_key, report.number) for report in found]
    assert len(set(keys)) < len(keys), "some come twice"
    assert keys != sorted(keys, key=lambda each: each[1]), "some come in the wrong order"
    end = T0 + timedelta(hours=1)
    on_time = heard(SandboxPlatform(3), minutes=70)
    assert {r.number for r in on_time if r.reported_at <= end} < {r.number for r in found}


def test_what_counts_in_the_end_does_not_depend_on_its_manners() -> None:
    platform = SandboxPlatform(3, Manners(over_delivery_percent=0))
    said = latest(heard(platform))
    assert [report.cost_micros for report in said.values()] == [6000] * 5
    assert all(report.final for report in said.values())


def test_it_delivers_more_than_it_was_told_within_its_manners() -> None:
    costs = [report.cost_micros for report in latest(heard(SandboxPlatform(3), orders=30)).values()]
    assert all(6000 <= cost <= 6600 for cost in costs)
    assert max(costs) > 6000


def test_it_runs_on_after_it_was_stopped() -> None:
    platform = SandboxPlatform(1, GOOD)
    platform.place(an_order(), now=T0)
    platform.stop("order", now=T0 + 10 * MINUTE)
    platform.stop("order", now=T0 + 30 * MINUTE)
    assert platform.cost("order", now=T0 + 60 * MINUTE) == 1500
    assert [r.final for r in platform.reports(now=T0 + 15 * MINUTE)] == [True]


def test_an_outage_may_come_before_or_after_the_deed() -> None:
    platform = SandboxPlatform(5, replace(GOOD, outage_percent=100))
    taken = 0
    for number in range(20):
        order = an_order(f"{number}")
        with pytest.raises(Unavailable):
            platform.place(order, now=T0)
        with contextlib.suppress(KeyError):
            taken += platform.cost(order.key, now=T0) == 0
    assert 0 < taken < 20


def test_an_order_placed_again_is_one() -> None:
    platform = SandboxPlatform(1, GOOD)
    for _ in range(2):
        platform.place(an_order(), now=T0)
    assert len(platform.reports(now=T0)) == 1
    with pytest.raises(Conflict, match="was another"):
        platform.place(an_order(amount_micros=1), now=T0)
    with pytest.raises(NotFound):
        platform.stop("another", now=T0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Manners(outage_percent=101),
        lambda: Manners(max_delay=-MINUTE),
        lambda: an_order(amount_micros=0),
        lambda: an_order(amount_micros=float("nan")),
        lambda: an_order(currency="euro"),
        lambda: an_order(campaign=""),
        lambda: a_report(cost_micros=-1),
        lambda: a_report(cost_micros=1.0),
        lambda: a_report(number=0),
        lambda: a_report(reported_at=datetime(2025, 1, 1)),  # noqa: DTZ001
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidInput):
        make()


def a_report(**fields: Any) -> DeliveryReport:
    given: dict[str, Any] = {"platform": "sandbox", "order_key": "order", "number": 1, "campaign": "spring"}
    given |= {"currency": "EUR", "cost_micros": 1, "final": False, "reported_at": T0}
    return DeliveryReport(**given | fields)
