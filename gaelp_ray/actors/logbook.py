"""One log of an attempt from the pieces of its workers' logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from gaelp_ray.actors.loops import utc_now


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
        """Answers when the piece is stored."""
        async with self._turn:
            known = self._taken.get(rank, 0) - start_byte
            fresh = content[max(0, known) :]
            if not fresh:
                return
            await self._write(self._length, fresh, now=self._now())
            self._length += len(fresh)
            self._taken[rank] = start_byte + len(content)
