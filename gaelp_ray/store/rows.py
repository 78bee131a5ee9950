"""Rows to domain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Row, Table
from sqlalchemy.sql import ColumnElement

from gaelp_ray.domain.agents import Agent, AgentStatus, AgentType, AgentVersion, VersionSpec
from gaelp_ray.domain.attempts import Attempt, Seat
from gaelp_ray.domain.checkpoints import CheckpointRecord, address_of
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import EndCause, Job, JobEvent, JobState, Progress
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Request, Selector, Spot
from gaelp_ray.domain.resources import Resources


def resources_columns(table: Table) -> list[ColumnElement[int]]:
    return [table.c.cpu_milli, table.c.memory_bytes, table.c.gpu_milli, table.c.storage_bytes]


def resources_values(resources: Resources) -> dict[str, int]:
    return {
        "cpu_milli": resources.cpu_milli,
        "memory_bytes": resources.memory_bytes,
        "gpu_milli": resources.gpu_milli,
        "storage_bytes": resources.storage_bytes,
    }


def resources(row: Row[Any]) -> Resources:
    return Resources(row.cpu_milli, row.memory_bytes, row.gpu_milli, row.storage_bytes)


def seats(placement: Iterable[Mapping[str, Any]]) -> tuple[Seat, ...]:
    return tuple(Seat(seat["node_id"], tuple(map(int, seat["gpus"]))) for seat in placement)


def placement(placed: Iterable[Seat]) -> list[dict[str, Any]]:
    return [{"node_id": seat.node_id, "gpus": list(seat.gpus)} for seat in placed]


def selector(conditions: Mapping[str, str]) -> Selector:
    return tuple(sorted(conditions.items()))


def request(row: Row[Any]) -> Request:
    """Equal requests are one object: a queue holds few kinds of them, and each knows its key."""
    return _request(
        row.cpu_milli,
        row.memory_bytes,
        row.gpu_milli,
        row.storage_bytes,
        row.workers,
        selector(row.selector),
        row.spot,
    )


@lru_cache(maxsize=10_000)
def _request(
    cpu: int, memory: int, gpu: int, storage: int, workers: int, conditions: Selector, spot: str
) -> Request:
    return Request(Resources(cpu, memory, gpu, storage), workers, conditions, Spot(spot))


def version(row: Row[Any]) -> AgentVersion:
    return AgentVersion(
        id=row.version_id,
        agent_id=row.agent_id,
        spec=VersionSpec(
            version=row.version,
            entrypoint=row.entrypoint,
            docker_image=row.docker_image,
            working_dir=row.working_dir,
            config=row.config or {},
            requirements=tuple(row.requirements or ()),
            resources=resources(row),
            environment_vars=row.environment_vars or {},
            secrets=row.secrets or {},
        ),
        created_by=row.created_by,
        created_at=row.version_created_at,
        left_out=_left_out(row),
    )


def _left_out(row: Row[Any]) -> frozenset[str]:
    """What a list did not read, if a list read the row."""
    return frozenset(filter(None, getattr(row, "left_out", ())))


def agent(row: Row[Any]) -> Agent:
    return Agent(
        id=row.agent_id,
        name=row.name,
        type=AgentType(row.type),
        status=AgentStatus(row.status),
        owner=row.owner,
        description=row.description,
        account_id=row.account_id,
        budget_limit_micros=row.budget_limit_micros,
        budget_spent_micros=int(row.budget_spent_micros or 0),
        current=version(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def job(
    row: Row[Any],
    *,
    wait_code: str | None = None,
    wait_message: str | None = None,
    runs_since: datetime | None = None,
    runs_from_step: int | None = None,
) -> Job:
    return Job(
        id=row.id,
        agent_id=row.agent_id,
        version_id=row.version_id,
        owner=row.owner,
        name=row.name,
        state=JobState(row.state),
        priority=row.priority,
        resources=resources(row),
        workers=row.workers,
        selector=selector(row.selector),
        spot=Spot(row.spot),
        preemptible=row.preemptible,
        entrypoint=row.entrypoint,
        hyperparameters=row.hyperparameters or {},
        training_config=row.training_config or {},
        environment_vars=row.environment_vars or {},
        seed=row.seed,
        timeout_s=row.timeout_s,
        max_retries=row.max_retries,
        failures=row.failures,
        losses=row.losses,
        instant_losses=row.instant_losses,
        preemptions=row.preemptions,
        attempt_number=row.attempt_number,
        progress=Progress(row.step, row.total_steps, row.latest_metrics),
        wait_code=wait_code,
        wait_message=wait_message,
        cause=EndCause(row.cause) if row.cause else None,
        message=row.message,
        result=row.result,
        expected_s=row.expected_s,
        expected_p90_s=row.expected_p90_s,
        deadline=row.deadline,
        submitted_at=row.submitted_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        not_before=row.not_before,
        notices=tuple(row.notices),
        money=Money(row.money),
        account_id=row.account_id,
        cost_micros=row.cost_micros,
        expected_cost_micros=row.expected_cost_micros,
        expected_p90_cost_micros=row.expected_p90_cost_micros,
        guess_s=row.guess_s,
        runs_since=runs_since,
        runs_from_step=runs_from_step or 0,
        left_out=_left_out(row),
    )


def attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        id=row.id,
        job_id=row.job_id,
        number=row.number,
        node_id=row.node_id,
        workers=row.workers,
        placement=seats(row.placement),
        spot=row.spot,
        launcher=row.launcher,
        cause=EndCause(row.cause) if row.cause else None,
        message=row.message,
        exit_code=row.exit_code,
        resumed_from_step=row.resumed_from_step,
        peak_memory_bytes=row.peak_memory_bytes,
        hour_micros=row.hour_micros,
        cost_micros=row.cost_micros,
        slices=row.slices,
        created_at=row.created_at,
        claimed_at=row.claimed_at,
        last_seen_at=row.last_seen_at,
        saved_at=row.saved_at,
        ended_at=row.ended_at,
    )


def checkpoint(row: Row[Any]) -> CheckpointRecord:
    return CheckpointRecord(
        id=row.id,
        job_id=row.job_id,
        attempt=row.attempt,
        step=row.step,
        uri=row.uri,
        digest=row.digest,
        size_bytes=row.size_bytes,
        metrics=row.metrics,
        created_at=row.created_at,
        # Processes of an earlier release leave it out.
        address=row.address or address_of(row.uri),
    )


def event(row: Row[Any]) -> JobEventRecord:
    return JobEventRecord(
        id=row.id,
        job_id=row.job_id,
        agent_id=row.agent_id,
        attempt=row.attempt,
        event=JobEvent(row.event),
        from_state=JobState(row.from_state) if row.from_state else None,
        to_state=JobState(row.to_state),
        actor=row.actor,
        message=row.message,
        data=row.data,
        at=row.at,
    )
