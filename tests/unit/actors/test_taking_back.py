"""An attempt that Ray finds no room for goes back to the queue; what is being set up is left alone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gaelp_ray.actors import crew as crew_module
from gaelp_ray.actors import launcher as launcher_module
from gaelp_ray.actors.crew import Crew
from gaelp_ray.actors.launcher import NO_ROOM, PLACE_S, Launcher, Owned
from gaelp_ray.domain.attempts import Directive, Outcome, Seat
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.jobs import EndCause, JobEvent, JobState
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.retries import RetryPolicy, judge
from tests.builders import T0, an_order

ASKED = Resources(cpu_milli=1000, memory_bytes=1024**3)


class Task:
    """A task of Ray's that never begins, until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    def __await__(self) -> Any:
        return self._wait().__await__()

    async def _wait(self) -> None:
        await self.cancelled.wait()
        raise crew_module.ray.exceptions.TaskCancelledError


@pytest.fixture(autouse=True)
def ray_cancels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module.ray, "cancel", lambda task, force: task.cancelled.set())


def a_launcher(*crews: Crew, age_s: float = PLACE_S + 1) -> Launcher:
    launcher = Launcher.__new__(Launcher)
    owned = {
        number: Owned(crew.order, crew, log=None, began_at=time.monotonic() - age_s)  # type: ignore[arg-type]
        for number, crew in enumerate(crews, 1)
    }
    launcher.__dict__ |= {"_owned": owned, "_tasks": set()}
    return launcher


def crew_of(task: Task, **fields: Any) -> Crew:
    return Crew(
        an_order("trainers:count", node_id=None, **fields), lambda *_: task, name="launcher/attempt-1"
    )


def waiting_for(monkeypatch: pytest.MonkeyPatch, *asked: Resources) -> None:
    monkeypatch.setattr(launcher_module, "waiting_for_room", lambda: frozenset(asked))


async def begun(crew: Crew) -> asyncio.Task[Outcome | None]:
    running = asyncio.create_task(crew.run())
    await asyncio.sleep(0)
    assert crew.is_waiting()
    return running


def test_an_attempt_that_waits_for_room_too_long_is_lost_at_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting_for(monkeypatch, ASKED)

    async def scenario() -> Outcome | None:
        crew = crew_of(Task())
        running = await begun(crew)
        await a_launcher(crew)._take_back()
        return await running

    outcome = asyncio.run(scenario())
    assert outcome is not None
    assert (outcome.cause, outcome.message) == (EndCause.NODE_LOST, NO_ROOM)
    verdict = judge(
        JobState.STARTING, outcome.cause, failures=0, losses=0, max_retries=0, policy=RetryPolicy(), now=T0
    )
    assert verdict.event is JobEvent.REQUEUE


@pytest.mark.parametrize("case", ["young", "placed", "come", "told to stop", "a gang"])
def test_an_attempt_is_left_alone_that_is(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    waiting_for(monkeypatch, *([] if case == "placed" else [ASKED]))

    async def scenario() -> Directive:
        crew = crew_of(Task())
        running = await begun(crew)
        if case == "come":
            await crew.join(Member(0, Seat("node-1"), "10.0.0.1", 1234))
        if case == "told to stop":
            crew.stop(Directive(EndCause.CANCELLED, "enough"))
        launcher = a_launcher(crew, age_s=1 if case == "young" else PLACE_S + 1)
        if case == "a gang":
            launcher._owned[1].order = an_order("trainers:count", workers=2)
        await launcher._take_back()
        running.cancel()
        return crew.directive

    directive = asyncio.run(scenario())
    assert directive.message == ("enough" if case == "told to stop" else "")


def test_a_worker_that_comes_after_all_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting_for(monkeypatch, ASKED)

    async def scenario() -> Any:
        crew = crew_of(Task())
        running = await begun(crew)
        await a_launcher(crew)._take_back()
        joined = await crew.join(Member(0, Seat("node-1"), "10.0.0.1", 1234))
        running.cancel()
        return joined

    assert asyncio.run(scenario()) is None
