"""Training jobs, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from gaelp_ray.client.follow import PATIENCE_S, POLL_S, patiently, updates
from gaelp_ray.client.http import Http
from gaelp_ray.client.live import listen
from gaelp_ray.client.models import Attempt, Checkpoint, Event, Job, Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_items, read_page
from gaelp_ray.client.wire import read
from gaelp_ray.domain.jobs import PRIORITY_DEFAULT, JobState, JobStatus


class Jobs:
    """``client.jobs``. Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def submit(
        self,
        agent_id: int,
        *,
        name: str | None = None,
        priority: int = PRIORITY_DEFAULT,
        hyperparameters: Mapping[str, Any] | None = None,
        training_config: Mapping[str, Any] | None = None,
        entrypoint: str | None = None,
        resource_requirements: Mapping[str, Any] | None = None,
        environment_vars: Mapping[str, str] | None = None,
        seed: int = 0,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a job of the agent's current version; what is None is as the version or the service says.

        Each call carries a key of its own, so that a broken connection never queues a job twice; give
        an ``idempotency_key`` to make calls of your own repeatable too. Raises ``InvalidInput``,
        ``Unsatisfiable``, ``QueueFull``, ``BudgetExceeded`` and ``IdempotencyConflict``.
        """
        body = {
            "agent_id": agent_id,
            "name": name,
            "priority": priority,
            "hyperparameters": dict(hyperparameters or {}),
            "training_config": dict(training_config or {}),
            "entrypoint": entrypoint,
            "resource_requirements": resource_requirements,
            "environment_vars": environment_vars,
            "seed": seed,
            "timeout_seconds": timeout_seconds,
            "max_retries": max_retries,
        }
        return read(Job, self._http.post("/jobs", body, key=idempotency_key or str(uuid4())))

    def get(self, job_id: int) -> Job:
        return read(Job, self._http.get(f"/jobs/{job_id}"))

    def list(
        self,
        *,
        agent_id: int | None = None,
        status: JobStatus | str | None = None,
        phase: JobState | str | None = None,
        priority: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Job]:
        """One page of your jobs, newest first."""
        params = {"agent_id": agent_id, "status": status, "phase": phase, "priority": priority}
        return read_page(Job, self._http.get("/jobs", **params, limit=limit, cursor=cursor))

    def iterate(
        self,
        *,
        agent_id: int | None = None,
        status: JobStatus | str | None = None,
        phase: JobState | str | None = None,
        priority: int | None = None,
    ) -> Iterator[Job]:
        """All your jobs, newest first, page by page."""
        return each(
            lambda cursor: self.list(
                agent_id=agent_id,
                status=status,
                phase=phase,
                priority=priority,
                limit=WHOLE_PAGE,
                cursor=cursor,
            )
        )

    def cancel(self, job_id: int) -> Job:
        """Tell it to stop, a running one after it has saved; one that has ended stays as it is."""
        return read(Job, self._http.post(f"/jobs/{job_id}/cancel", {}))

    def attempts(self, job_id: int) -> tuple[Attempt, ...]:
        return read_items(Attempt, self._http.get(f"/jobs/{job_id}/attempts"))

    def checkpoints(self, job_id: int) -> tuple[Checkpoint, ...]:
        return read_items(Checkpoint, self._http.get(f"/jobs/{job_id}/checkpoints"))

    def events(self, job_id: int, *, after: int | None = None, limit: int = 200) -> tuple[Event, ...]:
        """The changes of its state, oldest first, from behind the event with the id ``after``."""
        return read_items(Event, self._http.get(f"/jobs/{job_id}/events", after=after, limit=limit))

    def logs(
        self, job_id: int, *, attempt: int | None = None, tail: int = 200, follow: bool = False
    ) -> Iterator[str]:
        """Pieces of the log of an attempt, by default the newest, from its last ``tail`` lines on.

        With ``follow`` pieces come as they are written until the job ends. Errors are raised when the
        first piece is asked for.
        """
        return self._http.stream(f"/jobs/{job_id}/logs", attempt=attempt, tail=tail, follow=follow)

    def wait(self, job_id: int, *, timeout: float | None = None) -> Job:
        """The job when it has ended, however it did; ``TimeoutError`` after ``timeout`` seconds."""
        deadline = monotonic() + (inf if timeout is None else timeout)
        job = self.get(job_id)
        while not job.ended:
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError(f"Job {job_id} is still {job.phase} after {timeout:g} seconds.")
            sleep(min(POLL_S, left))
            job = patiently(lambda: self.get(job_id), min(PATIENCE_S, left))
        return job

    def follow(self, job_id: int) -> Iterator[Job]:
        """The job now and at every change until it has ended, live over the agent's WebSocket.

        Without a WebSocket the job is looked at once a second. A service that is away for less than a
        minute is waited for.
        """
        job = self.get(job_id)
        messages = listen(
            self._http.url, self._http.token, job.agent_id, tick_s=POLL_S, patience_s=PATIENCE_S
        )
        yield from updates(job, lambda: patiently(lambda: self.get(job_id)), messages)
