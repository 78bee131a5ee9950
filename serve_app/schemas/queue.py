"""The queue on the wire: why one job waits, and how all of them stand."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import Job, JobState
from gaelp_ray.domain.scheduling import Placed, WaitCode
from gaelp_ray.domain.scheduling.explain import Explanation, QueueReport
from serve_app.schemas.common import Out
from serve_app.schemas.jobs import CostOut, waiting


class EtaOut(Out):
    """An estimate and its interval."""

    starts_at: datetime
    earliest: datetime
    latest: datetime


class PlacedOut(Out):
    node_id: str
    resources: dict[str, str]
    gpus: list[int]

    @staticmethod
    def of(placed: Placed) -> PlacedOut:
        return PlacedOut.model_construct(
            node_id=placed.node_id, resources=placed.resources.to_quantities(), gpus=list(placed.gpus)
        )


class ExplanationOut(Out):
    """Where a job stands. What is unknown, or means nothing to a job that does not wait, is null."""

    job_id: int | None = Field(description="null in a dry run.")
    phase: JobState
    code: str | None = Field(description="Why it waits; null when nothing keeps it waiting.")
    message: str
    unblock: list[str] = Field(description="What would let it start, each a sentence.")
    position: int | None = Field(description="Among all that wait; 1 is looked at next.")
    ahead_in_lane: int | None = Field(description="Of those, jobs of its agent that are like it.")
    queued: int | None = Field(description="Jobs that wait in all.")
    priority: int
    effective_priority: int | None = Field(description="What its priority has become by waiting.")
    share: float | None = Field(description="Its owner's dominant share of the cluster over his weight.")
    eta: EtaOut | None
    placement: list[PlacedOut] | None = Field(
        description="Where its workers go, now or once others have made room."
    )
    victims: list[int] = Field(description="Jobs that make room for it.")
    cost: CostOut | None = Field(description="Of a dry run: what its compute is expected to cost.")
    at: datetime = Field(description="As of when.")

    @staticmethod
    def of(found: Explanation, cost: CostOut | None = None) -> ExplanationOut:
        placement = found.placement
        return ExplanationOut.model_construct(
            job_id=found.job_id or None,
            phase=JobState.QUEUED,
            code=found.code,
            message=found.message,
            unblock=list(found.unblock),
            position=found.position,
            ahead_in_lane=found.ahead_in_lane,
            queued=found.queued,
            priority=found.priority,
            effective_priority=found.effective_priority,
            share=found.share,
            eta=EtaOut.model_validate(found.eta) if found.eta else None,
            placement=[PlacedOut.of(each) for each in placement] if placement else None,
            victims=list(found.victims),
            cost=cost,
            at=found.at,
        )

    @staticmethod
    def stored(job: Job, at: datetime, *, note: str = "") -> ExplanationOut:
        """What the database knows of it, without asking the scheduler."""
        why = waiting(job)
        message = why.message if why else _going(job)
        return ExplanationOut.model_construct(
            job_id=job.id,
            phase=job.state,
            code=why.code if why else None,
            message=f"{message} {note}".strip(),
            unblock=[],
            position=None,
            ahead_in_lane=None,
            queued=None,
            priority=job.priority,
            effective_priority=None,
            share=None,
            eta=None,
            placement=None,
            victims=[],
            cost=None,
            at=at,
        )


def _going(job: Job) -> str:
    """What a job does that does not wait."""
    if job.finished_at is not None:
        return f"It has ended ({job.cause}) and does not wait."
    if job.state is JobState.RUNNING:
        return "It runs and does not wait."
    asked = "make room for others" if job.state is JobState.PREEMPTING else "stop"
    return f"It runs and was told to {asked}."


class PreemptionOut(Out):
    """A job was told to make room."""

    job_id: int
    attempt: int | None
    for_job_id: int | None = Field(description="The job that takes its place; null for a drain.")
    reason: str
    message: str
    at: datetime

    @staticmethod
    def of(event: JobEventRecord) -> PreemptionOut:
        return PreemptionOut.model_construct(
            job_id=event.job_id,
            attempt=event.attempt,
            for_job_id=event.data.get("for_job"),
            reason=event.data.get("reason", ""),
            message=event.message,
            at=event.at,
        )


class PreemptionsOut(Out):
    items: list[PreemptionOut] = Field(description="When the job itself had to make room; oldest first.")
    victims: list[PreemptionOut] = Field(description="Jobs that had to make room for it; oldest first.")


class HeadOut(Out):
    """The first job of those that are alike, and why they wait."""

    job_id: int
    owner: str
    team: str | None
    code: WaitCode
    message: str
    waiting: int = Field(description="Jobs like it that wait for the same reason.")
    priority: int
    effective_priority: int
    submitted_at: datetime


class QueueOut(Out):
    """The queue as the last plan left it."""

    at: datetime
    waiting: int
    lanes: int = Field(description="Kinds of jobs: those alike are judged once.")
    by_code: dict[WaitCode, int]
    by_user: dict[str, int] = Field(description="Most first, as many as `limit`.")
    by_team: dict[str, int]
    oldest: datetime | None
    heads: list[HeadOut] = Field(description="In the order in which they are looked at.")
    starting: list[int]
    making_room: list[int]
    demanded: int = Field(description="Workers for which nodes were asked of the autoscaler.")

    @staticmethod
    def of(report: QueueReport) -> QueueOut:
        return QueueOut.model_validate(report)
