"""A job as it goes on: live messages tell what is new, and looking at the job covers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from time import monotonic, sleep

from gaelp_ray.client.messages import Hello, LiveMessage, LiveMetrics, LiveState
from gaelp_ray.client.models import Job, Progress
from gaelp_ray.domain.errors import GaelpError, Unavailable
from gaelp_ray.domain.jobs import JobState, eta_seconds
from gaelp_ray.domain.jobs import Progress as Steps

#: Longest time between two looks at a job, in seconds.
POLL_S = 1.0
#: How long the service may be away before waiting for a job is given up, in seconds.
PATIENCE_S = 60.0


def updates(job: Job, look: Callable[[], Job], messages: Iterator[LiveMessage | None]) -> Iterator[Job]:
    """``job``, then each newer view of it, the last one ended.

    ``look`` fetches it. ``messages`` are of its agent, with None for a while without one; when they
    cannot be had the views come from looking alone.
    """
    feed, looked = _unending(messages), monotonic()
    yield job
    while not job.ended:
        message = next(feed)
        mine = isinstance(message, LiveMetrics | LiveState) and message.job_id == job.id
        if mine and isinstance(message, LiveMetrics) and job.phase == JobState.RUNNING:
            job = advanced(job, message)
        elif mine or isinstance(message, Hello) or monotonic() - looked >= POLL_S:
            job, looked = look(), monotonic()
        else:
            continue
        yield job


def patiently(look: Callable[[], Job], patience_s: float = PATIENCE_S) -> Job:
    """What ``look`` returns, through an absence of the service; raises its ``Unavailable`` in the end."""
    give_up = monotonic() + patience_s
    while True:
        try:
            return look()
        except Unavailable:
            if monotonic() > give_up:
                raise
            sleep(POLL_S)


def advanced(job: Job, live: LiveMetrics) -> Job:
    """``job`` with the progress that ``live`` tells, unless it is older than what is known."""
    attempt, step = live.attempt or job.attempt, live.step or 0
    if (attempt, step) < (job.attempt, job.progress.step or 0):
        return job
    total = live.total_steps or job.progress.total_steps
    progress = Progress(
        step=live.step,
        total_steps=total,
        fraction=min(1.0, step / total) if total else None,
        eta_seconds=eta_seconds(Steps(step=live.step, total_steps=total), job.started_at, live.at),
        metrics={**job.progress.metrics, **live.metrics},
    )
    return replace(job, attempt=attempt, progress=progress)


def _unending(messages: Iterator[LiveMessage | None]) -> Iterator[LiveMessage | None]:
    with suppress(GaelpError):
        yield from messages
    while True:
        yield None
        sleep(POLL_S)
