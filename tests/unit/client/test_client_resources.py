"""What each call sends and how its answer is read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from client_network import JOB, Connect, Recorder

from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import JobStatus

AGENT = {"id": 7, "name": "bidder", "type": "simulation", "status": "active"}


def test_an_agent_is_created_from_what_was_given(connect: Connect) -> None:
    service = Recorder(AGENT, 201)

    agent = connect(service).agents.create("bidder", budget_limit=12.5, config={"a": 1})

    assert agent.id == 7
    assert service.last == (
        "POST",
        "/api/v1/agents",
        {
            "name": "bidder",
            "type": "simulation",
            "version": "1.0.0",
            "budget_limit": 12.5,
            "config": {"a": 1},
        },
    )


@pytest.mark.parametrize(("call", "status"), [("pause", "paused"), ("resume", "active")])
def test_pausing_and_resuming_change_the_status_alone(connect: Connect, call: str, status: str) -> None:
    service = Recorder(AGENT)

    getattr(connect(service).agents, call)(7)

    assert service.last == ("PATCH", "/api/v1/agents/7", {"status": status})


def test_versions_are_added_listed_and_gone_back_to(connect: Connect) -> None:
    service = Recorder({"version": "2.0.0", "agent_id": 7})
    agents = connect(service).agents

    assert agents.add_version(7, "2.0.0", entrypoint="a:b").version == "2.0.0"
    assert service.last == ("POST", "/api/v1/agents/7/versions", {"version": "2.0.0", "entrypoint": "a:b"})

    service.answer = {"items": [{"version": "2.0.0"}, {"version": "1.0.0"}]}
    assert [v.version for v in agents.versions(7)] == ["2.0.0", "1.0.0"]

    service.answer = AGENT | {"version": "1.0.0"}
    assert agents.rollback(7, "1.0.0").version == "1.0.0"
    assert service.last == ("POST", "/api/v1/agents/7/rollback", {"version": "1.0.0"})


def test_deleting_takes_an_empty_answer(connect: Connect) -> None:
    deleted: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        deleted.append(f"{request.method} {request.url.path}")
        return httpx.Response(204)

    connect(handler).agents.delete(7)

    assert deleted == ["DELETE /api/v1/agents/7"]


def test_iterating_asks_for_one_page_after_the_other_with_the_same_filter(connect: Connect) -> None:
    asked: list[dict[str, str]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(dict(request.url.params))
        first = "cursor" not in request.url.params
        return httpx.Response(
            200, json={"items": [AGENT | {"id": 1 if first else 2}], "next_cursor": "c1" if first else None}
        )

    assert [agent.id for agent in connect(handler).agents.iterate(name="bidder")] == [1, 2]
    assert asked == [
        {"name": "bidder", "limit": "1000"},
        {"name": "bidder", "limit": "1000", "cursor": "c1"},
    ]


def test_iterating_fetches_no_page_that_is_not_looked_at(connect: Connect) -> None:
    service = Recorder({"items": [JOB], "next_cursor": "more"})

    next(connect(service).jobs.iterate(status=JobStatus.QUEUED))

    assert len(service.requests) == 1
    assert service.requests[0].url.params["status"] == "queued"


def test_a_job_is_submitted_with_what_was_said_of_it_and_no_more(connect: Connect) -> None:
    service = Recorder(JOB, 201)

    connect(service).jobs.submit(7, hyperparameters={"epochs": 3}, timeout_seconds=None, idempotency_key="k")

    assert service.last == (
        "POST",
        "/api/v1/jobs",
        {"agent_id": 7, "hyperparameters": {"epochs": 3}},
    )
    assert service.requests[0].headers["Idempotency-Key"] == "k"


def test_what_a_newer_service_adds_is_ignored_and_what_an_older_leaves_out_has_a_default(
    connect: Connect,
) -> None:
    answer = JOB | {
        "mood": "good",
        "waiting": {"code": "OnHold", "message": "Paused.", "since": "now"},
        "progress": None,
        "submitted_at": "2026-01-02T03:04:05Z",
        "notices": ["Its image was not used."],
    }

    job = connect(Recorder(answer)).jobs.get(1)

    assert job.waiting is not None
    assert job.waiting.code == "OnHold"
    assert job.progress.metrics == {}
    assert job.submitted_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert job.notices == ("Its image was not used.",)


def test_the_history_of_a_job_is_read(connect: Connect) -> None:
    service = Recorder(
        {"items": [{"id": 3, "event": "admit", "from_state": "queued", "to_state": "admitted"}]}
    )
    jobs = connect(service).jobs

    (event,) = jobs.events(1, after=2)
    assert (event.from_state, event.to_state) == ("queued", "admitted")
    assert service.last[1] == "/api/v1/jobs/1/events?after=2&limit=200"

    service.answer = {"items": [{"number": 1, "cause": "node_lost"}]}
    assert jobs.attempts(1)[0].cause == "node_lost"

    service.answer = {"items": [{"id": 4, "step": 10, "uri": "file:///c"}]}
    assert jobs.checkpoints(1)[0].step == 10


def test_metrics_are_recorded_and_read(connect: Connect) -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    service = Recorder({"at": at.isoformat(), "metrics": {"roas": 1.5}}, 201)
    metrics = connect(service).metrics

    assert metrics.record(7, {"roas": 1.5}, at=at).at == at
    assert service.last == (
        "POST",
        "/api/v1/agents/7/metrics",
        {"metrics": {"roas": 1.5}, "source": "external", "at": "2026-01-02T00:00:00+00:00"},
    )

    service.answer = {
        "items": [{"id": 1, "at": at.isoformat(), "metrics": {"roas": 1.5}}],
        "next_cursor": None,
    }
    (point,) = metrics.iterate(7, since=at)
    assert (point.at, point.metrics) == (at, {"roas": 1.5})


def test_the_status_of_the_service_is_read(connect: Connect) -> None:
    answer = {
        "cluster": {"nodes": 1, "total": {"cpu": "2"}, "claimed": {}, "free": {"cpu": "2"}},
        "jobs": {"queued": 3},
        "agents": {"total": 2, "by_type": {"simulation": 2}},
        "scheduler": {"holder": "a", "epoch": 4, "leading": True, "expires_at": "2026-01-02T00:00:00Z"},
        "version": "0.1.0",
    }

    status = connect(Recorder(answer)).status()

    assert status.cluster.free == {"cpu": "2"}
    assert status.agents.by_type == {"simulation": 2}
    assert status.scheduler.leading


def test_logs_are_text(connect: Connect) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url.query, "ascii"))
        return httpx.Response(200, text="epoch 1\nepoch 2\n")

    assert "".join(connect(handler).jobs.logs(1, tail=2)) == "epoch 1\nepoch 2\n"
    assert asked == ["tail=2&follow=false"]


def states(*steps: str | Exception) -> Any:
    """A service in which a job is as each step says, the last one for good."""
    left = list(steps)

    def handler(_: httpx.Request) -> httpx.Response:
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, Exception):
            raise step
        return httpx.Response(200, json=JOB | {"status": step, "phase": step})

    return handler


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaelp_ray.client.jobs.POLL_S", 0.001)
    monkeypatch.setattr("gaelp_ray.client.follow.POLL_S", 0.001)


@pytest.mark.usefixtures("_quick")
def test_waiting_ends_with_the_job(connect: Connect) -> None:
    job = connect(states("queued", "running", "failed")).jobs.wait(1)

    assert job.ended
    assert not job.succeeded


@pytest.mark.usefixtures("_quick")
def test_waiting_ends_with_its_time(connect: Connect) -> None:
    with pytest.raises(TimeoutError, match="still running"):
        connect(states("running")).jobs.wait(1, timeout=0.01)


@pytest.mark.usefixtures("_quick", "pauses")
def test_waiting_outlives_a_restart_of_the_service(connect: Connect) -> None:
    outage = [httpx.ConnectError("refused")] * 10

    assert connect(states("running", *outage, "completed")).jobs.wait(1).succeeded


@pytest.mark.usefixtures("_quick", "pauses")
def test_waiting_for_a_service_that_was_never_there_fails_at_once(connect: Connect) -> None:
    with pytest.raises(Unavailable):
        connect(states(httpx.ConnectError("refused"))).jobs.wait(1)
