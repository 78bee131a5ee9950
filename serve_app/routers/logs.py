"""/api/v1/jobs/{id}/logs"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import Field
from starlette.types import Receive, Scope, Send

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.jobs import TERMINAL
from gaelp_ray.services import jobs as job_service
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
        context().followers.take(caller.user)
        return _Followed(_follow(job_id, attempt, attempt_id, tail, caller), caller.user)
    if attempt_id is None:
        return PlainTextResponse("")
    part = await context().read(service.tail, attempt_id, lines=tail)
    return Response(part.content, media_type="text/plain; charset=utf-8")


class _Followed(StreamingResponse):
    """A log as it grows. Who follows it has a seat until the answer is over, however it ends."""

    def __init__(self, content: AsyncIterator[bytes], user: str) -> None:
        super().__init__(content, media_type="text/plain; charset=utf-8")
        self._user = user

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            context().followers.leave(self._user)


async def _follow(
    job_id: int, number: int | None, attempt_id: int | None, tail: int, caller: Principal
) -> AsyncIterator[bytes]:
    """One attempt after another until the job ends; a chosen attempt until that ends.

    What is asked again and again is asked for all followers of this replica at once.
    """
    api = context()
    current, position = None, 0
    while True:
        # Asked before reading, so that what was written in between is not missed.
        job = job_service.visible(await api.jobs.get(job_id), job_id, caller)
        if attempt_id is not None and attempt_id != current:
            first = current is None
            current, position = attempt_id, 0
            if first:
                part = await api.read(service.tail, attempt_id, lines=tail)
                position = part.next_byte
                yield part.content
        complete = False
        if current is not None:
            end = await api.log_ends.get(current)
            while end is not None and position < end.bytes:
                part = await api.read(service.read_on, current, from_byte=position)
                if not part.content:
                    break
                position = part.next_byte
                yield part.content
            complete = end is None or end.ended
        if job.state in TERMINAL or (complete and number is not None):
            return
        await asyncio.sleep(POLL_S)
        if number is None and (complete or current is None) and job.attempt_number:
            attempt_id = await api.read(service.attempt_of, job_id, None, by=caller)
