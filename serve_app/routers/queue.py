"""/api/v1/queue, /api/v1/jobs/{id}/why and /api/v1/jobs:plan"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query, Response

from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import JobState
from gaelp_ray.services import jobs as job_service
from gaelp_ray.services import scheduling, submissions
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.paging import Limit
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id
from serve_app.schemas.jobs import CostOut, JobIn
from serve_app.schemas.queue import ExplanationOut, PreemptionOut, PreemptionsOut, QueueOut

router = api_router("", tag="queue")

_UNANSWERED = "The scheduler did not answer in time; this is what it wrote last."


@router.get("/jobs/{job_id}/why", response_model=ExplanationOut)
async def explain_job(job_id: Id, caller: Caller) -> Response:
    """Why a job waits, what would let it start, its place in line and when it may begin."""
    job = job_service.visible(await context().jobs.get(job_id), job_id, caller)
    note = ""
    if job.state is JobState.QUEUED:
        try:
            found = await context().ask_scheduler("why", job_id)
        except Unavailable:
            note = _UNANSWERED
        else:
            if found is not None:
                return json_response(ExplanationOut.of(found))
            # It has started meanwhile, or was submitted after the last plan.
            job = job_service.visible(await context().jobs.get(job_id), job_id, caller)
    return json_response(ExplanationOut.stored(job, datetime.now(UTC), note=note))


@router.get("/jobs/{job_id}/preemptions", response_model=PreemptionsOut)
async def list_preemptions(job_id: Id, caller: Caller) -> Response:
    """When it had to make room, for whom and why, and who had to make room for it."""
    told = await context().read(scheduling.preemptions_of, job_id, by=caller)
    victims = await context().read(scheduling.victims_of, job_id, by=caller)
    body = PreemptionsOut.model_construct(
        items=[PreemptionOut.of(event) for event in told],
        victims=[PreemptionOut.of(event) for event in victims],
    )
    return json_response(body)


@router.post("/jobs:plan", response_model=ExplanationOut)
async def plan_job(body: JobIn, caller: Caller) -> Response:
    """What would become of a submission: where it would start and at whose cost, or why it would wait.

    Stores nothing; refuses what a submission would be refused for, but for a full queue.
    """
    runtime = context().runtime
    draft = await context().read(
        submissions.draft, body.new(), by=caller, now=datetime.now(UTC), defaults=runtime.job_defaults
    )
    cost = CostOut.model_construct(
        booked_micros=0,
        expected_micros=draft.forecast.cost_micros,
        expected_p90_micros=draft.forecast.p90_cost_micros,
    )
    return json_response(ExplanationOut.of(await context().ask_scheduler("dry_run", draft.job), cost))


@router.get("/queue", response_model=QueueOut)
async def report_queue(
    caller: Caller,
    limit: Annotated[Limit, Query(description="Heads, users and teams shown at most.")] = 50,
) -> Response:
    """The queue as the last plan left it, for operators: admins only."""
    caller.require_admin()
    return json_response(QueueOut.of(await context().ask_scheduler("queue_report", limit)))
