"""What a hub keeps to show live is bounded, however much a job reports."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gaelp_ray.actors import hub as hub_module
from gaelp_ray.actors.hub import LIVE_OF_PUSH, LIVE_POINTS, LIVE_VALUES, MetricsHub
from gaelp_ray.domain.metrics import MetricPoint
from tests.builders import a_point


class Runtime:
    def __init__(self, _settings: object) -> None:
        self.store = self
        self.stored: list[MetricPoint] = []

    def transact(self, _use_case: object, points: list[MetricPoint]) -> None:
        self.stored += points


def in_hub(monkeypatch: pytest.MonkeyPatch, scenario: Any) -> Any:
    monkeypatch.setattr(hub_module, "Runtime", Runtime)
    monkeypatch.setattr(hub_module.meters, "count", lambda *_args, **_labels: None)
    monkeypatch.setattr(hub_module.meters, "gauge", lambda *_args, **_labels: None)

    async def run() -> Any:
        hub = MetricsHub.__new__(MetricsHub)
        await hub.__init__(None, 0)  # type: ignore[misc,arg-type,func-returns-value]
        try:
            return await scenario(hub)
        finally:
            hub._store_loop.cancel()

    return asyncio.run(run())


def test_all_is_stored_and_the_newest_of_each_push_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(hub: MetricsHub) -> tuple[int, list[int | None]]:
        await hub.push([a_point(step) for step in range(1000)])
        _, shown = await hub.listen(0, 0.0)
        return len(hub._runtime.stored), [point.step for point in shown]  # type: ignore[attr-defined]

    assert in_hub(monkeypatch, scenario) == (1000, list(range(1000 - LIVE_OF_PUSH, 1000)))


@pytest.mark.parametrize("values", [1, 200])
def test_what_is_kept_is_bounded_in_points_and_in_values(
    monkeypatch: pytest.MonkeyPatch, values: int
) -> None:
    metrics = {f"m{n}": 1.0 for n in range(values)}

    async def scenario(hub: MetricsHub) -> list[MetricPoint]:
        for _ in range(80):
            await hub.show([a_point(step, **metrics) for step in range(LIVE_OF_PUSH)])
        return (await hub.listen(0, 0.0))[1]

    shown = in_hub(monkeypatch, scenario)
    assert len(shown) == min(LIVE_POINTS, LIVE_VALUES // values)
