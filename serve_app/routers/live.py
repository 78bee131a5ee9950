"""/ws/{agent_id} and the live page"""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse

from gaelp_ray.domain import ids
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import jobs as job_service
from gaelp_ray.store.jobs import JobFilter
from serve_app.auth import SUBPROTOCOL, authenticate, websocket_token
from serve_app.context import context
from serve_app.errors import status_of
from serve_app.live import Subscriber
from serve_app.route import Route, check_query
from serve_app.routers.ids import Id
from serve_app.schemas.jobs import JobOut

router = APIRouter(tags=["live"], route_class=Route)

STATIC = Path(__file__).parent.parent / "static"
#: Jobs shown in the greeting, newest first.
_GREETED_JOBS = 20


@router.get("/live/{agent_id}", include_in_schema=False)
async def live_page(agent_id: Id) -> FileResponse:
    """A page that shows an agent learn; the token stays in the address's fragment, which is never sent."""
    del agent_id
    return FileResponse(STATIC / "live.html", headers={"Cache-Control": "no-cache"})


@router.websocket("/ws/{agent_id}")
async def watch_agent(socket: WebSocket, agent_id: str) -> None:
    """Metrics and changes of state of an agent, as JSON, from now on.

    Errors come as a last message ``{"type": "error", ...}`` and a close code of 4000 + the HTTP status.
    """
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    try:
        caller = authenticate(websocket_token(socket))
        check_query(socket, {})
        watched = ids.read(agent_id, field="agent_id")
        # A deleted agent's jobs may still be ending, and its history can be read.
        agent_service.recorded(await context().agents.get(watched), watched, caller)
        # Watching begins before the greeting is read, so that nothing falls between the two.
        with context().followers.seat(caller.user):
            async with context().live.subscribe(watched) as subscriber:
                await _serve(socket, await _greeting(watched, caller), subscriber)
    except GaelpError as error:
        await _refuse(socket, error)


async def _refuse(socket: WebSocket, error: GaelpError) -> None:
    status = status_of(error)
    last = {"type": "error", "status": status, "code": error.code, "detail": error.message}
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_json(last)
        await socket.close(4000 + status, error.message[:120])


async def _serve(socket: WebSocket, greeting: dict[str, Any], subscriber: Subscriber) -> None:
    """Send until the client leaves. It has nothing to say, but only a read notices that it left."""
    sending = asyncio.create_task(_send(socket, greeting, subscriber))
    try:
        while (await socket.receive())["type"] != "websocket.disconnect":
            pass
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
            await sending


async def _send(socket: WebSocket, greeting: dict[str, Any], subscriber: Subscriber) -> None:
    await socket.send_text(json.dumps(greeting, default=str))
    while True:
        for message in await subscriber.take():
            await socket.send_text(json.dumps(message))


async def _greeting(agent_id: int, caller: Principal) -> dict[str, Any]:
    """Where things stand, so that a client that reconnects has missed nothing that still matters."""
    now = datetime.now(UTC)
    jobs = await context().read(
        job_service.page, JobFilter(agent_id=agent_id), by=caller, before=None, limit=_GREETED_JOBS
    )
    shown = [JobOut.of(job, now).model_dump(mode="json") for job in jobs]
    return {"type": "hello", "agent_id": agent_id, "at": now.isoformat(), "jobs": shown}
