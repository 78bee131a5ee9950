"""A stand-in for the service, in memory, and what a run of the command left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

Answer = Any | Callable[[httpx.Request], httpx.Response]

AGENT: dict[str, Any] = {
    "id": 7,
    "name": "bidder",
    "type": "simulation",
    "status": "active",
    "owner": "ann",
    "version": "1.0.0",
    "entrypoint": "a.b:train",
    "budget_limit": 6000.0,
    "budget_spent": 1234.5,
}
JOB: dict[str, Any] = {
    "id": 1,
    "agent_id": 7,
    "name": "run-1",
    "status": "queued",
    "phase": "queued",
    "waiting": {"code": "WaitingForCapacity", "message": "Waits for 2 CPU."},
}
RUNNING = JOB | {
    "status": "running",
    "phase": "running",
    "waiting": None,
    "attempt": 1,
    "progress": {
        "step": 12,
        "total_steps": 40,
        "fraction": 0.3,
        "eta_seconds": 65.2,
        "metrics": {"reward": 0.5, "spend": 150.0},
    },
}
COMPLETED = JOB | {
    "status": "completed",
    "phase": "succeeded",
    "waiting": None,
    "result": {"final_reward": 1.0},
}
FAILED = JOB | {
    "status": "failed",
    "phase": "failed",
    "waiting": None,
    "message": "ValueError: no such epoch",
}
WHY: dict[str, Any] = {
    "job_id": 1,
    "phase": "queued",
    "code": "WaitingForCapacity",
    "message": "Waits for 2 CPU.",
    "unblock": ["Job 4 ends at about noon."],
    "position": 3,
    "ahead_in_lane": 0,
    "queued": 17,
    "priority": 5,
    "effective_priority": 6,
    "share": 0.25,
    "eta": {
        "starts_at": "2026-01-02T03:00:00Z",
        "earliest": "2026-01-02T02:00:00Z",
        "latest": "2026-01-02T05:00:00Z",
    },
    "placement": None,
    "victims": [],
}


@dataclass
class Service:
    """Answers by ``"METHOD /path"``: JSON, a response, a function, or a list of which each is used once."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        key = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        if key not in self.answers:
            return problem("not_found", f"Nothing answers {key}.", 404)
        answer = self.answers[key]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            return answer(request)  # type: ignore[no-any-return]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def sent(self, key: str) -> list[Any]:
        """The bodies of all requests of that kind."""
        method, path = key.split()
        return [
            json.loads(request.content or b"null")
            for request in self.requests
            if (request.method, request.url.path) == (method, f"/api/v1{path}")
        ]


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


def problem(code: str, detail: str, status: int) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": detail, "status": status})
