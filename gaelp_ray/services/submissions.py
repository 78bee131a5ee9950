"""Use cases of submissions: a job is checked, forecast and queued, or only drafted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain import ids
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentStatus, check_entrypoint, check_environment, check_name
from gaelp_ray.domain.checkpoints import FROM_JOB
from gaelp_ray.domain.errors import (
    BudgetExceeded,
    ExceedsQuota,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    QueueFull,
)
from gaelp_ray.domain.forecast import Forecast
from gaelp_ray.domain.jobs import (
    TERMINAL,
    Job,
    JobEvent,
    JobState,
    NewJob,
    check_deadline,
    check_priority,
    check_seconds,
)
from gaelp_ray.domain.quotas import UNLIMITED, Amounts, QuotaBook
from gaelp_ray.domain.requests import Request, Spot, check_selector, check_workers
from gaelp_ray.domain.resources import parse_resources
from gaelp_ray.domain.scheduling import QueuedJob, lane_of, real_version
from gaelp_ray.services import forecasts, jobs, spending
from gaelp_ray.services.forecasts import JobDefaults
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import events as event_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import queue as queue_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store import rows

#: When to try again when the queue is full.
RETRY_AFTER_S = 5


@dataclass(frozen=True)
class Draft:
    """A submission that is not stored."""

    #: As the planner would see it.
    job: QueuedJob
    forecast: Forecast
    #: What its user would be told.
    notices: tuple[str, ...]


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
    ``IdempotencyConflict``. Raises ``ExceedsQuota`` for what no quota will ever allow and ``QueueFull`` past
    the limit of the queue or the user's part of it; then nothing is stored.
    """
    agent_store.keep(tx, new.agent_id)
    stored = agent_store.get(tx, new.agent_id)
    digest = _digest(new)
    if key is not None and (earlier := _submitted_before(tx, stored, by, key, digest)):
        return earlier
    agent = _to_train(stored, new.agent_id, by)
    asked = _check(tx, new, agent, by, now)
    quotas = _allowed(tx, agent.owner, asked)
    _check_room(tx, agent.owner, quotas, defaults, now)
    found = _forecast(tx, new, asked, agent, defaults)
    columns = _columns(new, asked, agent, defaults, found)
    columns["notices"] += _too_dear(tx, found, agent, quotas, defaults, now)
    job = job_store.add(
        tx,
        columns
        | {
            "account_id": spending.account_for(tx, agent, new.money, now=now),
            "idempotency_key": key,
            "request_digest": digest if key is not None else None,
            "submitted_at": now,
            "queued_at": now,
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


def draft(
    connection: Connection, new: NewJob, *, by: Principal, now: datetime, defaults: JobDefaults
) -> Draft:
    """The waiting job that ``submit`` would make; stores nothing.

    Raises what ``submit`` would raise, but for a full queue. Its id is 0.
    """
    agent = _to_train(agent_store.get(connection, new.agent_id), new.agent_id, by)
    asked = _check(connection, new, agent, by, now)
    quotas = _allowed(connection, agent.owner, asked)
    found = _forecast(connection, new, asked, agent, defaults)
    columns = _columns(new, asked, agent, defaults, found)
    notices = (*columns["notices"], *_too_dear(connection, found, agent, quotas, defaults, now))
    job = QueuedJob(
        id=0,
        row_version=0,
        lane=columns["lane"],
        owner=agent.owner,
        team=quotas.team_of(agent.owner),
        agent_id=agent.id,
        priority=new.priority,
        submitted_at=now,
        queued_at=now,
        request=asked,
        preemptible=new.preemptible,
        expected_s=columns["expected_s"],
        expected_p90_s=columns["expected_p90_s"],
        deadline=new.deadline,
        real_version=real_version(new.money, agent.current.id),
    )
    return Draft(job, found, notices)


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


def _check(connection: Connection, new: NewJob, agent: Agent, by: Principal, now: datetime) -> Request:
    """Raise ``InvalidInput`` for what can never run; returns what the job asks of the cluster."""
    check_name(new.name)
    check_priority(new.priority)
    check_environment(new.environment_vars, field_name="environment_vars")
    if new.entrypoint is not None:
        check_entrypoint(new.entrypoint)
    if new.deadline is not None:
        check_deadline(new.deadline, now)
    if new.expected_duration_s is not None:
        check_seconds(new.expected_duration_s, field_name="expected_duration_seconds")
    if new.timeout_s is not None:
        check_seconds(new.timeout_s, field_name="timeout_seconds")
    if FROM_JOB in new.training_config:
        source = new.training_config[FROM_JOB]
        if not isinstance(source, int) or ids.known(source) is None:
            raise InvalidInput(f"`training_config.{FROM_JOB}` must be the id of a job, a whole number.")
        _check_source(connection, jobs.get(connection, source, by=by))
    spec = agent.current.spec
    return Request(
        parse_resources(new.resources, default=spec.resources) if new.resources else spec.resources,
        check_workers(new.workers),
        check_selector(new.label_selector),
        new.spot or (Spot.PREFER if new.preemptible else Spot.AVOID),
    )


def _check_source(connection: Connection, source: Job) -> None:
    """Raise ``InvalidInput`` where there is nothing to start from: that would be a fresh start unasked."""
    if not checkpoint_store.of_job(connection, source.id):
        what = f"ended as {source.status}" if source.state in TERMINAL else f"is {source.status}"
        raise InvalidInput(
            f"`training_config.{FROM_JOB}`: job {source.id} {what} and has no checkpoint to start from; "
            f"name one that has, or leave it out."
        )


def _allowed(connection: Connection, owner: str, asked: Request) -> QuotaBook:
    """The quotas that bind a user; raises ``ExceedsQuota`` for what they never allow him."""
    quotas = quota_store.book_of(connection, owner)
    never = quotas.never_fits(owner, Amounts.of(asked.total))
    if never is not None:
        raise ExceedsQuota(
            f"The job can never run: {never.sentence()}",
            field=never.field,
            limit=never.limit,
            asked=never.asked,
            whose=never.whose,
        )
    return quotas


def _check_room(
    connection: Connection, owner: str, quotas: QuotaBook, defaults: JobDefaults, now: datetime
) -> None:
    """Raise ``QueueFull`` where the user, his team or everybody has as many jobs waiting as may wait."""
    own = quotas.user(owner)
    limit = own.queued if own.queued < UNLIMITED else defaults.user_queue_limit
    _refuse_past(limit, queue_store.waiting_of(connection, [owner], limit=limit), f"user {owner}")
    limit = quotas.team(own.team).queued if own.team is not None else UNLIMITED
    if own.team is not None and limit < UNLIMITED:
        members = [member.name for member in quotas.members(own.team)]
        _refuse_past(limit, queue_store.waiting_of(connection, members, limit=limit), f"team {own.team}")
    limit = defaults.queue_limit
    _refuse_past(limit, queue_store.waiting(connection, limit=limit, now=now), "everybody")


def _refuse_past(limit: int, waiting: int, whose: str) -> None:
    if waiting >= limit:
        raise QueueFull(
            f"{waiting} jobs of {whose} wait already, and no more than {limit} may; try again later.",
            limit=limit,
            waiting=waiting,
            scope=whose,
            retry_after_s=RETRY_AFTER_S,
        )


def _columns(
    new: NewJob, asked: Request, agent: Agent, defaults: JobDefaults, found: Forecast
) -> dict[str, Any]:
    spec = agent.current.spec
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
        **rows.resources_values(asked.resources),
        "workers": asked.workers,
        "selector": dict(asked.selector),
        "spot": asked.spot,
        "preemptible": new.preemptible,
        "lane": lane_of(
            owner=agent.owner,
            # An owner has one team at a time, so it adds nothing; and he may change it while his jobs wait.
            team=None,
            agent_id=agent.id,
            priority=new.priority,
            request=asked,
            preemptible=new.preemptible,
            expected_s=found.expected_s,
            real_version=real_version(new.money, agent.current.id),
        ),
        "guess_s": new.expected_duration_s,
        "expected_s": found.expected_s,
        "expected_p90_s": found.expected_p90_s,
        "expected_cost_micros": found.cost_micros,
        "expected_p90_cost_micros": found.p90_cost_micros,
        "deadline": new.deadline,
        "entrypoint": new.entrypoint or spec.entrypoint,
        "hyperparameters": dict(new.hyperparameters),
        "training_config": dict(new.training_config),
        "environment_vars": dict(new.environment_vars),
        "seed": new.seed,
        "timeout_s": _timeout_s(new, defaults),
        "max_retries": new.max_retries if new.max_retries is not None else defaults.max_retries,
        "notices": notices,
        "money": new.money,
    }


def _timeout_s(new: NewJob, defaults: JobDefaults) -> float | None:
    return new.timeout_s if new.timeout_s is not None else defaults.timeout_s


def _forecast(
    connection: Connection, new: NewJob, asked: Request, agent: Agent, defaults: JobDefaults
) -> Forecast:
    return forecasts.of_job(
        connection,
        agent.id,
        guess_s=new.expected_duration_s,
        timeout_s=_timeout_s(new, defaults),
        request=asked,
        terms=defaults.terms,
    )


def _too_dear(
    connection: Connection,
    found: Forecast,
    agent: Agent,
    quotas: QuotaBook,
    defaults: JobDefaults,
    now: datetime,
) -> list[str]:
    """A notice where a job may cost more than is left; raises ``BudgetExceeded`` where such are refused."""
    team = quotas.team_of(agent.owner)
    words = forecasts.shortage(connection, found, owner=agent.owner, team=team, terms=defaults.terms, now=now)
    if words is not None and defaults.refuses_dear_jobs:
        raise BudgetExceeded(words, expected_p90_micros=found.most_micros)
    return [words] if words is not None else []


#: Fields that a digest always has. One that was added since is left out at its default, so that a body that
#: was sent before has the digest that was stored of it.
_ALWAYS = frozenset(
    {
        "agent_id", "name", "priority", "hyperparameters", "training_config", "entrypoint", "resources",
        "environment_vars", "seed", "timeout_s", "max_retries", "workers", "label_selector", "spot",
        "preemptible", "deadline", "expected_duration_s", "money",
    }
)  # fmt: skip


def _digest(new: NewJob) -> str:
    sent, bare = asdict(new), asdict(NewJob(agent_id=new.agent_id, name=new.name))
    body = {name: value for name, value in sent.items() if name in _ALWAYS or value != bare[name]}
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
