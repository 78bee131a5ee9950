"""Who follows takes nothing from others: so many of one user, and each seat is free again."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import uuid

import httpx
import pytest
import websockets
from websockets.exceptions import ConnectionClosed

from gaelp_ray.cli.homes import known_run_folder
from gaelp_ray.config import Settings
from tests.service import Service, eventually

REPLICAS = Settings.model_fields["replicas"].default
SEATS = Settings.model_fields["followers_per_user"].default * REPLICAS


def test_the_followers_of_one_user_leave_room_for_others(service: Service, api: httpx.Client) -> None:
    ann, bob = service.token("follower-ann"), service.token("follower-bob")
    with service.client(ann) as anns:
        agent = service.agent(anns)
        job = service.submit(anns, agent, hyperparameters={"steps": 3000, "pause_s": 0.2})
        service.wait(anns, job, "running")
    path = f"{service.url}/api/v1/jobs/{job['id']}/logs?follow=true"

    async def follow(many: int) -> tuple[list[int], int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:

            async def begin() -> httpx.Response:
                request = client.build_request("GET", path, headers={"Authorization": f"Bearer {ann}"})
                return await client.send(request, stream=True)

            answers = await asyncio.gather(*(begin() for _ in range(many)))
            for answer in answers:
                if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    problem = json.loads(await answer.aread())
                    assert problem["code"] == "too_many_followers"
                    assert answer.headers["Retry-After"]
            other = {"Authorization": f"Bearer {bob}"}
            read = await client.get(f"{service.url}/api/v1/agents", headers=other)
            for answer in answers:
                await answer.aclose()
            return [answer.status_code for answer in answers], read.status_code

    statuses, others = asyncio.run(follow(SEATS + 30))
    assert set(statuses) == {200, 429}
    assert statuses.count(200) <= SEATS
    assert others == 200

    def free_again() -> bool:
        found, _ = asyncio.run(follow(1))
        return found == [200]

    eventually(free_again, what="a seat is free when its follower has left")
    api.post(f"/jobs/{job['id']}/cancel")


def test_sockets_have_seats_too(service: Service) -> None:
    token = service.token("socket-ann")
    with service.client(token) as anns:
        agent = service.agent(anns)
    address = f"{service.url.replace('http', 'ws')}/ws/{agent['id']}"

    async def watch(many: int) -> list[int]:
        async def first(socket: websockets.ClientConnection) -> int:
            message = json.loads(await socket.recv())
            if message["type"] == "hello":
                return 200
            assert message["code"] == "too_many_followers"
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4429
            return int(message["status"])

        headers = {"Authorization": f"Bearer {token}"}
        connecting = (
            websockets.connect(address, additional_headers=headers, open_timeout=60) for _ in range(many)
        )
        sockets = await asyncio.gather(*connecting)
        try:
            return await asyncio.gather(*(first(socket) for socket in sockets))
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets))

    assert set(asyncio.run(watch(SEATS + 20))) == {200, 429}
    eventually(lambda: asyncio.run(watch(1)) == [200], what="seats are free when sockets are closed")


def test_nobody_else_reaches_what_the_service_trusts(service: Service) -> None:
    run = known_run_folder(service.home)
    assert run is not None
    assert run.stat().st_uid == os.geteuid()
    assert not stat.S_IMODE(run.stat().st_mode) & 0o067
    (socket,) = run.glob("haproxy/*/admin.sock")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert not stat.S_IMODE((run / "pg").stat().st_mode) & 0o077
    (settings,) = run.glob("haproxy/*/haproxy.cfg")
    assert "timeout http-request 20s" in settings.read_text()
    assert "timeout client 60s" in settings.read_text()


def test_a_line_of_a_replica_is_kept_with_the_id_of_its_request(service: Service) -> None:
    """At the usual level a good request says nothing; one that goes wrong on our side does."""
    asked = str(uuid.uuid4())
    service.database("stop")
    try:
        with service.client() as api:
            assert api.get("/jobs", headers={"X-Request-Id": asked}).status_code == 503
    finally:
        service.database("start")
    eventually(lambda: asked in service.gaelp("logs").stdout, within_s=30, what="the request is told of")


def test_a_client_that_stalls_is_let_go(service: Service) -> None:
    """One that sends nothing, half a head, half a body; each would else hold on for an hour."""
    token = service.token("stalled-ann")
    head = f"POST /api/v1/agents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    begun = {
        "nothing": b"",
        "half a head": head.encode(),
        "half a body": f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode(),
    }
    stalled = {}
    for name, sent in begun.items():
        stalled[name] = socket.create_connection(("127.0.0.1", service.port), timeout=120)
        stalled[name].sendall(sent)
    answers = {name: connection.recv(1000) for name, connection in stalled.items()}
    for connection in stalled.values():
        connection.close()
    assert answers["nothing"] == b"" or b" 408 " in answers["nothing"]
    assert b" 408 " in answers["half a head"]
    assert b" 408 " in answers["half a body"]
    assert b"did not arrive" in answers["half a body"]
