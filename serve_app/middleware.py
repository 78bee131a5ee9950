"""One pass over each request before FastAPI sees it: its id, size limit and lenient content types."""

from __future__ import annotations

import re
from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gaelp_ray.observability import logs

_WITH_BODY = {"POST", "PUT", "PATCH"}
_REQUEST_ID = b"x-request-id"
_ID = re.compile(rb"[!-~]{1,128}")
#: What `curl -d` says when nobody tells it otherwise.
_LENIENT = (b"application/x-www-form-urlencoded", b"text/plain", b"application/octet-stream")


class RequestGate:
    """Refuses bodies over ``limit`` bytes, and reads bodies of no or a default content type as JSON.

    Each request gets an id, that of its header ``X-Request-Id`` or a new one: ``request_id`` in its scope.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        given = next((value for name, value in headers if name == _REQUEST_ID), b"")
        if _ID.fullmatch(given):
            # Ray Serve, which also makes one where the client did not, shows it in the answer.
            scope["request_id"] = given.decode()
        else:
            scope["request_id"] = str(uuid4())
            send = _Answering(send, scope["request_id"]).send
        logs.request_id.set(scope["request_id"])
        if scope["method"] in _WITH_BODY:
            scope["headers"] = _as_json(headers)
        declared = next((value for name, value in headers if name == b"content-length"), b"0")
        counted = _Counted(receive, self._limit, declared)
        await self._app(scope, counted.receive, send)


class _Answering:
    """Shows the id of the request in its answer."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._header = (_REQUEST_ID, request_id.encode())

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), self._header]
        await self._send(message)


class _Counted:
    """Refuses a body that is too large when it is read: who may not send one is told that first."""

    def __init__(self, receive: Receive, limit: int, declared: bytes) -> None:
        self._receive = receive
        self._limit = self._left = limit
        self._fits = declared.isdigit() and int(declared[:20]) <= limit

    async def receive(self) -> Message:
        if not self._fits:
            raise HTTPException(413, _sentence(self._limit))
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            # FastAPI lets this kind of error pass while it reads a body; any other becomes a 400.
            raise HTTPException(413, _sentence(self._limit))
        return message


def _sentence(limit: int) -> str:
    return f"The body is larger than {limit} bytes; send less."


def _as_json(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    for index, (name, value) in enumerate(headers):
        if name == b"content-type":
            if not value.startswith(_LENIENT):
                return headers
            return [*headers[:index], (name, b"application/json"), *headers[index + 1 :]]
    return [*headers, (b"content-type", b"application/json")]
