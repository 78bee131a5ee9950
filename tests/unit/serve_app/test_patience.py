"""A client that stalls is let go; one that is only slow, or silent behind its request, is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from serve_app.patience import Patience

POST: Scope = {"type": "http", "method": "POST"}


def arriving(messages: Iterable[Message]) -> Receive:
    """These messages, then silence."""
    left = list(messages)

    async def receive() -> Message:
        if left:
            return left.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("silence does not end")

    return receive


async def taken(message: Message) -> None:
    del message


async def never_read(message: Message) -> None:
    del message
    await asyncio.Event().wait()


def run(app: object, receive: Receive, send: Send, scope: Scope = POST, **limits: float) -> None:
    patient = Patience(app, **limits)  # type: ignore[arg-type]
    asyncio.run(asyncio.wait_for(patient(scope, receive, send), 20))


async def read_all(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, send
    while (await receive()).get("more_body"):
        pass


def part(*, more: bool) -> Message:
    return {"type": "http.request", "body": b"x", "more_body": more}


def test_a_body_that_never_ends_is_refused() -> None:
    with pytest.raises(HTTPException) as refused:
        run(read_all, arriving([part(more=True)]), taken, body_s=0.01)
    assert refused.value.status_code == 408


def test_a_whole_body_is_read_even_when_the_time_is_over() -> None:
    run(read_all, arriving([part(more=True), part(more=False)]), taken, body_s=0.0)


def test_who_waits_behind_a_whole_body_may_wait() -> None:
    async def follow(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(scope, receive, send)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 1.5)

    run(follow, arriving([part(more=False)]), taken, body_s=0.01)


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_an_answer_that_nobody_reads_is_given_up(kind: str) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": f"{kind}.send"})

    with pytest.raises(ConnectionAbortedError):
        run(answer, arriving([]), never_read, {"type": kind, "method": "GET"}, read_s=0.01)
