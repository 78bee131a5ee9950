"""How long a client may take: one that stalls is let go, and what it holds with it."""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: From the first byte of a request to the last of its body. A megabyte takes that long at 300 kbit/s.
BODY_S = 30.0
#: How long a client may read nothing of what is sent to it.
READ_S = 60.0


class Patience:
    """Ends requests whose body does not arrive, and answers and WebSockets that nobody reads."""

    def __init__(self, app: ASGIApp, *, body_s: float = BODY_S, read_s: float = READ_S) -> None:
        self._app = app
        self._body_s = body_s
        self._read_s = read_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            receive = _Arriving(receive, self._body_s).receive
        if scope["type"] in ("http", "websocket"):
            send = _Leaving(send, self._read_s).send
        await self._app(scope, receive, send)


class _Arriving:
    """A body that must be there in time; what is asked for behind it may take for ever."""

    def __init__(self, receive: Receive, within_s: float) -> None:
        self._receive = receive
        self._within_s = within_s
        self._deadline = time.monotonic() + within_s
        self._whole = False

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        # What is there already is taken even when the time is over.
        left = max(1.0, self._deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            raise HTTPException(
                408, f"The body did not arrive within {self._within_s:g} seconds; send it again."
            ) from None
        self._whole = not message.get("more_body", False)
        return message


class _Leaving:
    def __init__(self, send: Send, within_s: float) -> None:
        self._send = send
        self._within_s = within_s

    async def send(self, message: Message) -> None:
        try:
            await asyncio.wait_for(self._send(message), self._within_s)
        except TimeoutError:
            # What a server raises when the connection is gone.
            raise ConnectionAbortedError("the client reads nothing") from None
