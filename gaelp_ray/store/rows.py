"""Rows to domain values."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, Table
from sqlalchemy.sql import ColumnElement

from gaelp_ray.domain.agents import Agent, AgentStatus, AgentType, AgentVersion, VersionSpec
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.checkpoints import CheckpointRecord
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import EndCause, Job, JobEvent, JobState, Progress
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


def version(row: Row[Any]) -> AgentVersion:
    return AgentVersion(
        id=row.version_id,
        agent_id=row.agent_id,
        spec=VersionSpec(
            version=row.version,
            entrypoint=row.entrypoint,
            docker_image=row.docker_image,
            working_dir=row.working_dir,
            config=row.config,
            requirements=tuple(row.requirements),
            resources=resources(row),
            environment_vars=row.environment_vars,
            secrets=row.secrets,
        ),
        created_by=row.created_by,
        created_at=row.version_created_at,
    )


def agent(row: Row[Any]) -> Agent:
    return Agent(
        id=row.agent_id,
        name=row.name,
        type=AgentType(row.type),
        status=AgentStatus(row.status),
        owner=row.owner,
        description=row.description,
        budget_limit_micros=row.budget_limit_micros,
        budget_spent_micros=row.budget_spent_micros or 0,
        current=version(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        agent_id=row.agent_id,
        version_id=row.version_id,
        owner=row.owner,
        name=row.name,
        state=JobState(row.state),
        priority=row.priority,
        resources=resources(row),
        entrypoint=row.entrypoint,
        hyperparameters=row.hyperparameters,
        training_config=row.training_config,
        environment_vars=row.environment_vars,
        seed=row.seed,
        timeout_s=row.timeout_s,
        max_retries=row.max_retries,
        failures=row.failures,
        losses=row.losses,
        attempt_number=row.attempt_number,
        progress=Progress(row.step, row.total_steps, row.latest_metrics),
        wait_code=row.wait_code,
        wait_message=row.wait_message,
        cause=EndCause(row.cause) if row.cause else None,
        message=row.message,
        result=row.result,
        submitted_at=row.submitted_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        not_before=row.not_before,
        notices=tuple(row.notices),
    )


def attempt(row: Row[Any]) -> Attempt:
    return Attempt(
        id=row.id,
        job_id=row.job_id,
        number=row.number,
        node_id=row.node_id,
        launcher=row.launcher,
        cause=EndCause(row.cause) if row.cause else None,
        message=row.message,
        exit_code=row.exit_code,
        resumed_from_step=row.resumed_from_step,
        peak_memory_bytes=row.peak_memory_bytes,
        created_at=row.created_at,
        claimed_at=row.claimed_at,
        last_seen_at=row.last_seen_at,
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
