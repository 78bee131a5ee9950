"""Points between a supervisor and the hub are bounded, and the end waits until they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import ray
from fake_link import ALONE
from ray.exceptions import ActorDiedError

from gaelp_ray.domain.attempts import Outcome
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.training import link as link_module
from gaelp_ray.training.link import ActorLink
from tests.builders import a_point


class Hub:
    """Answers pushes when the test says so; may die with what it was given."""

    def __init__(self) -> None:
        self.pushed: dict[int, list[MetricPoint]] = {}
        self.answered: set[int] = set()
        self.lost: set[int] = set()
        self.stores = True
        self.push = self

    def remote(self, points: list[MetricPoint]) -> int:
        number = len(self.pushed)
        self.pushed[number] = points
        if self.stores:
            self.answered.add(number)
        return number

    def wait(self, refs: Sequence[int], **_options: object) -> tuple[list[int], list[int]]:
        return [r for r in refs if r in self.answered | self.lost], []

    def get(self, ref: Any) -> None:
        if ref in self.lost:
            raise ActorDiedError


class Launcher:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.finish = self

    def remote(self, *arguments: Any) -> None:
        self.outcomes.append(arguments[-1])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    hub = Hub()
    monkeypatch.setattr(ray, "wait", hub.wait)
    monkeypatch.setattr(ray, "get", hub.get)
    return hub


@pytest.fixture
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time passes by a second with every look at it."""
    now = [0.0]

    def look() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(link_module.time, "monotonic", look)
    return now


@pytest.fixture
def link(hub: Hub, launcher: Launcher, clock: list[float]) -> ActorLink:
    return ActorLink(launcher, hub, 1, "token", "claimant", ALONE)


DONE = Outcome(EndCause.SUCCESS, result={})


def points(count: int, values: int = 1) -> list[MetricPoint]:
    return [a_point(n, **{f"m{v}": 1.0 for v in range(values)}) for n in range(count)]


def test_an_end_whose_points_are_stored_says_nothing_of_them(
    link: ActorLink, hub: Hub, launcher: Launcher
) -> None:
    link.report(points(20_000))
    link.finish(DONE)
    assert launcher.outcomes == [DONE]


def test_an_end_says_how_many_points_could_not_be_stored(
    link: ActorLink, hub: Hub, launcher: Launcher, clock: list[float]
) -> None:
    hub.stores = False
    link.report(points(1234))
    link.finish(DONE)
    assert clock[0] >= ActorLink.END_S
    assert launcher.outcomes[0].notices == ("1,234 of its last metric points could not be stored.",)


def test_the_end_of_one_that_was_told_to_stop_waits_less(
    link: ActorLink, hub: Hub, launcher: Launcher, clock: list[float]
) -> None:
    hub.stores = False
    link.report(points(1))
    link.finish(Outcome(EndCause.CANCELLED))
    assert clock[0] < ActorLink.END_S


def test_what_a_dying_hub_took_with_it_is_sent_again(link: ActorLink, hub: Hub, launcher: Launcher) -> None:
    hub.stores = False
    given = points(3)
    link.report(given)
    hub.lost, hub.stores = {0}, True
    link.finish(DONE)
    assert hub.pushed == {0: given, 1: given}
    assert launcher.outcomes == [DONE]


@pytest.mark.parametrize("values", [1, 200])
def test_who_reports_faster_than_is_stored_has_to_wait(link: ActorLink, hub: Hub, values: int) -> None:
    hub.stores = False
    taken = 0
    while (room := link.room()) and taken < 50_000:
        batch = points(min(room, 500), values)
        link.report(batch)
        taken += len(batch)
    assert taken <= ActorLink.MOST_POINTS
    assert taken * values <= ActorLink.MOST_VALUES + 500 * values
    hub.answered |= hub.pushed.keys()
    assert link.room() == ActorLink.MOST_POINTS


def test_while_nothing_is_stored_the_newest_points_take_the_place_of_the_oldest(
    link: ActorLink, hub: Hub, launcher: Launcher, clock: list[float]
) -> None:
    hub.stores = False
    for _ in range(20):
        link.report(points(500))
    assert link.room() == 0
    clock[0] += ActorLink.STALL_S
    assert link.room() > 0
    link.report(points(500))
    assert len(link.unstored()) == 10_000
    hub.answered |= hub.pushed.keys()
    link.finish(DONE)
    assert launcher.outcomes[0].notices == ("500 of its last metric points could not be stored.",)
