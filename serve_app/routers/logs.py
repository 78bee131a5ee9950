"""/api/v1/jobs/{id}/logs"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import Field

from gaelp_ray.domain.access import Principal
from gaelp_ray.services import logs as service
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.routers.api import api_router
from serve_app.routers.ids import PLAIN, Id

router = api_router("/jobs", tag="jobs")

POLL_S = 0.3

Attempt = Annotated[
    Annotated[int, Field(ge=1, le=10**6), PLAIN] | None, Query(description="By default the newest.")
]
Tail = Annotated[int, Field(ge=0, le=100_000), PLAIN, Query(description="Lines from the end.")]


@router.get("/{job_id}/logs", response_class=PlainTextResponse)
async def read_logs(
    job_id: Id,
    caller: Caller,
    attempt: Attempt = None,
    tail: Tail = 200,
    follow: bool = False,
) -> Response:
    """What the job printed. With ``follow`` the answer goes on until the job, or the chosen attempt, ends."""
    attempt_id = await context().read(service.attempt_of, job_id, attempt, by=caller)
    if follow:
        stream = _follow(job_id, attempt, attempt_id, tail, caller)
        return StreamingResponse(stream, media_type="text/plain; charset=utf-8")
    if attempt_id is None:
        return PlainTextResponse("")
    part = await context().read(service.tail, attempt_id, lines=tail)
    return Response(part.content, media_type="text/plain; charset=utf-8")


async def _follow(
    job_id: int, number: int | None, attempt_id: int | None, tail: int, caller: Principal
) -> AsyncIterator[bytes]:
    """One attempt after another until the job ends; a chosen attempt until that ends."""
    api = context()
    current, position = None, 0
    while True:
        # Asked before reading, so that what was written in between is not missed.
        over = await api.read(service.finished, job_id, by=caller)
        if attempt_id is not None and attempt_id != current:
            first = current is None
            current, position = attempt_id, 0
            if first:
                part = await api.read(service.tail, attempt_id, lines=tail)
                position = part.next_byte
                yield part.content
        complete = False
        while current is not None:
            part = await api.read(service.read_on, current, from_byte=position)
            position, complete = part.next_byte, part.complete
            if not part.content:
                break
            yield part.content
        if over or (complete and number is not None):
            return
        await asyncio.sleep(POLL_S)
        if number is None and (complete or current is None):
            attempt_id = await api.read(service.attempt_of, job_id, None, by=caller)
