"""What happens now, to everyone who watches: hub and event feed in, WebSockets out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from ray.exceptions import RayError

from gaelp_ray.actors import meters
from gaelp_ray.actors.duties import settle
from gaelp_ray.actors.loops import every, without_end
from gaelp_ray.domain.duties import LIVE_EVENTS, LIVE_POINTS, Duty, Failed, is_no_items_fault, isolated
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import public_status
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.observability.metrics import DUTY_FAILURES
from gaelp_ray.store import events as event_store
from gaelp_ray.store.engine import Store
from gaelp_ray.store.events import Cursor

log = logging.getLogger("gaelp_ray.live")

EVENTS_S = 0.2
LISTEN_S = 5.0
RETRY_S = 0.5
#: Messages a slow client may fall behind before its metrics are thinned to the newest of each job.
BACKLOG = 256

#: Events that are read at once.
FEED = 1000

Message = dict[str, Any]
T = TypeVar("T", MetricPoint, JobEventRecord)


class Subscriber:
    """One watcher of one agent. Never blocks the feed: a slow one gets the newest values."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque()
        self._ready = asyncio.Event()

    def offer(self, message: Message) -> None:
        if len(self._messages) >= BACKLOG:
            self._thin()
        self._messages.append(message)
        self._ready.set()

    async def take(self) -> list[Message]:
        """Everything that waits; at least one message."""
        await self._ready.wait()
        self._ready.clear()
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def _thin(self) -> None:
        """Keep state changes, and of metrics the newest of each job."""
        newest = {m["job_id"]: m for m in self._messages if m["type"] == "metrics"}
        states = [m for m in self._messages if m["type"] != "metrics"][-BACKLOG // 2 :]
        self._messages = deque([*states, *newest.values()])


class LiveFeed:
    """Follows the hubs and the event feed while anybody watches."""

    def __init__(self, store: Store, hubs: tuple[Any, ...]) -> None:
        self._store = store
        self._hubs = hubs
        self._subscribers: dict[int, set[Subscriber]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def subscribe(self, agent_id: int) -> Any:
        """Watch an agent inside the block: what is read there, together with the messages, misses no event.

        Raises ``Unavailable`` when the feed was not followed yet and the database does not say where it ends.
        """
        subscriber = Subscriber()
        self._subscribers.setdefault(agent_id, set()).add(subscriber)
        try:
            await self._start()
            yield subscriber
        finally:
            self._drop(agent_id, subscriber)

    async def _start(self) -> None:
        """Begin to follow, unless others watch already."""
        async with self._starting:
            if not self._tasks:
                # Before the block and not in the task, which may run when the first event has passed.
                end = await asyncio.to_thread(self._store.read, event_store.feed_end)
                self._tasks = [asyncio.create_task(self._follow_hub(hub)) for hub in self._hubs]
                self._tasks.append(asyncio.create_task(self._follow_events(end)))

    def publish(self, agent_id: int, message: Message) -> None:
        """Offer a message to all who watch an agent; one that cannot take it leaves, the others have it."""
        for subscriber in list(self._subscribers.get(agent_id, ())):
            try:
                subscriber.offer(message)
            except Exception:
                log.exception("a watcher is dropped")
                self._subscribers[agent_id].discard(subscriber)

    def _drop(self, agent_id: int, subscriber: Subscriber) -> None:
        watching = self._subscribers.get(agent_id, set())
        watching.discard(subscriber)
        if not watching:
            self._subscribers.pop(agent_id, None)
        if not self._subscribers:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    async def _follow_hub(self, hub: Any) -> None:
        after = -1

        async def follow() -> None:
            nonlocal after
            try:
                after, points = await hub.listen.remote(after, LISTEN_S)
            except RayError as error:
                log.warning("the hub is away", extra={"reason": str(error)})
                after = -1
                await asyncio.sleep(RETRY_S)
                return
            self._pass_on(LIVE_POINTS, points, metrics_message)

        await without_end(LIVE_POINTS, follow, rest_s=RETRY_S)

    async def _follow_events(self, cursor: Cursor) -> None:
        async def follow() -> None:
            nonlocal cursor
            cursor = await self._pass_on_events(cursor)

        await every(EVENTS_S, LIVE_EVENTS, follow)

    async def _pass_on_events(self, cursor: Cursor) -> Cursor:
        events, reached = await asyncio.to_thread(self._read_events, cursor)
        self._pass_on(LIVE_EVENTS, events, state_message)
        return reached

    def _read_events(self, cursor: Cursor) -> tuple[list[JobEventRecord], Cursor]:
        """The events after a place, without those that cannot be read, and the place that was reached."""
        read = self._store.read
        try:
            return read(event_store.feed, cursor, limit=FEED)
        except Exception as error:
            if is_no_items_fault(error):
                raise
            places = read(event_store.feed_places, cursor, limit=FEED)
        ids = [place.id for place in places]

        def together(part: Sequence[int]) -> list[JobEventRecord | None]:
            found = read(event_store.get_many, part)
            return [found.get(event_id) for event_id in part]

        results = list(zip(ids, isolated(ids, together), strict=True))
        failed = {str(i): each.error for i, each in results if isinstance(each, Failed)}
        settle(self._store, LIVE_EVENTS, (), failed, known={}, again=False)
        events = [each for _, each in results if each is not None and not isinstance(each, Failed)]
        return events, places[-1] if places else cursor

    def _pass_on(self, duty: Duty, found: Sequence[T], message: Callable[[T], Message]) -> None:
        """Show these to those who watch. One that cannot be shown is counted, the others are shown."""
        for each in found:
            try:
                if each.agent_id in self._subscribers:
                    self.publish(each.agent_id, message(each))
            except Exception:
                meters.count(DUTY_FAILURES, duty=duty.name)
                log.exception("not shown", extra={"action": duty.name})


def metrics_message(point: MetricPoint) -> Message:
    return {
        "type": "metrics",
        "agent_id": point.agent_id,
        "job_id": point.job_id,
        "attempt": point.attempt,
        "step": point.step,
        "total_steps": point.total_steps,
        "at": _time(point.at),
        "metrics": dict(point.values),
    }


def state_message(event: JobEventRecord) -> Message:
    return {
        "type": "state",
        "agent_id": event.agent_id,
        "job_id": event.job_id,
        "attempt": event.attempt,
        "event": event.event,
        "from": event.from_state,
        "to": event.to_state,
        "status": public_status(event.to_state),
        "message": event.message,
        "at": _time(event.at),
    }


def _time(at: datetime) -> str:
    return at.isoformat()
