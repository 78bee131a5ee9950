"""A line for each request, at the level INFO."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("gaelp_ray.http")


class AccessLog:
    """Says who was answered what and how long it took; never what was sent, nor any query."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        status, began = 500, time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            facts = {
                "action": "request",
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "milliseconds": round((time.monotonic() - began) * 1000),
                "request_id": scope.get("request_id"),
            }
            log.info("answered", extra=facts)
