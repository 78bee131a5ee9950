"""Quotas, holds, explanations, edits and the queue, as they are asked for and read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from client_network import JOB, Connect, Recorder

from gaelp_ray.domain.errors import ExceedsQuota, QueueFull

WHY = {
    "job_id": 1,
    "phase": "queued",
    "code": "WaitingForPreemption",
    "message": "Waits for job 4.",
    "unblock": ["Job 4 has saved and stopped."],
    "position": 3,
    "queued": 17,
    "share": 0.25,
    "eta": {
        "starts_at": "2026-01-02T03:00:00Z",
        "earliest": "2026-01-02T02:00:00Z",
        "latest": "2026-01-02T05:00:00Z",
    },
    "placement": [{"node_id": "a", "resources": {"gpu": "1"}, "gpus": [0, 2]}],
    "victims": [4],
}


def test_an_explanation_is_read_in_full(connect: Connect) -> None:
    service = Recorder(WHY)

    found = connect(service).jobs.why(1)

    assert service.last[:2] == ("GET", "/api/v1/jobs/1/why")
    assert found.eta is not None
    assert found.eta.latest == datetime(2026, 1, 2, 5, tzinfo=UTC)
    assert found.placement is not None
    assert found.placement[0].gpus == (0, 2)
    assert (found.position, found.victims) == (3, (4,))


def test_an_explanation_may_know_little(connect: Connect) -> None:
    found = connect(Recorder({"message": "It runs.", "code": None, "eta": None, "placement": None})).jobs.why(
        1
    )

    assert (found.code, found.position, found.eta, found.placement, found.victims) == (
        None,
        None,
        None,
        None,
        (),
    )


def test_a_plan_says_of_a_job_what_a_submission_says(connect: Connect) -> None:
    service = Recorder(WHY | {"job_id": None})
    deadline = datetime(2030, 1, 31, tzinfo=UTC)

    found = connect(service).jobs.plan(
        7, workers=2, label_selector={"zone": "a"}, spot="only", preemptible=True, deadline=deadline
    )

    assert found.job_id is None
    assert service.last == (
        "POST",
        "/api/v1/jobs:plan",
        {
            "agent_id": 7,
            "workers": 2,
            "label_selector": {"zone": "a"},
            "spot": "only",
            "preemptible": True,
            "deadline": "2030-01-31T00:00:00+00:00",
        },
    )
    assert "Idempotency-Key" not in service.requests[0].headers


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"priority": 9}, {"priority": 9}),
        ({"preemptible": False}, {"preemptible": False}),
        ({"no_deadline": True}, {"deadline": None}),
        ({"clear": ["timeout_seconds"]}, {"timeout_seconds": None}),
        (
            {"clear": ["expected_duration_seconds", "max_retries"], "priority": 2},
            {"expected_duration_seconds": None, "max_retries": None, "priority": 2},
        ),
        ({}, {}),
    ],
    ids=["a priority", "false is something", "a deadline taken away", "a limit cleared", "many", "nothing"],
)
def test_an_edit_sends_what_was_given(connect: Connect, given: dict[str, Any], sent: dict[str, Any]) -> None:
    service = Recorder(JOB)

    connect(service).jobs.edit(1, **given)

    assert service.last == ("PATCH", "/api/v1/jobs/1", sent)


def test_many_jobs_are_cancelled_by_ids_or_by_what_they_are(connect: Connect) -> None:
    service = Recorder({"count": 2, "ids": [1, 2], "more": False})
    jobs = connect(service).jobs

    assert jobs.cancel_many(ids=range(1, 3)).ids == (1, 2)
    assert service.last == ("POST", "/api/v1/jobs:cancel", {"ids": [1, 2], "limit": 1000})

    jobs.cancel_many(agent_id=7, status="queued", reason="enough", limit=5)
    assert service.last[2] == {"agent_id": 7, "status": "queued", "reason": "enough", "limit": 5}


def test_who_made_room_for_whom_is_read(connect: Connect) -> None:
    told = {"job_id": 1, "for_job_id": 8, "reason": "priority", "message": "Job 8 needs its node."}
    drained = {"job_id": 1, "for_job_id": None, "reason": "drained"}

    found = connect(Recorder({"items": [told, drained], "victims": []})).jobs.preemptions(1)

    assert [(each.reason, each.for_job_id) for each in found.items] == [("priority", 8), ("drained", None)]


def test_a_job_and_its_attempts_tell_how_they_are_placed(connect: Connect) -> None:
    service = Recorder(
        JOB | {"workers": 3, "spot": "prefer", "label_selector": {"zone": "a"}, "preemptions": 2}
    )
    jobs = connect(service).jobs

    job = jobs.get(1)
    assert (job.workers, job.spot, job.label_selector, job.preemptions) == (3, "prefer", {"zone": "a"}, 2)

    service.answer = {"items": [{"number": 1, "spot": True, "placement": [{"node_id": "a", "gpus": [1]}]}]}
    (attempt,) = jobs.attempts(1)
    assert attempt.spot
    assert [(seat.node_id, seat.gpus) for seat in attempt.placement] == [("a", (1,))]


def test_quotas_are_set_read_and_taken_away(connect: Connect) -> None:
    service = Recorder({"kind": "user", "name": "ann", "limit": {"gpu": "4"}, "queued": "unlimited"})
    quotas = connect(service).quotas

    assert quotas.set("user", "ann", limit={"gpu": 4}, team="ads", queued=50).limit == {"gpu": "4"}
    assert service.last == (
        "PUT",
        "/api/v1/quotas/users/ann",
        {"limit": {"gpu": 4}, "team": "ads", "queued": 50},
    )
    assert quotas.get("team", "a/b").queued == "unlimited"
    assert service.last[:2] == ("GET", "/api/v1/quotas/teams/a%2Fb")

    quotas.unset("user", "*")
    assert service.last[0] == "DELETE"

    service.answer = {"items": [{"kind": "user", "name": "ann"}], "next_cursor": None}
    assert [quota.name for quota in quotas.iterate(kind="user")] == ["ann"]


def test_a_kind_of_quota_that_does_not_exist_is_refused_before_anything_is_sent(connect: Connect) -> None:
    service = Recorder({})

    with pytest.raises(ValueError, match="robot"):
        connect(service).quotas.get("robot", "ann")
    assert service.requests == []


def test_usage_is_read_now_and_over_time(connect: Connect) -> None:
    service = Recorder(
        {"kind": "team", "name": "ads", "held": {"gpu": "3"}, "waiting": 2, "members": {"ann": {"gpu": "3"}}}
    )
    quotas = connect(service).quotas

    assert quotas.usage("team", "ads").members == {"ann": {"gpu": "3"}}

    service.answer = {
        "resource": "gpu",
        "unit": "GPUs",
        "items": [{"at": "2026-01-02T00:00:00Z", "average": 1.5}],
    }
    past = quotas.history("team", "ads", "gpu", since=datetime(2026, 1, 2, tzinfo=UTC), buckets=1)
    assert past.items[0].average == 1.5
    assert dict(service.requests[-1].url.params) == {
        "resource": "gpu",
        "since": "2026-01-02T00:00:00+00:00",
        "buckets": "1",
    }


def test_holds_are_placed_listed_and_lifted(connect: Connect) -> None:
    service = Recorder({"scope": "agent", "name": "7", "mode": "hold_and_drain"})
    holds = connect(service).holds

    assert holds.place("agent", 7, mode="hold_and_drain", reason="it overspends").name == "7"
    assert service.last == (
        "PUT",
        "/api/v1/holds/agent/7",
        {"mode": "hold_and_drain", "reason": "it overspends"},
    )
    holds.lift("global")
    assert service.last[:2] == ("DELETE", "/api/v1/holds/global")

    service.answer = {"items": [{"scope": "global", "name": None, "mode": "hold"}]}
    assert [hold.scope for hold in holds.list()] == ["global"]


def test_the_queue_and_savings_are_read(connect: Connect) -> None:
    service = Recorder(
        {
            "at": "2026-01-02T00:00:00Z",
            "waiting": 3,
            "by_code": {"OnHold": 3},
            "heads": [{"job_id": 1, "owner": "ann", "code": "OnHold", "waiting": 3}],
        }
    )
    gaelp = connect(service)

    assert gaelp.queue(limit=5).heads[0].waiting == 3
    assert service.last[:2] == ("GET", "/api/v1/queue?limit=5")

    span = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-31T00:00:00Z"}
    service.answer = span | {"currency": "EUR", "users": {"ann": {"saved": 6.5}}}
    found = gaelp.savings(until=datetime(2026, 1, 31, tzinfo=UTC))
    assert found.users["ann"].saved == 6.5
    assert found.total.saved == 0.0


@pytest.mark.parametrize(
    ("status", "code", "kind", "facts"),
    [
        (429, "queue_full", QueueFull, {"limit": 5, "waiting": 5, "scope": "user ann", "retry_after_s": 5}),
        (422, "exceeds_quota", ExceedsQuota, {"field": "gpu", "limit": 4000, "asked": 8000}),
    ],
    ids=["a full queue", "a quota that never allows it"],
)
def test_a_submission_is_refused_with_the_numbers(
    connect: Connect, status: int, code: str, kind: type[Exception], facts: dict[str, Any]
) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"code": code, "detail": "No.", "status": status} | facts)

    with pytest.raises(kind) as raised:
        connect(refuse).jobs.submit(7)

    assert raised.value.details == facts  # type: ignore[attr-defined]
