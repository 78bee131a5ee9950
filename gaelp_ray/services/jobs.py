"""Use cases of jobs: submit, read, cancel."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentStatus, check_entrypoint, check_environment, check_name
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.checkpoints import CheckpointRecord
from gaelp_ray.domain.errors import IdempotencyConflict, InvalidInput, NotFound, QueueFull
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import (
    TERMINAL,
    EndCause,
    Job,
    JobEvent,
    JobState,
    NewJob,
    check_priority,
)
from gaelp_ray.domain.resources import parse_resources
from gaelp_ray.services.transitions import move
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import events as event_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import outbox, rows
from gaelp_ray.store.jobs import JobFilter

#: Names the job whose latest checkpoint an evaluation starts from.
FROM_JOB = "from_job"


@dataclass(frozen=True)
class JobDefaults:
    """What a submission gets that leaves a thing open."""

    timeout_s: float | None
    max_retries: int
    queue_limit: int
    #: Whether this cluster can run a job in its own container image.
    runs_images: bool = False


def submit(
    tx: Connection,
    new: NewJob,
    *,
    by: Principal,
    now: datetime,
    defaults: JobDefaults,
    key: str | None = None,
) -> Job:
    """Queue a job of one of the caller's agents.

    The same ``key`` with the same submission answers the job made first; with another submission it raises
    ``IdempotencyConflict``. Raises ``QueueFull`` past the queue limit, and then nothing is stored.
    """
    agent_store.keep(tx, new.agent_id)
    found = agent_store.get(tx, new.agent_id)
    digest = _digest(new)
    if key is not None and (earlier := _submitted_before(tx, found, by, key, digest)):
        return earlier
    agent = _to_train(found, new.agent_id, by)
    _check(tx, new, by)
    if job_store.count_queued(tx, limit=defaults.queue_limit) >= defaults.queue_limit:
        raise QueueFull(
            f"{defaults.queue_limit} jobs wait already; try again later.", limit=defaults.queue_limit
        )
    job = job_store.add(
        tx,
        _columns(new, agent, by, defaults)
        | {
            "idempotency_key": key,
            "request_digest": digest if key is not None else None,
            "submitted_at": now,
        },
    )
    event_store.add(
        tx,
        job_id=job.id,
        agent_id=job.agent_id,
        event=JobEvent.SUBMIT,
        from_state=None,
        to_state=job.state,
        actor=by.user,
        now=now,
    )
    return job


def get(connection: Connection, job_id: int, *, by: Principal) -> Job:
    return visible(job_store.get(connection, job_id), job_id, by)


def visible(job: Job | None, job_id: int, by: Principal) -> Job:
    """The job if the caller may see it; else ``NotFound``."""
    if job is None:
        raise NotFound(f"There is no job {job_id}, or you may not see it.")
    by.require_owner(job.owner, f"job {job_id}")
    return job


def page(
    connection: Connection, wanted: JobFilter, *, by: Principal, before: int | None, limit: int
) -> list[Job]:
    """Jobs newest first; an admin sees everybody's."""
    if not by.admin:
        wanted = replace(wanted, owner=by.user)
    return job_store.page(connection, wanted, before=before, limit=limit)


@dataclass(frozen=True)
class Cancelled:
    job: Job
    #: The launcher that has an order to stop it, if it was live.
    launcher: str | None = None


def cancel(tx: Connection, job_id: int, *, by: Principal, now: datetime, reason: str = "") -> Cancelled:
    """Cancel a job: at once when it waits, by an order to its launcher when it is live.

    Cancelling a job that is ending or has ended changes nothing and is no error.
    """
    job = visible(job_store.lock(tx, job_id), job_id, by)
    if job.state in TERMINAL or job.state is JobState.STOPPING:
        return Cancelled(job)
    message = reason or f"Cancelled by {by.user}."
    launcher = None
    if job.state in (JobState.QUEUED, JobState.BACKOFF):
        ended = {"cause": EndCause.CANCELLED, "message": message, "not_before": None}
        ended |= {"wait_code": None, "wait_message": None}
        move(tx, job, JobEvent.CANCEL, now=now, actor=by.user, why=message, values=ended)
    else:
        move(tx, job, JobEvent.STOP, now=now, actor=by.user, why=message)
        launcher = _order_stop(tx, job, now)
    return Cancelled(get(tx, job_id, by=by), launcher)


def _order_stop(tx: Connection, job: Job, now: datetime) -> str | None:
    attempt = attempt_store.live_of_job(tx, job.id)
    if attempt is None or attempt.launcher is None:
        return None
    attempt_store.mark_stopping(tx, attempt.id, EndCause.CANCELLED)
    outbox.add(tx, launcher=attempt.launcher, kind="stop", attempt_id=attempt.id, now=now)
    return attempt.launcher


def events(
    connection: Connection, job_id: int, *, by: Principal, after: int, limit: int
) -> list[JobEventRecord]:
    get(connection, job_id, by=by)
    return event_store.of_job(connection, job_id, after=after, limit=limit)


def attempts(connection: Connection, job_id: int, *, by: Principal) -> list[Attempt]:
    get(connection, job_id, by=by)
    return attempt_store.of_job(connection, job_id)


def checkpoints(connection: Connection, job_id: int, *, by: Principal) -> list[CheckpointRecord]:
    get(connection, job_id, by=by)
    return checkpoint_store.of_job(connection, job_id)


def _submitted_before(
    tx: Connection, agent: Agent | None, by: Principal, key: str, digest: str
) -> Job | None:
    """The job that this key made. Keys belong to the owner of the jobs, whoever submits for him."""
    owner = agent.owner if agent is not None and by.may_see(agent.owner) else by.user
    job_store.lock_key(tx, owner, key)
    earlier = job_store.find_by_key(tx, owner, key)
    if earlier is None:
        return None
    job, first_digest = earlier
    if first_digest != digest:
        raise IdempotencyConflict(f"Idempotency key {key!r} came with another body before; use a new key.")
    return job


def _to_train(agent: Agent | None, agent_id: int, by: Principal) -> Agent:
    if agent is None or agent.status is AgentStatus.ARCHIVED or not by.may_see(agent.owner):
        raise NotFound(f"There is no agent {agent_id}, or you may not see it.")
    return agent


def _check(tx: Connection, new: NewJob, by: Principal) -> None:
    check_name(new.name)
    check_priority(new.priority)
    check_environment(new.environment_vars, field_name="environment_vars")
    if new.entrypoint is not None:
        check_entrypoint(new.entrypoint)
    if FROM_JOB in new.training_config:
        source = new.training_config[FROM_JOB]
        if not isinstance(source, int) or isinstance(source, bool):
            raise InvalidInput(f"`training_config.{FROM_JOB}` must be the id of a job.")
        get(tx, source, by=by)


def _columns(new: NewJob, agent: Agent, by: Principal, defaults: JobDefaults) -> dict[str, Any]:
    spec = agent.current.spec
    resources = parse_resources(new.resources, default=spec.resources) if new.resources else spec.resources
    notices: list[str] = []
    if spec.docker_image and not defaults.runs_images:
        notices.append(
            f"This cluster cannot run container images per job, so {spec.docker_image!r} is not used; the "
            f"job runs in the cluster's own environment."
        )
    return {
        "agent_id": agent.id,
        "version_id": agent.current.id,
        "owner": agent.owner,
        "name": new.name,
        "state": JobState.QUEUED,
        "priority": new.priority,
        **rows.resources_values(resources),
        "shape": resources.shape,
        "entrypoint": new.entrypoint or spec.entrypoint,
        "hyperparameters": dict(new.hyperparameters),
        "training_config": dict(new.training_config),
        "environment_vars": dict(new.environment_vars),
        "seed": new.seed,
        "timeout_s": new.timeout_s if new.timeout_s is not None else defaults.timeout_s,
        "max_retries": new.max_retries if new.max_retries is not None else defaults.max_retries,
        "notices": notices,
    }


def _digest(new: NewJob) -> str:
    body: Mapping[str, Any] = asdict(new)
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
