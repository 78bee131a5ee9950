"""The Ray tasks of one attempt: one worker, or a gang that starts and ends together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup

from gaelp_ray.actors import placement
from gaelp_ray.actors.cluster import live_node_ids
from gaelp_ray.actors.verdicts import outcome_of_failure
from gaelp_ray.domain.attempts import Directive, LaunchOrder, Outcome
from gaelp_ray.domain.gangs import Member, combined
from gaelp_ray.domain.jobs import EndCause

#: Ray kills a process that does not stop in its grace period so much later.
KILL_MARGIN_S = 10.0
#: How a worker ends that was stopped because another had ended.
_ECHOES = frozenset({EndCause.SUPERSEDED, EndCause.CANCELLED})

#: Starts the task of a rank with Ray's options for it.
Start = Callable[[int, dict[str, Any]], Any]


class Crew:
    """Workers of an attempt from their start to their common end."""

    def __init__(self, order: LaunchOrder, start: Start, *, name: str) -> None:
        self.order = order
        self.directive = Directive()
        #: All workers have come and the attempt is theirs.
        self.claimed = False
        self._start = start
        self._name = name
        self._refs: list[Any] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._timers: list[asyncio.Task[None]] = []
        self._group: PlacementGroup | None = None
        self._members: dict[int, Member] = {}
        self._outcomes: dict[int, Outcome] = {}
        #: Ranks that ended without a word on the attempt: stopped for another's end, or refused.
        self._silent: set[int] = set()
        self._gathered = asyncio.Event()
        self._granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._all_ended = asyncio.Event()
        self._stopped = asyncio.Event()
        self._over = asyncio.Event()

    def is_waiting(self) -> bool:
        """None of its workers has come, and none has ended or was told to stop."""
        idle = not (self._members or self._outcomes or self._silent)
        return idle and bool(self._refs) and self.directive.stop is None

    async def run(self) -> Outcome | None:
        """Start every worker and wait for the end of all; None when another process runs the attempt.

        To be followed by ``close``, whatever happens.
        """
        if self.order.workers > 1:
            self._group = await self._reserve()
            if self._group is None:
                return self._without_room()
        for rank in range(self.order.workers):
            options = placement.task_options(self.order, rank, self._group)
            self._refs.append(self._start(rank, options))
        self._watchers = [asyncio.create_task(self._watch(*each)) for each in enumerate(self._refs)]
        await self._all_ended.wait()
        return await self._outcome()

    async def close(self) -> None:
        """The end is remembered: let every worker go, and give back the room of a gang."""
        self._over.set()
        if self._watchers:
            await asyncio.wait(self._watchers, timeout=KILL_MARGIN_S)
        self.kill()
        if self._group is not None:
            placement.give_back(self._group)
        for task in (*self._timers, *self._watchers):
            task.cancel()

    async def _reserve(self) -> PlacementGroup | None:
        """Room for all; None when there is none in time or the attempt is to stop."""
        room = asyncio.create_task(placement.reserve(self.order, self._name))
        stopped = asyncio.create_task(self._stopped.wait())
        await asyncio.wait((room, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if room.done():
            return room.result()
        room.cancel()
        return None

    def _without_room(self) -> Outcome:
        if self.directive.stop is not None:
            return Outcome(self.directive.stop, "Stopped before it ran.")
        return Outcome(
            EndCause.NODE_LOST, f"The nodes planned for its {self.order.workers} workers were gone or in use."
        )

    async def join(self, member: Member) -> Sequence[Member] | None:
        """Wait until every worker has come; None when one of them ended first."""
        self._members[member.rank] = member
        if len(self._members) == self.order.workers:
            self._gathered.set()
        await self._gathered.wait()
        if len(self._members) < self.order.workers or self.directive.stop is not None:
            return None
        return [self._members[rank] for rank in range(self.order.workers)]

    def grant(self, granted: bool) -> None:
        """The service's answer to the claim, for all."""
        self.claimed = granted
        if not self._granted.done():
            self._granted.set_result(granted)

    async def granted(self) -> bool:
        return await asyncio.shield(self._granted)

    def stop(self, directive: Directive) -> None:
        """Ask every worker to stop, and kill what has not in time. The first reason counts."""
        if self.directive.stop is not None:
            return
        self.directive = directive
        self._stopped.set()
        # While it waits in Ray there is no process to ask.
        delay_s = self.order.stop_grace_s + KILL_MARGIN_S if self.claimed else 0.0
        self._timers.append(asyncio.create_task(self._kill_later(delay_s)))

    def tell(self, rank: int, outcome: Outcome | None) -> None:
        """A worker has ended; the first word on it counts. None: it was refused and has done nothing."""
        if rank in self._outcomes or rank in self._silent:
            return
        told = self.directive.stop
        if outcome is None or (told is EndCause.SUPERSEDED and outcome.cause in _ECHOES):
            self._silent.add(rank)
        elif told is not None and outcome.cause is EndCause.CANCELLED:
            words = self.directive.message if not self.claimed else ""
            self._outcomes[rank] = replace(outcome, cause=told, message=words or outcome.message)
        else:
            self._outcomes[rank] = outcome
            if outcome.cause is not EndCause.SUCCESS and self.order.workers > 1:
                self.stop(Directive(EndCause.SUPERSEDED, f"rank {rank} ended: {outcome.cause}"))
        if len(self._outcomes) + len(self._silent) == self.order.workers:
            self._all_ended.set()
        # Whoever still waits for this one waits in vain.
        self._gathered.set()
        if not self._granted.done():
            self._granted.set_result(False)

    async def over(self) -> None:
        """Wait until the end of the attempt is remembered."""
        await self._over.wait()

    def kill(self) -> None:
        for ref in self._refs:
            ray.cancel(ref, force=True)

    def node_ids(self) -> set[str]:
        return {member.seat.node_id for member in self._members.values()}

    async def _watch(self, rank: int, ref: Any) -> None:
        """Wait for a task; its process has told its end itself, unless it could not."""
        try:
            outcome = await ref
        except Exception as error:
            outcome = outcome_of_failure(error)
        self.tell(rank, outcome)

    async def _kill_later(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        for rank, ref in enumerate(self._refs):
            # Who has told its end runs nothing any more, and leaves when the end is remembered.
            if rank not in self._outcomes and rank not in self._silent:
                ray.cancel(ref, force=True)

    async def _outcome(self) -> Outcome | None:
        await self._find_lost()
        told = self.directive.stop
        if self._outcomes:
            return combined(self._outcomes, told)
        return Outcome(told, "Stopped before it ran.") if told is not None else None

    async def _find_lost(self) -> None:
        """A worker that was killed for another's end may have been lost, and so the cause of it."""
        if not self._silent or not self._outcomes:
            return
        live = await asyncio.to_thread(live_node_ids)
        for rank in self._silent & self._members.keys():
            if self._members[rank].seat.node_id not in live:
                self._outcomes[rank] = Outcome(EndCause.NODE_LOST, "Its node died.")
