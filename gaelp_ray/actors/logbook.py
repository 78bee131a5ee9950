"""One log of an attempt from the pieces of its workers' logs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from gaelp_ray.actors import meters
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.duties import LOGS, is_no_items_fault, words_of
from gaelp_ray.observability.metrics import DUTY_FAILURES

log = logging.getLogger(__name__)


class Write(Protocol):
    def __call__(self, start_byte: int, content: bytes, *, now: datetime) -> Awaitable[object]: ...


class Logbook:
    """Pieces come whole lines at a time and keep the order of each worker. A piece sent twice is one.

    One piece is written after the other: a reader never sees a gap that is filled later.
    """

    def __init__(self, write: Write, *, now: Callable[[], datetime] = utc_now) -> None:
        self._write = write
        self._now = now
        self._length = 0
        #: How much of each worker's log is in.
        self._taken: dict[int, int] = {}
        self._turn = asyncio.Lock()

    async def add(self, rank: int, start_byte: int, content: bytes) -> None:
        """Answers when the piece is stored.

        In place of one that cannot be stored stands a line that says so: those after it are stored all the
        same.
        """
        async with self._turn:
            known = self._taken.get(rank, 0) - start_byte
            fresh = content[max(0, known) :]
            if not fresh:
                return
            try:
                await self._write(self._length, fresh, now=self._now())
            except Exception as error:
                if is_no_items_fault(error):
                    raise
                log.exception("a piece of a log cannot be stored", extra={"action": LOGS.name})
                meters.count(DUTY_FAILURES, duty=LOGS.name)
                fresh = f"[{len(fresh)} bytes of this log could not be stored: {words_of(error)}]\n".encode()
                await self._write(self._length, fresh, now=self._now())
            self._length += len(fresh)
            self._taken[rank] = start_byte + len(content)
