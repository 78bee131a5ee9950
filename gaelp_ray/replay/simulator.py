"""A cluster in simulated time: tasks arrive, a policy decides, tasks run, are interrupted and end."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol

from gaelp_ray.domain.forecast import after
from gaelp_ray.domain.scheduling import Node, Placed
from gaelp_ray.replay.trace import Task, divided

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


#: Simulated time after which nothing more is expected of a policy: nothing runs, nothing arrives, and it
#: starts nothing of what waits.
STILL_S = 86_400.0

#: Told how many tasks have ended.
Tell = Callable[[int], None]


def moment(seconds: float) -> datetime:
    return after(EPOCH, seconds)


@dataclass(frozen=True)
class Costs:
    """What an interruption costs a task."""

    #: It keeps its place for so long while it saves.
    save_s: float = 10.0
    #: Work it does again, or waits for, when it starts anew.
    restart_s: float = 30.0
    #: Whether it saves when it is asked to; else it falls back to its last periodic checkpoint.
    saves_when_asked: bool = True
    checkpoint_every_s: float = 600.0


@dataclass
class Run:
    """One attempt of a task."""

    task: Task
    placement: tuple[Placed, ...]
    begun_s: float
    #: Work left when it began, and what must be paid before it goes on.
    left_s: float
    overhead_s: float
    number: int
    stopping: bool = False

    @property
    def end_s(self) -> float:
        return self.begun_s + self.overhead_s + self.left_s

    def done_s(self, now_s: float) -> float:
        """Work done in this attempt so far."""
        return min(self.left_s, max(0.0, now_s - self.begun_s - self.overhead_s))


@dataclass(frozen=True)
class Choice:
    starts: Sequence[tuple[Task, tuple[Placed, ...]]] = ()
    #: Ids of running tasks that make room.
    preemptions: Sequence[int] = ()


class Policy(Protocol):
    """Decides what runs. Told of every change, in order."""

    name: str
    #: Whether time alone may change its mind.
    ticks: bool

    def arrived(self, task: Task, now_s: float, *, preempted: int) -> None:
        """A task waits, for the first time or after it made room ``preempted`` times."""

    def ended(self, run: Run, now_s: float) -> None:
        """A task is complete."""

    def decide(self, running: Sequence[Run], now_s: float) -> Choice: ...


@dataclass
class History:
    """What happened in a replay."""

    policy: str
    #: Those that some node could hold.
    tasks: Sequence[Task]
    nodes: Sequence[Node]
    #: Tasks that no node can ever hold; they are in no other figure.
    never: Sequence[Task] = ()
    #: By task id: seconds from arrival to the first start, and to the end.
    waited_s: dict[int, float] = field(default_factory=dict)
    completed_s: dict[int, float] = field(default_factory=dict)
    preemptions: int = 0
    #: GPU-seconds of work that interruptions cost.
    lost_gpu_s: float = 0.0
    #: ``(seconds, GPUs in use, GPUs wanted by waiting tasks)`` at each change.
    use: list[tuple[float, float, float]] = field(default_factory=list)
    decision_s: list[float] = field(default_factory=list)


class _Event(IntEnum):
    #: In the order in which events of one moment happen.
    END = 0
    SAVED = 1
    ARRIVE = 2
    TICK = 3


class Simulator:
    """Runs a policy over tasks until all have ended that can.

    It ends for every policy: tasks that no node can hold are left out, and what a policy does not start on an
    idle cluster it is not asked about for ever.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        nodes: Sequence[Node],
        policy: Policy,
        *,
        costs: Costs = Costs(),
        tick_s: float = 60.0,
    ) -> None:
        self._policy = policy
        self._costs = costs
        self._tick_s = tick_s
        kept, never = divided(tasks, nodes)
        self._history = History(policy.name, kept, nodes, never)
        self._events: list[tuple[float, int, int, Task, int]] = []
        self._running: dict[int, Run] = {}
        self._left_s = {task.id: task.length_s for task in kept}
        self._attempts = dict.fromkeys(self._left_s, 0)
        self._waiting: dict[int, Task] = {}
        self._ticking = False
        #: When something last arrived, started or ended.
        self._moved_s = 0.0
        for task in kept:
            self._at(task.arrival_s, _Event.ARRIVE, task)

    def run(self, tell: Tell | None = None) -> History:
        """``tell`` hears after each moment how many tasks have ended."""
        while self._events and not self._stands_still():
            now_s = self._events[0][0]
            while self._events and self._events[0][0] == now_s:
                _, event, _, task, number = heapq.heappop(self._events)
                self._happen(_Event(event), task, number, now_s)
            self._decide(now_s)
            self._note_use(now_s)
            if tell is not None:
                tell(len(self._history.completed_s))
        return self._history

    def _stands_still(self) -> bool:
        """Whether only time goes on, and has for long."""
        now_s, event, *_ = self._events[0]
        alone = event == _Event.TICK and len(self._events) == 1 and not self._running
        return alone and now_s - self._moved_s > STILL_S

    def _at(self, seconds: float, event: _Event, task: Task, number: int = 0) -> None:
        heapq.heappush(self._events, (seconds, event, task.id, task, number))

    def _happen(self, event: _Event, task: Task, number: int, now_s: float) -> None:
        if event is _Event.ARRIVE:
            self._wait(task, now_s)
            return
        if event is _Event.TICK:
            self._ticking = False
            return
        self._moved_s = now_s
        run = self._running.get(task.id)
        if run is None or run.number != number:
            return
        if event is _Event.END:
            del self._running[task.id]
            self._history.completed_s[task.id] = now_s - task.arrival_s
            self._policy.ended(run, now_s)
        elif event is _Event.SAVED and run.stopping:
            del self._running[task.id]
            self._wait(task, now_s)

    def _wait(self, task: Task, now_s: float) -> None:
        self._waiting[task.id] = task
        self._policy.arrived(task, now_s, preempted=max(0, self._attempts[task.id]))

    def _decide(self, now_s: float) -> None:
        began = time.perf_counter()
        choice = self._policy.decide(list(self._running.values()), now_s)
        self._history.decision_s.append(time.perf_counter() - began)
        for task, placement in choice.starts:
            self._start(task, placement, now_s)
        for task_id in choice.preemptions:
            self._interrupt(self._running[task_id], now_s)
        if self._policy.ticks and self._waiting and not self._ticking:
            self._ticking = True
            self._at(now_s + self._tick_s, _Event.TICK, next(iter(self._waiting.values())))

    def _start(self, task: Task, placement: tuple[Placed, ...], now_s: float) -> None:
        self._moved_s = now_s
        del self._waiting[task.id]
        self._attempts[task.id] += 1
        number = self._attempts[task.id]
        overhead = self._costs.restart_s if number > 1 else 0.0
        run = Run(task, placement, now_s, self._left_s[task.id], overhead, number)
        self._running[task.id] = run
        self._history.waited_s.setdefault(task.id, now_s - task.arrival_s)
        self._at(run.end_s, _Event.END, task, number)

    def _interrupt(self, run: Run, now_s: float) -> None:
        """Ask a run to save and leave; one that would have ended by then ends."""
        saved_at = now_s + self._costs.save_s
        if run.stopping or run.end_s <= saved_at:
            return
        run.stopping = True
        done = run.done_s(now_s)
        before = run.task.length_s - run.left_s
        kept = done
        if not self._costs.saves_when_asked:
            every = self._costs.checkpoint_every_s
            kept = max(0.0, (before + done) // every * every - before)
        self._left_s[run.task.id] = run.left_s - kept
        gpus = run.task.resources.gpu_milli / 1000
        lost_s = done - kept + self._costs.save_s + self._costs.restart_s
        self._history.lost_gpu_s += gpus * lost_s
        self._history.preemptions += 1
        self._at(saved_at, _Event.SAVED, run.task, run.number)

    def _note_use(self, now_s: float) -> None:
        used = sum(run.task.resources.gpu_milli for run in self._running.values()) / 1000
        wanted = sum(task.resources.gpu_milli for task in self._waiting.values()) / 1000
        self._history.use.append((now_s, used, wanted))
