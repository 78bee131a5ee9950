"""What is found twice in a row is mended, told, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from gaelp_ray.actors import meters, reconciler
from gaelp_ray.actors.reconciler import Reconciler
from gaelp_ray.domain.reconcile import Discrepancy, Finding
from gaelp_ray.services import reconcile
from gaelp_ray.services.reconcile import Mended

STRAY = Finding(Discrepancy.STRAY_TASK, 0, 8, "one")
UNOWNED = Finding(Discrepancy.UNOWNED_ATTEMPT, 3, 9, "one")


class Launcher:
    """Owns some attempts; None for one that does not answer."""

    def __init__(self, owned: frozenset[int] | None) -> None:
        self.dropped: list[int] = []
        self.owned = SimpleNamespace(remote=lambda: self._answer(owned))
        self.drop = SimpleNamespace(remote=self.dropped.append)

    @staticmethod
    async def _answer(owned: frozenset[int] | None) -> frozenset[int]:
        if owned is None:
            await asyncio.Event().wait()
        assert owned is not None
        return owned


class World:
    """A store in which the given things are found, one list a look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *looks: Iterable[Finding]) -> None:
        self.asked: list[dict[str, frozenset[int]]] = []
        self.mended: list[tuple[Finding, ...]] = []
        self.gauges: dict[str, float] = {}
        self.launchers = {"one": Launcher(frozenset({8})), "two": Launcher(None)}
        self._looks = list(looks)
        monkeypatch.setattr(reconciler, "ANSWER_S", 0.01)
        monkeypatch.setattr(meters, "gauge", self._gauge)
        store = SimpleNamespace(read=self._read, transact=self._transact)
        runtime: Any = SimpleNamespace(store=store, retry_policy=None)
        self._reconciler = Reconciler(runtime, self.launchers)

    async def look(self, times: int) -> list[Mended | None]:
        return [await self._reconciler.compare() for _ in range(times)]

    def _gauge(self, _metric: object, value: float, **labels: str) -> None:
        self.gauges[labels["kind"]] = value

    def _read(self, query: object, owned: dict[str, frozenset[int]]) -> tuple[Finding, ...]:
        assert query is reconcile.find
        self.asked.append(owned)
        return tuple(self._looks.pop(0))

    def _transact(self, use_case: object, sure: tuple[Finding, ...], **_: object) -> Mended:
        assert use_case is reconcile.mend
        self.mended.append(sure)
        return Mended(mended=sure, left=())


def test_a_launcher_that_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [])
    asyncio.run(world.look(1))
    assert world.asked == [{"one": frozenset({8})}]


def test_what_is_found_once_may_be_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [UNOWNED], [], [UNOWNED])
    assert asyncio.run(world.look(3)) == [None, None, None]
    assert world.mended == []
    assert set(world.gauges.values()) == {0}


def test_what_is_found_twice_is_mended_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [UNOWNED], [UNOWNED, STRAY])
    asyncio.run(world.look(2))
    assert world.mended == [(UNOWNED,)]
    assert world.gauges == {str(kind): float(kind is UNOWNED.kind) for kind in Discrepancy}


def test_a_stray_task_is_ended_by_its_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [STRAY], [STRAY])
    asyncio.run(world.look(2))
    assert world.launchers["one"].dropped == [8]
