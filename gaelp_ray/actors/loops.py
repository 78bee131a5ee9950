"""Loops that outlive every failure of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from gaelp_ray.domain.errors import Unavailable

log = logging.getLogger(__name__)
R = TypeVar("R")

_FIRST_DELAY_S, _MAX_DELAY_S = 0.1, 2.0


def utc_now() -> datetime:
    return datetime.now(UTC)


async def every(
    seconds: float, duty: Callable[[], Awaitable[None]], *, wake: asyncio.Event | None = None
) -> None:
    """Do ``duty`` for ever: after each ``wake``, and at the latest after ``seconds``."""
    while True:
        try:
            await duty()
        except Unavailable as error:
            log.warning("duty waits", extra={"action": duty.__name__, "reason": error.message})
        except Exception:
            log.exception("duty failed", extra={"action": duty.__name__})
        if wake is None:
            await asyncio.sleep(seconds)
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), seconds)
        wake.clear()


async def until_available(call: Callable[[], R]) -> R:
    """Run a database call on a thread, again and again while the database does not answer."""
    return await until_answered(lambda: asyncio.to_thread(call))


async def until_answered(ask: Callable[[], Awaitable[R]]) -> R:
    """Ask again and again while what is asked is not available."""
    delay_s = _FIRST_DELAY_S
    while True:
        try:
            return await ask()
        except Unavailable as error:
            log.warning("waiting for the database", extra={"reason": error.message})
            await asyncio.sleep(delay_s)
            delay_s = min(_MAX_DELAY_S, delay_s * 2)
