"""The kinds of stand-ins for the network that the tests of the client use."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from gaelp_ray.client import GaelpClient

Handler = Callable[[httpx.Request], httpx.Response]
Connect = Callable[[Handler], GaelpClient]

JOB: dict[str, Any] = {"id": 1, "agent_id": 7, "name": "j", "status": "queued", "phase": "queued"}


class Recorder:
    """Answers everything with the same JSON and keeps the requests."""

    def __init__(self, answer: Any, status: int = 200) -> None:
        self.answer, self.status = answer, status
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status, json=self.answer)

    @property
    def last(self) -> tuple[str, str, Any]:
        request = self.requests[-1]
        return request.method, request.url.raw_path.decode(), json.loads(request.content or b"null")
