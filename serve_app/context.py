"""What one API replica holds: settings, store, coalesced readers, live feed, the way to the actors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Concatenate, ParamSpec, TypeVar

from ray.exceptions import RayError, RayTaskError
from sqlalchemy import Connection

from gaelp_ray.actors import handles
from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.actors.handles import ControlPlane
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent
from gaelp_ray.domain.errors import GaelpError, Unavailable
from gaelp_ray.domain.jobs import Job
from gaelp_ray.domain.ledger import HeldMoney, Hold, Outcome, Request
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.safety.verdicts import Action
from gaelp_ray.domain.scheduling import Node
from gaelp_ray.services import budgets as budget_service
from gaelp_ray.services.budgets import Ask, Purse
from gaelp_ray.services.reviews import Admission, Reported
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import logs as log_store
from gaelp_ray.store.logs import LogEnd
from serve_app.coalesce import Coalescer
from serve_app.followers import Followers
from serve_app.live import LiveFeed

log = logging.getLogger("gaelp_ray.http")

P = ParamSpec("P")
R = TypeVar("R")

#: Hints closer together than this are one.
HINT_GAP_S = 0.005
NODES_AGE_S = 1.0
#: How long the scheduler may take to answer a question.
PATIENCE_S = 2.0
#: How long a budget guard may take; it answers by itself when the database does not.
GUARD_PATIENCE_S = 5.0


class ApiContext:
    """Built once per replica."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.runtime = Runtime(settings)
        self.store = self.runtime.store
        # Without a database there is nothing to compare; then nothing is held either.
        with suppress(Unavailable):
            self.runtime.keep_currency()
        self.agents: Coalescer[int, Agent] = Coalescer(lambda ids: self.store.read(agent_store.get_many, ids))
        self.jobs: Coalescer[int, Job] = Coalescer(lambda ids: self.store.read(job_store.get_many, ids))
        self.purses: Coalescer[Ask, Purse | GaelpError] = Coalescer(
            lambda asked: self.store.read(budget_service.purses, asked)
        )
        self.holds: Coalescer[str, HeldMoney] = Coalescer(
            lambda keys: self.store.read(budget_service.holds, keys)
        )
        self.log_ends: Coalescer[int, LogEnd] = Coalescer(lambda ids: self.store.read(log_store.ends, ids))
        self.followers = Followers(of_user=settings.followers_per_user, in_all=settings.followers)
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

    async def book(self, requests: Sequence[Request], account_ids: Iterable[int]) -> list[Outcome]:
        """Have a budget guard carry out requests; one outcome for each.

        Raises ``Unavailable`` unless it answers soon. Whether anything was booked is not known then; the same
        keys tell when they are sent again.
        """
        guard = self.actors.guard(account_ids)
        outcomes: list[Outcome] = await self._of_guard(guard.submit.remote(list(requests)))
        return outcomes

    async def admit(self, action: Action, hold: Hold, reported: Reported, by: Principal) -> Admission:
        """Have a budget guard review an action and hold its real money; raises as ``book`` does."""
        guard = self.actors.guard(hold.account_ids)
        answer: Admission | GaelpError = await self._of_guard(guard.admit.remote(action, hold, reported, by))
        if isinstance(answer, GaelpError):
            raise answer
        return answer

    async def _of_guard(self, asked: Any) -> Any:
        try:
            return await asyncio.wait_for(asked, GUARD_PATIENCE_S)
        except (TimeoutError, RayError) as error:
            refused = error.cause if isinstance(error, RayTaskError) else None
            if isinstance(refused, GaelpError):
                raise refused from None
            log.warning("no answer", exc_info=error, extra={"action": "ask_guard"})
            raise Unavailable(
                "The budget guard does not answer; send the same again, with the same key."
            ) from error

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
