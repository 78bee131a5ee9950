"""Watching an agent over a WebSocket."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.service import Service


def watch(service: Service, agent_id: int, token: str, **options: Any) -> ClientConnection:
    """As a browser does it: the token travels as a subprotocol."""
    options.setdefault("subprotocols", ["gaelp", f"bearer.{token}"])
    return connect(f"ws://127.0.0.1:{service.port}/ws/{agent_id}", open_timeout=20, **options)


def read_until(socket: ClientConnection, end: Any, within_s: float = 60) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    deadline = time.monotonic() + within_s
    while not messages or not end(messages[-1]):
        messages.append(json.loads(socket.recv(timeout=max(0.1, deadline - time.monotonic()))))
    return messages


def test_metrics_and_states_stream_to_a_browser(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    with watch(service, agent["id"], service.admin_token) as socket:
        assert socket.subprotocol == "gaelp"
        assert json.loads(socket.recv(timeout=20))["type"] == "hello"
        job = service.submit(api, agent, hyperparameters={"steps": 8, "pause_s": 0.1})
        messages = read_until(socket, lambda m: m.get("to") == "succeeded")
    metrics = [m for m in messages if m["type"] == "metrics"]
    assert [m["step"] for m in metrics] == list(range(1, 9))
    assert metrics[-1] | {"at": ""} == {
        "type": "metrics",
        "agent_id": agent["id"],
        "job_id": job["id"],
        "attempt": 1,
        "step": 8,
        "total_steps": 8,
        "at": "",
        "metrics": {"reward": 8.0},
    }
    states = [m["to"] for m in messages if m["type"] == "state"]
    assert states[0] == "queued"
    assert states[-2:] == ["running", "succeeded"]


def test_a_header_works_as_well(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    with watch(service, agent["id"], "", subprotocols=None, additional_headers=headers) as socket:
        assert json.loads(socket.recv(timeout=20))["agent_id"] == agent["id"]


@pytest.mark.parametrize("case", ["no token", "a stranger's token", "no such agent"])
def test_without_the_right_it_says_so_and_closes(service: Service, api: httpx.Client, case: str) -> None:
    agent_id = service.agent(api)["id"]
    token, status, code = {
        "no token": ("x.y.z", 401, "unauthenticated"),
        "a stranger's token": (service.token("stranger"), 404, "not_found"),
        "no such agent": (service.admin_token, 404, "not_found"),
    }[case]
    with watch(service, 999_999 if case == "no such agent" else agent_id, token) as socket:
        error = json.loads(socket.recv(timeout=20))
        assert (error["type"], error["status"], error["code"]) == ("error", status, code)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4000 + status


def test_external_metrics_are_seen_live(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    with watch(service, agent["id"], service.admin_token) as socket:
        socket.recv(timeout=20)
        # Either replica may take the post, so it must reach watchers of the other as well.
        for n in range(6):
            api.post(f"/agents/{agent['id']}/metrics", json={"metrics": {"n": n}})
        messages = read_until(socket, lambda m: m["metrics"]["n"] == 5)
    assert [m["metrics"]["n"] for m in messages] == [0, 1, 2, 3, 4, 5]


def test_the_live_page_is_served(service: Service) -> None:
    page = httpx.get(f"{service.url}/live/1", timeout=10)
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
