"""The workers of an attempt from start to end, with tasks that end as the test says and no cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from ray.exceptions import NodeDiedError, TaskCancelledError, WorkerCrashedError

from gaelp_ray.actors import crew as crew_module
from gaelp_ray.actors.crew import Crew
from gaelp_ray.domain.attempts import Directive, Outcome, Seat
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.jobs import EndCause
from tests.builders import an_order

SUCCESS = Outcome(EndCause.SUCCESS, result={"answer": 42})
ERROR = Outcome(EndCause.USER_ERROR, "ConnectionError: a peer has left")


class Cluster:
    """Tasks as futures; whatever is killed fails as Ray has it fail. Every node lives, but for ``dead``."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Future[Outcome | None]] = []
        self.killed: set[int] = set()
        self.room: list[str] = []
        self.has_room = asyncio.Event()
        self._changed = asyncio.Condition()
        self.live = {f"node-{rank}" for rank in range(3)}

    def start(self, _rank: int, _options: dict[str, Any]) -> asyncio.Future[Outcome | None]:
        self.tasks.append(asyncio.get_running_loop().create_future())
        self._tell()
        return self.tasks[-1]

    def end(self, rank: int, outcome: Outcome | Exception | None) -> None:
        if isinstance(outcome, Exception):
            self.tasks[rank].set_exception(outcome)
        else:
            self.tasks[rank].set_result(outcome)

    def cancel(self, ref: Any, *, force: bool) -> None:
        assert force
        if not ref.done():
            self.killed.add(self.tasks.index(ref))
            ref.set_exception(TaskCancelledError())
            self._tell()

    async def reserve(self, _order: object, name: str) -> str | None:
        await self.has_room.wait()
        self.room.append(name)
        return name

    async def started(self, count: int) -> None:
        await self._until(lambda: len(self.tasks) >= count)

    async def has_killed(self, *ranks: int) -> None:
        await self._until(lambda: self.killed >= set(ranks))

    async def _until(self, happened: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(happened)

    def _tell(self) -> None:
        async def tell() -> None:
            async with self._changed:
                self._changed.notify_all()

        self._telling = asyncio.ensure_future(tell())


Scenario = Callable[[Crew, Cluster], Awaitable[object]]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome | None]:
    """Run a crew of so many workers while the scenario happens; its outcome, and nothing is left behind."""

    def run(scenario: Scenario, *, workers: int = 3, room: bool = True) -> Outcome | None:
        async def both() -> Outcome | None:
            cluster = Cluster()
            monkeypatch.setattr(crew_module.ray, "cancel", cluster.cancel)
            monkeypatch.setattr(crew_module.placement, "task_options", lambda *_: {})
            monkeypatch.setattr(crew_module.placement, "reserve", cluster.reserve)
            monkeypatch.setattr(crew_module.placement, "give_back", cluster.room.remove)
            monkeypatch.setattr(crew_module, "live_node_ids", lambda: frozenset(cluster.live))
            monkeypatch.setattr(crew_module, "KILL_MARGIN_S", 0.0)
            if room:
                cluster.has_room.set()
            order = an_order("m:f", workers=workers, stop_grace_s=0.0)
            crew = Crew(order, cluster.start, name="launcher/attempt-1")
            async with asyncio.timeout(10):
                happening = asyncio.ensure_future(scenario(crew, cluster))
                outcome = await crew.run()
                await happening
                await crew.close()
            assert cluster.room == [], "the room of a gang is given back"
            assert all(task.done() for task in cluster.tasks), "nothing runs on"
            return outcome

        return asyncio.run(both())

    return run


async def joined(crew: Crew, workers: int = 3) -> Sequence[Sequence[Member] | None]:
    members = [Member(rank, Seat(f"node-{rank}"), f"10.0.0.{rank}", 29_500) for rank in range(workers)]
    found = await asyncio.gather(*(crew.join(member) for member in members))
    crew.grant(True)
    return found


def test_one_worker_tells_the_end_of_the_attempt(play: Callable[..., Outcome | None]) -> None:
    async def scenario(_crew: Crew, cluster: Cluster) -> None:
        await cluster.started(1)
        cluster.end(0, SUCCESS)

    assert play(scenario, workers=1) == SUCCESS


def test_what_a_process_told_counts_though_its_worker_dies_after(
    play: Callable[..., Outcome | None],
) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(1)
        crew.tell(0, SUCCESS)
        cluster.end(0, WorkerCrashedError())

    assert play(scenario, workers=1) == SUCCESS


def test_a_worker_that_was_refused_says_nothing_of_the_attempt(
    play: Callable[..., Outcome | None],
) -> None:
    async def scenario(_crew: Crew, cluster: Cluster) -> None:
        await cluster.started(1)
        cluster.end(0, None)

    assert play(scenario, workers=1) is None


def test_nobody_begins_before_all_have_come(play: Callable[..., Outcome | None]) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        early = asyncio.ensure_future(crew.join(Member(0, Seat("node-0"), "10.0.0.0", 1)))
        await asyncio.sleep(0)
        assert not early.done()
        found = await joined(crew)
        assert [[member.rank for member in members or ()] for members in found] == [[0, 1, 2]] * 3
        assert await early is not None
        for rank in range(3):
            crew.tell(rank, SUCCESS)
            cluster.end(rank, SUCCESS)

    assert play(scenario) == SUCCESS


def test_nobody_begins_when_one_ends_before_it_came(play: Callable[..., Outcome | None]) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        waiting = [
            asyncio.ensure_future(crew.join(Member(rank, Seat(f"node-{rank}"), "", 1))) for rank in (0, 1)
        ]
        cluster.end(2, NodeDiedError("gone"))
        assert await asyncio.gather(*waiting) == [None, None]

    outcome = play(scenario)
    assert outcome == Outcome(EndCause.NODE_LOST, "Rank 2: Its node died.")


def test_all_must_succeed_for_a_success(play: Callable[..., Outcome | None]) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        await joined(crew)
        crew.tell(0, SUCCESS)
        crew.tell(1, SUCCESS)
        crew.tell(2, ERROR)

    outcome = play(scenario)
    assert outcome is not None
    assert (outcome.cause, outcome.message) == (EndCause.USER_ERROR, f"Rank 2: {ERROR.message}")


def test_when_one_ends_badly_the_others_are_told_and_then_killed(
    play: Callable[..., Outcome | None],
) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        await joined(crew)
        crew.tell(1, ERROR)
        assert crew.directive == Directive(EndCause.SUPERSEDED, "rank 1 ended: user_error")
        crew.tell(0, Outcome(EndCause.SUPERSEDED, "stopped as ordered"))
        await cluster.has_killed(2)

    outcome = play(scenario)
    assert outcome is not None
    assert (outcome.cause, outcome.message) == (EndCause.USER_ERROR, f"Rank 1: {ERROR.message}")


def test_a_lost_node_is_the_cause_though_its_peers_said_so_first(
    play: Callable[..., Outcome | None],
) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        await joined(crew)
        cluster.live.discard("node-2")
        crew.tell(0, ERROR)
        crew.tell(1, ERROR)

    assert play(scenario) == Outcome(EndCause.NODE_LOST, "Rank 2: Its node died.")


@pytest.mark.parametrize("cause", [EndCause.CANCELLED, EndCause.PREEMPTED])
def test_whoever_does_not_stop_in_time_ends_for_the_reason_it_was_told(
    play: Callable[..., Outcome | None], cause: EndCause
) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        await joined(crew)
        crew.stop(Directive(cause))
        crew.stop(Directive(EndCause.IDLE))

    outcome = play(scenario)
    assert outcome is not None
    assert outcome.cause is cause, "the first reason counts"


def test_stopped_while_it_waits_for_room_it_never_runs(play: Callable[..., Outcome | None]) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await asyncio.sleep(0)
        crew.stop(Directive(EndCause.CANCELLED))
        await asyncio.sleep(0)
        assert cluster.tasks == []

    assert play(scenario, room=False) == Outcome(EndCause.CANCELLED, "Stopped before it ran.")


def test_a_refused_claim_is_refused_to_all(play: Callable[..., Outcome | None]) -> None:
    async def scenario(crew: Crew, cluster: Cluster) -> None:
        await cluster.started(3)
        asking = [asyncio.ensure_future(crew.granted()) for _ in range(3)]
        crew.grant(False)
        assert await asyncio.gather(*asking) == [False] * 3
        for rank in range(3):
            cluster.end(rank, None)

    assert play(scenario) is None
