"""The one way a job changes state: by the table, guarded, with an event row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain.errors import Conflict
from gaelp_ray.domain.jobs import TERMINAL, Job, JobEvent, JobState, next_state
from gaelp_ray.store import events as event_store
from gaelp_ray.store import jobs as job_store


def move(
    tx: Connection,
    job: Job,
    event: JobEvent,
    *,
    now: datetime,
    actor: str = "system",
    why: str = "",
    data: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> JobState:
    """Apply ``event`` to a job whose row the caller holds, and write the columns ``values`` with it.

    Raises ``IllegalTransition`` where the table has no row and ``Conflict`` when the job has moved since.
    """
    to_state = next_state(job.state, event)
    columns = dict(values or {})
    if to_state in TERMINAL:
        columns["finished_at"] = now
    if to_state is JobState.QUEUED is not job.state:
        columns["queued_at"] = now
    if not job_store.move(tx, job.id, from_state=job.state, to_state=to_state, **columns):
        raise Conflict(f"Job {job.id} changed at the same moment; read it again.")
    event_store.add(
        tx,
        job_id=job.id,
        agent_id=job.agent_id,
        attempt=job.attempt_number or None,
        event=event,
        from_state=job.state,
        to_state=to_state,
        actor=actor,
        now=now,
        message=why,
        data=data,
    )
    return to_state
