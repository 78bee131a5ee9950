"""Loops that outlive every failure of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from gaelp_ray.actors import meters
from gaelp_ray.domain.duties import Duty, words_of
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.observability.metrics import DUTY_FAILURES

log = logging.getLogger(__name__)
R = TypeVar("R")

_FIRST_DELAY_S, _MAX_DELAY_S = 0.1, 2.0


def utc_now() -> datetime:
    return datetime.now(UTC)


async def every(
    seconds: float, duty: Duty, do: Callable[[], Awaitable[None]], *, wake: asyncio.Event | None = None
) -> None:
    """Do a duty without end: after each ``wake``, and at the latest after ``seconds``.

    A round that fails is counted and logged, with its traceback when it fails in a new way; the next one
    comes all the same.
    """
    told = ""
    while True:
        told = await _round(duty, do, told)
        if wake is None:
            await asyncio.sleep(seconds)
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), seconds)
        wake.clear()


async def without_end(duty: Duty, do: Callable[[], Awaitable[None]], *, rest_s: float = 0.5) -> None:
    """Do a duty that waits for its work by itself; after a failure it rests."""
    told = ""
    while True:
        failed = await _round(duty, do, told)
        if failed:
            await asyncio.sleep(rest_s)
        told = failed


async def attempt(duty: Duty, do: Callable[[], Awaitable[None]]) -> bool:
    """Do something beside a duty whose failure must not stop it; returns whether it went well."""
    return not await _round(duty, do, "")


async def _round(duty: Duty, do: Callable[[], Awaitable[None]], told: str) -> str:
    """One round; returns the words of what went wrong, empty if nothing did."""
    try:
        await do()
    except Unavailable as error:
        log.warning("duty waits", extra={"action": duty.name, "reason": error.message})
        return told or error.message
    except Exception as error:
        meters.count(DUTY_FAILURES, duty=duty.name)
        words = words_of(error)
        new = error if words != told else None
        log.error("duty failed", exc_info=new, extra={"action": duty.name, "reason": words})
        return words
    return ""


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
