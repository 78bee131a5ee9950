"""Completed jobs that evidence is read from, and approvals that people gave."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, update

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.approvals import Approval, NewApproval
from gaelp_ray.domain.jobs import JobState, NewJob
from gaelp_ray.domain.promotion import Evidence
from gaelp_ray.domain.roles import Role
from gaelp_ray.services import approvals, promotions, roles, submissions
from gaelp_ray.services.promotions import NamedRuns
from gaelp_ray.services.submissions import JobDefaults
from gaelp_ray.store import tables
from gaelp_ray.store.engine import Store
from tests.builders import ADMIN, ANN

DAY = timedelta(days=1)
APPROVERS = (Principal("dan"), Principal("eve"))
#: What an evaluation leaves that shows what is asked for where no policy says.
WELL_DONE: Mapping[str, Any] = {"days": 20, "difference": 2.0, "lower": 1.0, "upper": 3.0}

DEFAULTS = JobDefaults(timeout_s=None, max_retries=0, queue_limit=1_000_000, user_queue_limit=1_000_000)


def a_completed_job(
    tx: Connection, agent_id: int, version_id: int, result: Mapping[str, Any], *, by: Principal, now: datetime
) -> int:
    """The id of a job of a version that ended with a result, as if it had run."""
    new = NewJob(agent_id=agent_id, name="run", seed=int(result.get("seed", 0)))
    job = submissions.submit(tx, new, by=by, now=now, defaults=DEFAULTS)
    ended = {
        "state": JobState.SUCCEEDED,
        "version_id": version_id,
        "result": dict(result),
        "finished_at": now,
    }
    tx.execute(update(tables.jobs).where(tables.jobs.c.id == job.id).values(**ended))
    return job.id


def record(
    store: Store,
    agent_id: int,
    version_id: int,
    *,
    by: Principal = ANN,
    now: datetime,
    recorder: Principal | None = None,
    **result: Any,
) -> Evidence:
    """Evidence from an evaluation of a version, which shows enough unless ``result`` says otherwise."""
    job = store.transact(a_completed_job, agent_id, version_id, {**WELL_DONE, **result}, by=by, now=now)
    named = NamedRuns(jobs=[job], baseline="best fixed bid")
    return store.transact(promotions.record_runs, version_id, named, by=recorder or by, now=now)


def approved(
    store: Store,
    new: NewApproval,
    *,
    now: datetime,
    asks: Principal = ANN,
    voters: tuple[Principal, ...] = APPROVERS,
) -> Approval:
    """An approval that these people gave, each with the role or as an admin."""
    asked = store.transact(approvals.request, new, by=asks, now=now)
    for by in voters:
        if not by.admin:
            store.transact(roles.grant, by.user, Role.APPROVER, by=ADMIN, now=now)
        given: dict[str, Any] = {"approves": True, "reason": "ok", "by": by, "now": now}
        asked = store.transact(approvals.vote, asked.id, **given)
    return asked
