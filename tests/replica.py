"""One API replica in this process, on a real database and without Ray: what a caller meets, in milliseconds.

Its guard books as those of the service do and its scheduler plans, on one node; nothing is launched.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest import mock

import httpx
from fastapi import FastAPI

from gaelp_ray.actors import scheduler as scheduler_module
from gaelp_ray.actors.handles import ControlPlane
from gaelp_ray.actors.scheduler import Scheduler
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.services import ledger, reviews, tokens
from serve_app import auth
from serve_app import context as contexts
from serve_app.app import create_app
from tests.builders import a_node

SECRET = "a-secret-of-this-replica-" + "x" * 32
#: Paths that are not under /api/v1.
_ELSEWHERE = ("/api/", "/health", "/ready", "/metrics", "/live", "/openapi.json", "/docs", "/redoc", "//")
NODE = a_node("node-1", cpu=8, memory_gib=32, gpu=1)


class _Method:
    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def remote(self, *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.ensure_future(asyncio.to_thread(self._call, *arguments))


class _Actor:
    """An actor whose methods are these functions, and any other does nothing."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self._methods = methods

    def __getattr__(self, name: str) -> _Method:
        return _Method(self._methods.get(name, lambda *_arguments: None))


class _Planner(Scheduler):
    """The scheduler without its loops: it plans when it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._runtime = Runtime(settings)
        self._settings = settings
        self._cluster = "replica"
        self._launchers = {}
        self._holder = "scheduler of replica"
        self._reign = None

    def lead(self) -> None:
        """A tick. Nothing is applied, for nobody would launch it."""
        with mock.patch.object(self, "_apply", return_value=scheduler_module.Applied()):
            self._tick_once()

    def asked(self, question: str, *about: Any) -> Any:
        self._turn = asyncio.Lock()
        self.lead()
        return asyncio.run(getattr(self, question)(*about))


class Replica:
    """A replica to send requests to, as anybody."""

    def __init__(self, database_url: str, **settings: Any) -> None:
        # Long enough that nobody else is asked to lead while it runs.
        given = {"lease": timedelta(days=1), "pool_size": 8} | settings
        self.settings = Settings(database_url=database_url, jwt_secret=SECRET, **given)
        self._names = itertools.count(1)

    def __enter__(self) -> Replica:
        self._stack = contextlib.ExitStack()
        patch = self._stack.enter_context
        patch(mock.patch.object(contexts.handles, "ensure", self._plane))
        patch(mock.patch.object(contexts, "live_nodes", return_value=(NODE,)))
        patch(mock.patch.object(scheduler_module, "live_nodes", return_value=(NODE,)))
        patch(mock.patch.object(scheduler_module, "node_shapes", return_value=()))
        patch(mock.patch.object(auth, "_verified", {}))
        self.context = contexts.ApiContext(self.settings)
        patch(mock.patch.object(contexts, "_context", self.context))
        self.app: FastAPI = create_app(body_limit_bytes=self.settings.body_limit_bytes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._stack.close()
        self.context.store.close()

    def _plane(self, settings: Settings) -> ControlPlane:
        store = Runtime(settings).store
        now = partial(datetime.now, UTC)

        def submit(requests: list[Any]) -> Any:
            return store.transact(ledger.apply, requests, now=now())

        def admit(action: Any, hold: Any, reported: Any, by: Any) -> Any:
            try:
                return store.transact(reviews.admit, action, hold, reported=reported, by=by, now=now())
            except GaelpError as refusal:
                return refusal

        planner = _Planner(settings)
        planner.lead()
        questions = ("why", "dry_run", "queue_report")
        return ControlPlane(
            scheduler=_Actor(**{each: partial(planner.asked, each) for each in questions}),
            launchers={},
            hubs=(_Actor(),),
            quota_ledger=_Actor(),
            guards=(_Actor(submit=submit, admit=admit),),
        )

    def token(self, user: str = "root", *, admin: bool = False) -> str:
        return tokens.make(SECRET, user=user, admin=admin, ttl=timedelta(hours=1), now=datetime.now(UTC))

    def call(
        self, method: str, path: str, *, token: str | None = None, user: str | None = None, **options: Any
    ) -> httpx.Response:
        """As an admin, unless a user or a token is named; ``token=""`` sends none. Paths under /api/v1."""
        token = self.token(user or "root", admin=user is None) if token is None else token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        url = path if path.startswith(_ELSEWHERE) else f"/api/v1{path}"
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await client.request(method, url, headers=headers, **options)

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result(timeout=60)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.call("POST", path, **({} if body is None else {"json": body}), **options)

    def put(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.call("PUT", path, **({} if body is None else {"json": body}), **options)

    def agent(self, user: str = "ann", **fields: Any) -> dict[str, Any]:
        body = {"name": f"agent {next(self._names)}", "type": "simulation"} | fields
        answer = self.post("/agents", body, user=user)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, agent: dict[str, Any], user: str = "ann", **fields: Any) -> dict[str, Any]:
        answer = self.post("/jobs", {"agent_id": agent["id"], **fields}, user=user)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


@contextlib.contextmanager
def replica(database_url: str, **settings: Any) -> Iterator[Replica]:
    with Replica(database_url, **settings) as running:
        yield running
