"""Reads that wait together are answered together, each with what was written before it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from serve_app import coalesce
from serve_app.coalesce import Coalescer

PATIENCE_S = 30.0


class Database:
    """Loads squares of even numbers, one query at a time, each only when the test lets it go on."""

    def __init__(self, *, open_gate: bool = False) -> None:
        self.queries: list[list[int]] = []
        self.fails: Exception | None = None
        self.factor = 1
        self._started = threading.Semaphore(0)
        self._gate = threading.Semaphore(10_000 if open_gate else 0)

    def load(self, keys: Sequence[int]) -> dict[int, int]:
        self.queries.append(list(keys))
        factor = self.factor
        self._started.release()
        assert self._gate.acquire(timeout=PATIENCE_S)
        if self.fails:
            raise self.fails
        return {key: key * key * factor for key in keys if key % 2 == 0}

    async def query_started(self) -> None:
        assert await asyncio.to_thread(self._started.acquire, timeout=PATIENCE_S)

    def let_go(self) -> None:
        self._gate.release()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_keys_that_arrive_during_a_query_form_the_next() -> None:
    async def test() -> None:
        database = Database()
        reads = Coalescer(database.load)
        first = asyncio.create_task(reads.get(2))
        await database.query_started()
        rest = [asyncio.create_task(reads.get(key)) for key in (4, 6, 8)]
        await turn()
        assert database.queries == [[2]], "the first did not wait for the others, nor they run beside it"
        database.let_go()
        database.let_go()
        assert [await task for task in [first, *rest]] == [4, 16, 36, 64]
        assert database.queries == [[2], [4, 6, 8]]

    run(test)


def test_many_who_want_the_same_are_one_key() -> None:
    async def test() -> None:
        database = Database()
        reads = Coalescer(database.load)
        first = asyncio.create_task(reads.get(2))
        await database.query_started()
        same = [asyncio.create_task(reads.get(4)) for _ in range(10)]
        await turn()
        database.let_go()
        database.let_go()
        assert await first == 4
        assert [await task for task in same] == [16] * 10
        assert database.queries == [[2], [4]]

    run(test)


def test_a_key_that_is_asked_for_during_its_own_query_is_loaded_again() -> None:
    """Who has just written reads what he wrote, even while an older query runs."""

    async def test() -> None:
        database = Database()
        reads = Coalescer(database.load)
        before = asyncio.create_task(reads.get(2))
        await database.query_started()
        database.factor = 10  # a write that the running query did not see
        after = asyncio.create_task(reads.get(2))
        await turn()
        database.let_go()
        assert await before == 4
        database.let_go()
        assert await after == 40
        assert database.queries == [[2], [2]]

    run(test)


def test_what_is_not_there_is_none() -> None:
    async def test() -> None:
        assert await Coalescer(Database(open_gate=True).load).get(3) is None

    run(test)


def test_nothing_is_cached() -> None:
    async def test() -> None:
        database = Database(open_gate=True)
        reads = Coalescer(database.load)
        assert [await reads.get(2), await reads.get(2)] == [4, 4]
        assert database.queries == [[2], [2]]

    run(test)


def test_an_error_reaches_all_who_wait_and_the_next_query_is_tried() -> None:
    async def test() -> None:
        database = Database()
        database.fails = ConnectionError("the database is away")
        reads = Coalescer(database.load)
        first = asyncio.create_task(reads.get(2))
        await database.query_started()
        rest = [asyncio.create_task(reads.get(key)) for key in (4, 4, 6)]
        await turn()
        database.let_go()
        database.let_go()
        results = await asyncio.gather(first, *rest, return_exceptions=True)
        assert [type(result) for result in results] == [ConnectionError] * 4
        database.fails = None
        database.let_go()
        assert await reads.get(4) == 16

    run(test)


def test_who_goes_away_does_not_take_the_answer_with_him() -> None:
    async def test() -> None:
        database = Database()
        reads = Coalescer(database.load)
        leaves, stays = asyncio.create_task(reads.get(2)), asyncio.create_task(reads.get(2))
        await database.query_started()
        leaves.cancel()
        await turn()
        assert leaves.cancelled()
        database.let_go()
        assert await stays == 4

    run(test)


def test_when_all_have_gone_away_the_next_is_served() -> None:
    async def test() -> None:
        unheard: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, told: unheard.append(told))
        database = Database()
        database.fails = ConnectionError("nobody hears this")
        reads = Coalescer(database.load)
        leaves = asyncio.create_task(reads.get(2))
        await database.query_started()
        leaves.cancel()
        await turn()
        later = asyncio.create_task(reads.get(4))
        await turn()
        database.let_go()
        await database.query_started()
        database.fails = None
        database.let_go()
        assert await later == 16
        assert unheard == [], "an answer that nobody wanted is no accident"

    run(test)


def test_no_query_asks_for_more_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "MAX_BATCH", 3)

    async def test() -> None:
        database = Database(open_gate=True)
        reads = Coalescer(database.load)
        found = await asyncio.gather(*(reads.get(key) for key in range(0, 16, 2)))
        assert found == [key * key for key in range(0, 16, 2)]
        assert sorted(map(len, database.queries)) == [2, 3, 3]

    run(test)
