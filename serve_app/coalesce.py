"""Reads that arrive together are answered by one query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from gaelp_ray.domain.duties import Failed, isolated

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH = 500


class Coalescer(Generic[K, V]):
    """Loads values by key, all keys that wait in one call.

    The first caller's query starts at once; keys that arrive while it runs form the next batch. Every query
    starts after the call it answers, so a reader always sees its own writes. Nothing is cached. A key whose
    value cannot be read fails alone.
    """

    def __init__(self, load: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        self._load = load
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._running = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="coalesce")

    async def get(self, key: K) -> V | None:
        """The value; None when there is none."""
        # A future for each caller: one that goes away must not cancel the answer of the others.
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if not self._running:
            self._running = True
            asyncio.create_task(self._drain())  # noqa: RUF006 - it keeps itself alive through `_thread`
        return await answer

    def _each(self, keys: Sequence[K]) -> list[V | None]:
        found = self._load(keys)
        return [found.get(key) for key in keys]

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                keys = list(self._waiting)[:MAX_BATCH]
                batch = {key: self._waiting.pop(key) for key in keys}
                try:
                    found = await loop.run_in_executor(self._thread, isolated, keys, self._each)
                except Exception as error:
                    found = [Failed(error)] * len(keys)
                for key, result in zip(keys, found, strict=True):
                    if isinstance(result, Failed):
                        _fail(batch[key], result.error)
                    else:
                        _fulfil(batch[key], result)
        finally:
            self._running = False


def _fulfil(answers: list[asyncio.Future[V | None]], value: V | None) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_result(value)


def _fail(answers: list[asyncio.Future[V | None]], error: Exception) -> None:
    for answer in answers:
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # a caller that leaves now does not make it "never retrieved"
