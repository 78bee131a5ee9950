"""Use cases of jobs: read, edit, cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.checkpoints import CheckpointRecord
from gaelp_ray.domain.errors import BudgetExceeded, NotFound
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import (
    TERMINAL,
    EndCause,
    Job,
    JobEdit,
    JobEvent,
    JobState,
    check_deadline,
    check_priority,
    check_retries,
    check_seconds,
)
from gaelp_ray.domain.scheduling import lane_of, real_version
from gaelp_ray.services import audit, forecasts
from gaelp_ray.services.forecasts import MAY_COST, JobDefaults
from gaelp_ray.services.transitions import move
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import events as event_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import outbox
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store.jobs import JobFilter


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


#: What of a job its forecast depends on.
_FORECAST_FROM = frozenset({"guess_s", "timeout_s"})
#: What is written beside a change, and not told as a part of it.
_UNTOLD = frozenset({"lane", "notices", "guess_s"})


def edit(
    tx: Connection,
    job_id: int,
    change: JobEdit,
    *,
    by: Principal,
    now: datetime,
    defaults: JobDefaults,
) -> Job:
    """Change a job that waits. It keeps its place by time of submission.

    What is cleared becomes what a submission gets that leaves it open. A change of how long the job may run
    makes its forecast anew; raises ``BudgetExceeded`` where it would cost more than before and more than is
    left, and such jobs are refused.
    """
    job = visible(job_store.lock(tx, job_id), job_id, by)
    values = _edited(change, now, defaults)
    asked = values.keys() - _UNTOLD
    if _FORECAST_FROM & values.keys():
        values |= _forecast(tx, job, values, defaults, now)
    if values:
        as_it_will_be = replace(job, **values)
        values["lane"] = lane_of(
            owner=job.owner,
            team=None,
            agent_id=job.agent_id,
            priority=as_it_will_be.priority,
            request=job.request,
            preemptible=as_it_will_be.preemptible,
            expected_s=as_it_will_be.expected_s,
            real_version=real_version(job.money, job.version_id),
        )
        told = {
            name: _plain(value)
            for name, value in values.items()
            if name in asked or (name not in _UNTOLD and value != getattr(job, name))
        }
        move(tx, job, JobEvent.EDIT, now=now, actor=by.user, data=told, values=values)
        before = {name: _plain(getattr(job, name)) for name in told}
        audit.record(tx, "job.edit", f"job {job.id}", by=by, now=now, before=before, after=told)
    return get(tx, job_id, by=by)


def _edited(change: JobEdit, now: datetime, defaults: JobDefaults) -> dict[str, Any]:
    """The columns that a change writes."""
    values: dict[str, Any] = {
        "priority": None if change.priority is None else check_priority(change.priority),
        "preemptible": change.preemptible,
        "timeout_s": None
        if change.timeout_s is None
        else check_seconds(change.timeout_s, field_name="timeout_seconds"),
        "max_retries": None if change.max_retries is None else check_retries(change.max_retries),
        "deadline": None if change.deadline is None else check_deadline(change.deadline, now),
        "guess_s": None
        if change.expected_duration_s is None
        else check_seconds(change.expected_duration_s, field_name="expected_duration_seconds"),
    }
    cleared: dict[str, dict[str, Any]] = {
        "deadline": {"deadline": None},
        "timeout_s": {"timeout_s": defaults.timeout_s},
        "max_retries": {"max_retries": defaults.max_retries},
        "expected_duration_s": {"guess_s": None},
    }
    written = {name: value for name, value in values.items() if value is not None}
    for name in change.cleared:
        written |= cleared[name]
    return written


def _forecast(
    tx: Connection, job: Job, values: dict[str, Any], defaults: JobDefaults, now: datetime
) -> dict[str, Any]:
    """What the forecast of a changed job writes, its notice among it."""
    # A job of an earlier release does not say whether its run time was guessed; what it has goes on.
    kept_s = job.guess_s if job.guess_s is not None else job.expected_s
    found = forecasts.of_job(
        tx,
        job.agent_id,
        guess_s=values.get("guess_s", kept_s),
        timeout_s=values.get("timeout_s", job.timeout_s),
        request=job.request,
        terms=defaults.terms,
    )
    team = quota_store.book_of(tx, job.owner).team_of(job.owner)
    words = forecasts.shortage(tx, found, owner=job.owner, team=team, terms=defaults.terms, now=now)
    before = job.expected_p90_cost_micros or job.expected_cost_micros or 0
    if words is not None and defaults.refuses_dear_jobs and (found.most_micros or 0) > before:
        raise BudgetExceeded(words, expected_p90_micros=found.most_micros)
    notices = [notice for notice in job.notices if not notice.startswith(MAY_COST)]
    return {
        "expected_s": found.expected_s,
        "expected_p90_s": found.expected_p90_s,
        "expected_cost_micros": found.cost_micros,
        "expected_p90_cost_micros": found.p90_cost_micros,
        "notices": [*notices, words] if words is not None else notices,
    }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


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
    launcher = _cancel(tx, job, by, now, reason)
    cancelled = Cancelled(get(tx, job_id, by=by), launcher)
    _audit_cancel(tx, [job], by, now, reason)
    return cancelled


@dataclass(frozen=True)
class CancelledMany:
    #: In order; there may be more when there are as many as the limit.
    ids: tuple[int, ...]
    #: Launchers with orders to stop some of them.
    launchers: frozenset[str]


def cancel_many(
    tx: Connection, wanted: JobFilter, *, by: Principal, now: datetime, limit: int | None, reason: str = ""
) -> CancelledMany:
    """Cancel the first ``limit`` jobs of a kind that have not ended, or all, in the order of their ids."""
    if not by.admin:
        wanted = replace(wanted, owner=by.user)
    jobs = job_store.lock_unended(tx, wanted, limit=limit)
    launchers = {_cancel(tx, job, by, now, reason) for job in jobs}
    _audit_cancel(tx, jobs, by, now, reason)
    return CancelledMany(tuple(job.id for job in jobs), frozenset(name for name in launchers if name))


def _audit_cancel(tx: Connection, jobs: Sequence[Job], by: Principal, now: datetime, reason: str) -> None:
    """One record of all: it comes last, so that no job is waited for behind the end of the chain."""
    if jobs:
        named = f"job {jobs[0].id}" if len(jobs) == 1 else f"{len(jobs)} jobs"
        after = {"jobs": [job.id for job in jobs], "reason": reason or None}
        audit.record(tx, "job.cancel", named, by=by, now=now, after=after)


def _cancel(tx: Connection, job: Job, by: Principal, now: datetime, reason: str) -> str | None:
    """Cancel a job that has not ended; returns the launcher that has an order to stop it."""
    message = reason or f"Cancelled by {by.user}."
    if job.state in (JobState.QUEUED, JobState.BACKOFF):
        ended = {"cause": EndCause.CANCELLED, "message": message, "not_before": None}
        move(tx, job, JobEvent.CANCEL, now=now, actor=by.user, why=message, values=ended)
        return None
    move(tx, job, JobEvent.STOP, now=now, actor=by.user, why=message)
    return _order_stop(tx, job, now)


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
