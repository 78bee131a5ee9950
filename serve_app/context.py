"""What one API replica holds: settings, store, coalesced readers, live feed, the way to the actors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from ray.exceptions import RayError
from sqlalchemy import Connection

from gaelp_ray.actors import handles
from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.actors.handles import ControlPlane
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.agents import Agent
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import Job
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.scheduling import Node
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import jobs as job_store
from serve_app.coalesce import Coalescer
from serve_app.live import LiveFeed

log = logging.getLogger("gaelp_ray.http")

P = ParamSpec("P")
R = TypeVar("R")

#: Hints closer together than this are one.
HINT_GAP_S = 0.005
NODES_AGE_S = 1.0
#: How long the scheduler may take to answer a question.
PATIENCE_S = 2.0


class ApiContext:
    """Built once per replica."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runtime = Runtime(settings)
        self.store = self.runtime.store
        self.agents: Coalescer[int, Agent] = Coalescer(lambda ids: self.store.read(agent_store.get_many, ids))
        self.jobs: Coalescer[int, Job] = Coalescer(lambda ids: self.store.read(job_store.get_many, ids))
        self.actors: ControlPlane = handles.ensure(settings)
        self.live = LiveFeed(self.store, self.actors.hubs)
        self._hint: asyncio.TimerHandle | None = None
        self._nodes: tuple[float, tuple[Node, ...]] = (0.0, ())

    async def read(
        self, query: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a query on a thread."""
        return await asyncio.to_thread(lambda: self.store.read(query, *args, **kwargs))

    async def transact(
        self, use_case: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a use case on a thread as one transaction, committed when this returns."""
        return await asyncio.to_thread(lambda: self.store.transact(use_case, *args, **kwargs))

    def hint_scheduler(self) -> None:
        """Ask for a tick soon; a hint that is lost costs at most the tick's period."""
        if self._hint is None:
            self._hint = asyncio.get_running_loop().call_later(HINT_GAP_S, self._send_hint)

    def _send_hint(self) -> None:
        self._hint = None
        self.actors.scheduler.hint.remote()

    async def ask_scheduler(self, question: str, *about: Any) -> Any:
        """What the scheduler's method of that name returns; raises ``Unavailable`` unless it does so soon."""
        try:
            asked = getattr(self.actors.scheduler, question).remote(*about)
            return await asyncio.wait_for(asked, PATIENCE_S)
        except (TimeoutError, RayError) as error:
            log.warning("no answer", exc_info=error, extra={"action": "ask_scheduler", "question": question})
            raise Unavailable("The scheduler does not answer; ask again in a second.") from error

    def wake_launcher(self, name: str | None) -> None:
        """Tell a launcher that it has orders; it would find them by itself within a second."""
        launcher: Any = self.actors.launchers.get(name) if name else None
        if launcher is not None:
            launcher.wake.remote()

    def show_live(self, point: MetricPoint) -> None:
        """Show a stored point to the watchers of every replica."""
        self.actors.hubs[point.agent_id % len(self.actors.hubs)].show.remote([point])

    async def nodes(self) -> tuple[Node, ...]:
        """Live nodes, at most a second old."""
        at, nodes = self._nodes
        if time.monotonic() - at > NODES_AGE_S:
            nodes = await asyncio.to_thread(live_nodes)
            self._nodes = (time.monotonic(), nodes)
        return nodes


_context: ApiContext | None = None


def install(settings: Settings) -> None:
    """Build this replica's context."""
    global _context  # noqa: PLW0603 - one replica per process
    _context = ApiContext(settings)


def context() -> ApiContext:
    assert _context is not None, "the replica installs its context before it serves"
    return _context
