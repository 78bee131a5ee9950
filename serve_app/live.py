"""What happens now, to everyone who watches: hub and event feed in, WebSockets out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from datetime import datetime
from typing import Any

from ray.exceptions import RayError

from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import public_status
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.store import events as event_store
from gaelp_ray.store.engine import Store
from gaelp_ray.store.events import Cursor

log = logging.getLogger("gaelp_ray.live")

EVENTS_S = 0.2
LISTEN_S = 5.0
RETRY_S = 0.5
#: Messages a slow client may fall behind before its metrics are thinned to the newest of each job.
BACKLOG = 256

Message = dict[str, Any]


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
        for subscriber in self._subscribers.get(agent_id, ()):
            subscriber.offer(message)

    def _drop(self, agent_id: int, subscriber: Subscriber) -> None:
        watching = self._subscribers[agent_id]
        watching.discard(subscriber)
        if not watching:
            del self._subscribers[agent_id]
        if not self._subscribers:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    async def _follow_hub(self, hub: Any) -> None:
        after = -1
        while True:
            try:
                after, points = await hub.listen.remote(after, LISTEN_S)
            except RayError as error:
                log.warning("the hub is away", extra={"reason": str(error)})
                after = -1
                await asyncio.sleep(RETRY_S)
                continue
            for point in points:
                if point.agent_id in self._subscribers:
                    self.publish(point.agent_id, metrics_message(point))

    async def _follow_events(self, cursor: Cursor) -> None:
        while True:
            try:
                cursor = await self._pass_on_events(cursor)
            except Unavailable as error:
                log.warning("the database is away", extra={"reason": error.message})
            await asyncio.sleep(EVENTS_S)

    async def _pass_on_events(self, cursor: Cursor) -> Cursor:
        events, reached = await asyncio.to_thread(self._store.read, event_store.feed, cursor, limit=1000)
        for event in events:
            if event.agent_id in self._subscribers:
                self.publish(event.agent_id, state_message(event))
        return reached


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
