from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from cli_service import Run, Service

from gaelp_ray.client import Hello, LiveMessage, LiveMetrics, LiveState

POINT = {
    "id": 1,
    "at": "2026-01-02T03:04:05Z",
    "job_id": 1,
    "step": 3,
    "source": "job",
    "metrics": {"reward": 1.5},
}
OUTSIDE = {"id": 2, "at": "2026-01-02T03:04:05Z", "source": "ads", "metrics": {"roas": 1234567.0}}


def test_metrics_of_all_names_share_one_table(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents/7/metrics"] = {"items": [POINT, OUTSIDE]}

    ran = gaelp("metrics", "7", "--job", "1")

    assert "reward" in ran.out
    assert "1,234,567.00" in ran.out
    assert dict(service.requests[0].url.params) == {"job_id": "1", "limit": "50"}


def test_a_time_without_a_zone_is_local(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents/7/metrics"] = {"items": []}

    gaelp("metrics", "7", "--since", "2026-01-02T03:04:05")

    since = datetime.fromisoformat(service.requests[0].url.params["since"])
    assert since == datetime(2026, 1, 2, 3, 4, 5).astimezone()


@pytest.mark.usefixtures("service")
def test_metrics_are_followed_as_one_json_object_a_line(gaelp: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)

    def messages(*_: object, **__: object) -> Iterator[LiveMessage | None]:
        yield Hello(7)
        yield LiveMetrics(7, at, job_id=1, step=1, metrics={"reward": 0.5})
        yield None
        yield LiveMetrics(7, at, job_id=2, step=1, metrics={"reward": 9.0})
        yield LiveState(7, 1, "succeed", to_state="succeeded")
        yield LiveMetrics(7, at, job_id=1, step=2, metrics={"reward": 0.7})

    monkeypatch.setattr("gaelp_ray.client.client.listen", messages)

    ran = gaelp("metrics", "7", "--follow", "--job", "1", "--json")

    assert [json.loads(line)["metrics"]["reward"] for line in ran.out.splitlines()] == [0.5, 0.7]
