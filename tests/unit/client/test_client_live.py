"""The WebSocket against a real server on this machine."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from time import monotonic, sleep
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from gaelp_ray.client import GaelpClient, Hello, LiveMetrics, LiveState
from gaelp_ray.domain.errors import NotFound, Unauthenticated, Unavailable

AT = "2026-01-02T00:00:00Z"
JOB = {"id": 1, "agent_id": 7, "name": "j", "status": "running", "phase": "running", "attempt": 1}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(app: Any, port: int) -> Iterator[str]:
    """``app`` on the port, gone with all its connections at the end."""
    config = uvicorn.Config(
        app,
        port=port,
        log_level="critical",
        lifespan="off",
        timeout_graceful_shutdown=0,
        ws="websockets-sansio",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = monotonic() + 10
        while not server.started:
            assert monotonic() < deadline, "the server does not start"
            sleep(0.005)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


class Replica:
    """Sends numbered metrics and cuts every connection after ``per_connection`` of them.

    With None it sends one, tells that the job has ended, and waits for the client to leave.
    """

    def __init__(self, per_connection: int | None = None, cut_with: int = 1012) -> None:
        self.sent = 0
        self.tokens: list[str | None] = []
        self.app = FastAPI()

        @self.app.websocket("/ws/{agent_id}")
        async def live(ws: WebSocket, agent_id: int) -> None:
            self.tokens.append(ws.headers.get("authorization"))
            await ws.accept()
            await ws.send_json({"type": "hello", "agent_id": agent_id})
            for _ in range(per_connection if per_connection is not None else 1):
                self.sent += 1
                await ws.send_json(
                    {"type": "metrics", "agent_id": agent_id, "job_id": 1, "at": AT, "step": self.sent}
                )
            if per_connection is not None:
                await ws.close(cut_with)
                return
            state = {"type": "state", "agent_id": agent_id, "job_id": 1, "event": "succeed"}
            await ws.send_json(state | {"from": "running", "to": "succeeded", "status": "completed"})
            with suppress(WebSocketDisconnect):
                await ws.receive_text()


def steps(client: GaelpClient, count: int) -> list[int | str]:
    """The first ``count`` messages: a step for metrics, ``hello`` for a new connection."""
    seen: list[int | str] = []
    with closing(client.watch(7)) as messages:
        for message in messages:
            seen.append(message.step or 0 if isinstance(message, LiveMetrics) else "hello")
            if len(seen) == count:
                break
    return seen


@pytest.mark.parametrize("cut_with", [1000, 1001, 1012])
def test_a_watch_goes_on_when_its_connection_is_cut(cut_with: int) -> None:
    replica = Replica(per_connection=2, cut_with=cut_with)

    with serving(replica.app, free_port()) as url, GaelpClient(url, "t0ken") as client:
        assert steps(client, 6) == ["hello", 1, 2, "hello", 3, 4]
    assert replica.tokens[:2] == ["Bearer t0ken"] * 2


def test_a_watch_goes_on_when_its_server_is_replaced() -> None:
    port = free_port()
    with GaelpClient(f"http://127.0.0.1:{port}") as client:
        messages = client.watch(7)
        with serving(Replica().app, port):
            assert [type(next(messages)) for _ in range(3)] == [Hello, LiveMetrics, LiveState]
        with serving(Replica().app, port):
            assert [type(next(messages)) for _ in range(3)] == [Hello, LiveMetrics, LiveState]
            messages.close()


def test_a_greeting_with_large_jobs_is_read() -> None:
    app = FastAPI()

    @app.websocket("/ws/{agent_id}")
    async def live(ws: WebSocket, agent_id: int) -> None:
        await ws.accept()
        large = JOB | {"training_config": {"table": "x" * 2_000_000}}
        await ws.send_json({"type": "hello", "agent_id": agent_id, "jobs": [large]})
        await ws.close()

    with serving(app, free_port()) as url, GaelpClient(url) as client, closing(client.watch(7)) as messages:
        hello = next(messages)

    assert isinstance(hello, Hello)
    assert [job.id for job in hello.jobs] == [1]


def test_a_service_that_stays_away_ends_the_watch() -> None:
    with (
        GaelpClient(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(Unavailable, match="gaelp up"),
    ):
        next(client.watch(7, patience=0.0))


def first(code: str, detail: str) -> FastAPI:
    """Answers the first connection with an error and greets every later one."""
    app = FastAPI()
    connections: list[int] = []

    @app.websocket("/ws/{agent_id}")
    async def live(ws: WebSocket, agent_id: int) -> None:
        connections.append(agent_id)
        await ws.accept()
        greeting = {"type": "hello", "agent_id": agent_id}
        await ws.send_json(
            {"type": "error", "code": code, "detail": detail} if len(connections) == 1 else greeting
        )
        await ws.close(4000)

    return app


def test_a_refusal_ends_the_watch() -> None:
    app = first("not_found", "There is no agent 7.")

    with (
        serving(app, free_port()) as url,
        GaelpClient(url) as client,
        pytest.raises(NotFound, match="agent 7"),
    ):
        next(client.watch(7))


def test_a_database_that_is_away_is_waited_for() -> None:
    app = first("unavailable", "The database is away.")

    with serving(app, free_port()) as url, GaelpClient(url) as client, closing(client.watch(7)) as messages:
        assert next(messages) == Hello(7)


def test_a_handshake_that_is_refused_is_the_error_it_answers_with() -> None:
    problem = json.dumps({"code": "unauthenticated", "detail": "The token has expired.", "status": 401})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"content-type", b"application/problem+json")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": problem.encode()})

    with (
        serving(app, free_port()) as url,
        GaelpClient(url) as client,
        pytest.raises(Unauthenticated, match="expired"),
    ):
        next(client.watch(7))


def test_a_job_is_followed_live_to_its_end() -> None:
    replica = Replica()
    looked: list[int] = []

    @replica.app.get("/api/v1/jobs/1")
    def job() -> dict[str, Any]:
        looked.append(1)
        ended = len(looked) > 2
        return JOB | ({"status": "completed", "phase": "succeeded"} if ended else {})

    with serving(replica.app, free_port()) as url, GaelpClient(url) as client:
        views = list(client.jobs.follow(1))

    assert [view.progress.step for view in views] == [None, None, 1, None]
    assert views[-1].succeeded


def test_a_log_is_followed_as_it_is_written() -> None:
    written = threading.Event()
    app = FastAPI()

    @app.get("/api/v1/jobs/1/logs")
    def logs(follow: bool) -> StreamingResponse:
        def text() -> Iterator[str]:
            yield "epoch 1\n"
            assert written.wait(5)
            yield f"epoch 2, follow {follow}\n"

        return StreamingResponse(text(), media_type="text/plain")

    with serving(app, free_port()) as url, GaelpClient(url) as client:
        pieces = client.jobs.logs(1, follow=True)
        assert next(pieces) == "epoch 1\n"
        written.set()
        assert "".join(pieces) == "epoch 2, follow True\n"


def test_a_log_that_is_cut_says_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"epoch 1\n", "more_body": True})

    with serving(app, free_port()) as url, GaelpClient(url) as client:
        pieces = client.jobs.logs(1, follow=True)
        assert next(pieces) == "epoch 1\n"
        with pytest.raises(Unavailable, match="cut"):
            next(pieces)
