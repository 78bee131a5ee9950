"""/api/v1/jobs"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header, Query, Response
from pydantic import Field

from gaelp_ray.domain.ids import MAX_ID
from gaelp_ray.domain.jobs import PRIORITY_MAX, PRIORITY_MIN, JobState, JobStatus
from gaelp_ray.services import jobs as service
from gaelp_ray.services import submissions
from gaelp_ray.store.jobs import JobFilter
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import PLAIN, Id, QueryId
from serve_app.schemas.common import printable
from serve_app.schemas.jobs import (
    AttemptList,
    AttemptOut,
    CancelIn,
    CancelledOut,
    CheckpointList,
    CheckpointOut,
    EventList,
    EventOut,
    JobIn,
    JobOut,
    JobPage,
    JobPatch,
)

router = api_router("/jobs", tag="jobs")

_JOBS = Pages("jobs")

IdempotencyKey = Annotated[
    Annotated[str, Field(min_length=1, max_length=200), printable(200)] | None,
    Header(description="Made by you; the same key is the same submission."),
]
Priority = Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX), PLAIN, Query()]
After = Annotated[int, Field(ge=0, le=MAX_ID), PLAIN, Query()]


@router.post("", status_code=201, response_model=JobOut)
async def submit_job(body: JobIn, caller: Caller, idempotency_key: IdempotencyKey = None) -> Response:
    """Queue a training job."""
    now = datetime.now(UTC)
    job = await context().transact(
        submissions.submit,
        body.new(),
        by=caller,
        now=now,
        defaults=context().runtime.job_defaults,
        key=idempotency_key,
    )
    context().hint_scheduler()
    return json_response(JobOut.of(job, now), 201)


@router.get("", response_model=JobPage)
async def list_jobs(
    caller: Caller,
    agent_id: QueryId | None = None,
    status: JobStatus | None = None,
    phase: JobState | None = None,
    priority: Priority | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Your jobs, newest first; an admin sees everybody's."""
    wanted = JobFilter(agent_id=agent_id, status=status, phase=phase, priority=priority)
    found = await context().read(service.page, wanted, by=caller, before=_JOBS.before(cursor), limit=limit)
    now = datetime.now(UTC)
    return _JOBS.answer([(job.id, JobOut.of(job, now)) for job in found], limit)


@router.get("/{job_id}", response_model=JobOut)
async def get_job(job_id: Id, caller: Caller) -> Response:
    job = service.visible(await context().jobs.get(job_id), job_id, caller)
    return json_response(JobOut.of(job, datetime.now(UTC)))


@router.patch("/{job_id}", response_model=JobOut)
async def edit_job(job_id: Id, body: JobPatch, caller: Caller) -> Response:
    """Change a job that waits; it keeps its place by time of submission."""
    now = datetime.now(UTC)
    defaults = context().runtime.job_defaults
    job = await context().transact(service.edit, job_id, body.change(), by=caller, now=now, defaults=defaults)
    context().hint_scheduler()
    return json_response(JobOut.of(job, now))


@router.post(":cancel", response_model=CancelledOut)
async def cancel_jobs(body: CancelIn, caller: Caller) -> Response:
    """Cancel many jobs at once, in the order of their ids; those that have ended are left out."""
    cancelled = await context().transact(
        service.cancel_many,
        body.wanted(),
        by=caller,
        now=datetime.now(UTC),
        limit=body.limit,
        reason=body.reason,
    )
    context().hint_scheduler()
    for launcher in cancelled.launchers:
        context().wake_launcher(launcher)
    return json_response(CancelledOut.of(cancelled.ids, body.limit))


@router.post("/{job_id}/cancel", response_model=JobOut)
async def cancel_job(job_id: Id, caller: Caller) -> Response:
    """Cancel a job; one that has ended stays as it is."""
    now = datetime.now(UTC)
    cancelled = await context().transact(service.cancel, job_id, by=caller, now=now)
    context().hint_scheduler()
    context().wake_launcher(cancelled.launcher)
    return json_response(JobOut.of(cancelled.job, now))


@router.get("/{job_id}/events", response_model=EventList)
async def list_events(job_id: Id, caller: Caller, after: After = 0, limit: Limit = 200) -> Response:
    """Its changes of state, oldest first."""
    found = await context().read(service.events, job_id, by=caller, after=after, limit=limit)
    return json_response(EventList.model_construct(items=[EventOut.of(e) for e in found]))


@router.get("/{job_id}/attempts", response_model=AttemptList)
async def list_attempts(job_id: Id, caller: Caller) -> Response:
    """Its attempts, oldest first."""
    found = await context().read(service.attempts, job_id, by=caller)
    return json_response(AttemptList.model_construct(items=[AttemptOut.of(a) for a in found]))


@router.get("/{job_id}/checkpoints", response_model=CheckpointList)
async def list_checkpoints(job_id: Id, caller: Caller) -> Response:
    """Its checkpoints that are kept, oldest first."""
    found = await context().read(service.checkpoints, job_id, by=caller)
    return json_response(CheckpointList.model_construct(items=[CheckpointOut.of(c) for c in found]))
