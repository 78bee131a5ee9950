"""Requests that arrive together are one transaction; a failure reaches those it concerns, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gaelp_ray.actors import group_commit
from gaelp_ray.actors.group_commit import BATCH, GroupCommit
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.ledger import Outcome, Request
from gaelp_ray.domain.windows import Period
from tests.bank import MemoryBank, a_hold, name


class FakeStore:
    """Transactions on a ledger in memory; ``trouble`` may raise before one."""

    def __init__(self, trouble: Callable[[Sequence[Request]], None] | None = None) -> None:
        self.bank = MemoryBank({1: {Period.TOTAL: 10_000}})
        self.batches: list[int] = []
        self._trouble = trouble

    def transact(self, _apply: object, requests: Sequence[Request], **_: object) -> list[Outcome]:
        if self._trouble is not None:
            self._trouble(requests)
        self.batches.append(len(requests))
        return self.bank.submit(requests)


def submit_all(store: FakeStore, asked: Sequence[Sequence[Request]]) -> list[Any]:
    """Submit all of these at once; errors come back as values."""

    async def together() -> list[Any]:
        commits = GroupCommit(store)  # type: ignore[arg-type]
        loop = asyncio.create_task(commits.run())
        answers = await asyncio.gather(*(commits.submit(each) for each in asked), return_exceptions=True)
        loop.cancel()
        return answers

    return asyncio.run(together())


def test_callers_at_the_same_moment_share_a_transaction() -> None:
    store = FakeStore()
    answers = submit_all(store, [[a_hold(f"{n}", amount=1 + n)] for n in range(20)])
    assert [name(answer[0]) for answer in answers] == [f"hold {1 + n}" for n in range(20)]
    assert store.batches == [20]


def test_the_requests_of_a_caller_stay_together() -> None:
    store = FakeStore()
    chain: list[Request] = [a_hold("a"), a_hold("b", follows="a")]
    many: list[Sequence[Request]] = [[a_hold(f"{n}", amount=1)] for n in range(BATCH - 1)]
    answers = submit_all(store, [*many, chain, [a_hold("last")]])
    assert [name(outcome) for outcome in answers[-2]] == ["hold 10", "hold 10"]
    assert store.batches == [BATCH + 1, 1]


def test_refusals_are_answers() -> None:
    (answer,) = submit_all(FakeStore(), [[a_hold("a", amount=10_001)]])
    assert [name(outcome) for outcome in answer] == ["budget_exceeded"]


def test_nobody_is_granted_anything_by_a_ledger_that_does_not_answer() -> None:
    def gone(_: Sequence[Request]) -> None:
        raise Unavailable

    store = FakeStore(gone)
    answers = submit_all(store, [[a_hold(f"{n}")] for n in range(3)])
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert store.bank.book.holds == {}


def test_one_request_that_breaks_its_batch_fails_alone() -> None:
    def broken(requests: Sequence[Request]) -> None:
        if any(request.key == "broken" for request in requests):
            raise ZeroDivisionError

    store = FakeStore(broken)
    answers = submit_all(store, [[a_hold("a")], [a_hold("broken")], [a_hold("b")]])
    assert isinstance(answers[1], ZeroDivisionError)
    assert [name(answers[n][0]) for n in (0, 2)] == ["hold 10", "hold 10"]


def test_nothing_to_do_is_answered_at_once() -> None:
    store = FakeStore()
    assert submit_all(store, [[]]) == [[]]
    assert store.batches == []


def test_past_the_waiting_line_callers_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING", 2)
    answers = submit_all(FakeStore(), [[a_hold(f"{n}")] for n in range(3)])
    assert [type(answer) for answer in answers] == [list, list, Unavailable]


def test_a_caller_that_left_is_not_asked_for() -> None:
    store = FakeStore()

    async def leave() -> None:
        commits = GroupCommit(store)  # type: ignore[arg-type]
        leaving = asyncio.create_task(commits.submit([a_hold("left")]))
        await asyncio.sleep(0)
        leaving.cancel()
        loop = asyncio.create_task(commits.run())
        await commits.submit([a_hold("stayed")])
        loop.cancel()

    asyncio.run(leave())
    assert list(store.bank.book.holds) == ["stayed"]


def test_batches_are_measured() -> None:
    measured: list[int] = []

    async def ask() -> None:
        commits = GroupCommit(FakeStore(), committed=lambda n, _seconds: measured.append(n))  # type: ignore[arg-type]
        loop = asyncio.create_task(commits.run())
        await commits.submit([a_hold("a"), a_hold("b")])
        loop.cancel()

    asyncio.run(ask())
    assert measured == [2]
