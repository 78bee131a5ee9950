"""Training jobs, over HTTP."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterator
from datetime import datetime
from math import inf
from time import monotonic, sleep
from typing import Unpack
from uuid import uuid4

from gaelp_ray.client.explanations import Explanation, Preemptions
from gaelp_ray.client.follow import PATIENCE_S, POLL_S, patiently, updates
from gaelp_ray.client.http import Http
from gaelp_ray.client.live import listen
from gaelp_ray.client.models import Attempt, CancelledMany, Checkpoint, Event, Job, Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_items, read_page
from gaelp_ray.client.submission import JobFields, body_of
from gaelp_ray.client.wire import read
from gaelp_ray.domain.jobs import JobState, JobStatus


class Jobs:
    """``client.jobs``. Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def submit(
        self, agent_id: int, *, idempotency_key: str | None = None, **fields: Unpack[JobFields]
    ) -> Job:
        """Queue a job of the agent's current version; ``JobFields`` lists what may be said of it.

        Each call carries a key of its own, so that a broken connection never queues a job twice; give
        an ``idempotency_key`` to make calls of your own repeatable too. Raises ``InvalidInput``,
        ``ExceedsQuota``, ``QueueFull``, ``BudgetExceeded`` and ``IdempotencyConflict``.
        """
        key = idempotency_key or str(uuid4())
        return read(Job, self._http.post("/jobs", body_of(agent_id, fields), key=key))

    def plan(self, agent_id: int, **fields: Unpack[JobFields]) -> Explanation:
        """What would become of such a submission; nothing is stored.

        Raises what ``submit`` raises, but for ``QueueFull``.
        """
        return read(Explanation, self._http.post("/jobs:plan", body_of(agent_id, fields)))

    def edit(
        self,
        job_id: int,
        *,
        priority: int | None = None,
        preemptible: bool | None = None,
        deadline: datetime | None = None,
        no_deadline: bool = False,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        expected_duration_seconds: float | None = None,
        clear: Collection[str] = (),
    ) -> Job:
        """Change what is given on a job that waits; it keeps its place by time of submission.

        ``clear`` names what is to be as if it had never been said: ``deadline``, ``timeout_seconds``,
        ``max_retries`` or ``expected_duration_seconds``; ``no_deadline`` is one of them. Raises
        ``InvalidInput``, ``BudgetExceeded`` where dear jobs are refused, and ``IllegalTransition`` for a job
        that does not wait.
        """
        body = {
            "priority": priority,
            "preemptible": preemptible,
            "deadline": deadline,
            "timeout_seconds": timeout_seconds,
            "max_retries": max_retries,
            "expected_duration_seconds": expected_duration_seconds,
        }
        nulls = {*clear, *(("deadline",) if no_deadline else ())}
        return read(Job, self._http.patch(f"/jobs/{job_id}", body | dict.fromkeys(nulls), nulls=nulls))

    def why(self, job_id: int) -> Explanation:
        """Why it waits, what would let it start, its place in line and when it may begin."""
        return read(Explanation, self._http.get(f"/jobs/{job_id}/why"))

    def preemptions(self, job_id: int) -> Preemptions:
        """When it had to make room and for whom, and who had to make room for it."""
        return read(Preemptions, self._http.get(f"/jobs/{job_id}/preemptions"))

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

    def cancel_many(
        self,
        *,
        ids: Collection[int] | None = None,
        agent_id: int | None = None,
        status: JobStatus | str | None = None,
        phase: JobState | str | None = None,
        priority: int | None = None,
        owner: str | None = None,
        reason: str | None = None,
        limit: int = 1000,
    ) -> CancelledMany:
        """Cancel the jobs that meet all that is said; those that have ended are left out.

        ``owner`` is for admins. Raises ``InvalidInput`` when nothing is said.
        """
        body = {
            "ids": None if ids is None else builtins.list(ids),
            "agent_id": agent_id,
            "status": status,
            "phase": phase,
            "priority": priority,
            "owner": owner,
            "reason": reason,
            "limit": limit,
        }
        return read(CancelledMany, self._http.post("/jobs:cancel", body))

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
