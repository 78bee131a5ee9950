"""A plan written to the database: many starts and stops in a handful of statements."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Integer, Text, Uuid

from gaelp_ray.domain.attempts import Seat
from gaelp_ray.domain.scheduling import Preemption
from gaelp_ray.store import rows


@dataclass(frozen=True)
class Admission:
    """A start as decided: the row version it was decided on, and where it goes."""

    job_id: int
    row_version: int
    placement: tuple[Seat, ...]
    #: A node of it is a spot node.
    spot: bool
    launcher: str
    token: UUID
    #: What an hour of it costs; money is held for its first slice, unless it is free.
    hour_micros: int = 0


# One statement, so that state, claim, order and event can only appear together. A job that changed since the
# snapshot drops out in the first step and so in all of them.
_ADMIT = text(
    """
    WITH chosen AS (
        SELECT * FROM unnest(:job_ids, :row_versions, :node_ids, :placements, :spots, :launchers, :tokens,
                             :hours)
            AS chosen (job_id, row_version, node_id, placement, spot, launcher, token, hour_micros)
    ), admitted AS (
        UPDATE jobs
        SET state = 'admitted', row_version = jobs.row_version + 1, attempt_number = attempt_number + 1,
            not_before = NULL
        FROM chosen
        WHERE jobs.id = chosen.job_id AND jobs.state = 'queued' AND jobs.row_version = chosen.row_version
        RETURNING jobs.id, jobs.agent_id, jobs.attempt_number, jobs.cpu_milli, jobs.memory_bytes,
                  jobs.gpu_milli, jobs.storage_bytes, jobs.workers, chosen.node_id, chosen.placement,
                  chosen.spot, chosen.launcher, chosen.token, chosen.hour_micros
    ), opened AS (
        INSERT INTO attempts (job_id, number, token, cpu_milli, memory_bytes, gpu_milli, storage_bytes,
                              workers, launcher, node_id, placement, spot, hour_micros, slices, created_at)
        SELECT id, attempt_number, token, cpu_milli, memory_bytes, gpu_milli, storage_bytes,
               workers, launcher, node_id, CAST(placement AS jsonb), spot, hour_micros,
               CASE WHEN hour_micros > 0 THEN 1 ELSE 0 END, :now
        FROM admitted
        RETURNING id, job_id, launcher
    ), ordered AS (
        INSERT INTO outbox (launcher, kind, attempt_id, created_at)
        SELECT launcher, 'launch', id, :now FROM opened
    ), told AS (
        INSERT INTO job_events (job_id, agent_id, attempt, event, from_state, to_state, actor, at)
        SELECT id, agent_id, attempt_number, 'admit', 'queued', 'admitted', 'system', :now FROM admitted
    )
    SELECT job_id FROM opened
    """
).bindparams(
    bindparam("job_ids", type_=ARRAY(BigInteger)),
    bindparam("row_versions", type_=ARRAY(Integer)),
    bindparam("node_ids", type_=ARRAY(Text)),
    bindparam("placements", type_=ARRAY(Text)),
    bindparam("spots", type_=ARRAY(Boolean)),
    bindparam("launchers", type_=ARRAY(Text)),
    bindparam("tokens", type_=ARRAY(Uuid)),
    bindparam("hours", type_=ARRAY(BigInteger)),
)


def admit(tx: Connection, admissions: Sequence[Admission], *, now: datetime) -> set[int]:
    """Admit jobs, each with its attempt, launch order and event; returns those that were as seen."""
    if not admissions:
        return set()
    columns: dict[str, Any] = {
        "job_ids": [a.job_id for a in admissions],
        "row_versions": [a.row_version for a in admissions],
        "node_ids": [a.placement[0].node_id for a in admissions],
        "placements": [json.dumps(rows.placement(a.placement)) for a in admissions],
        "spots": [a.spot for a in admissions],
        "launchers": [a.launcher for a in admissions],
        "tokens": [a.token for a in admissions],
        "hours": [a.hour_micros for a in admissions],
    }
    return set(tx.execute(_ADMIT, {**columns, "now": now}).scalars())


# One statement for the same reason. A job that has ended or is stopping already drops out in the first step.
_PREEMPT = text(
    """
    WITH chosen AS (
        SELECT * FROM unnest(:job_ids, :messages, :data) AS chosen (job_id, message, data)
    ), live AS (
        SELECT jobs.id, jobs.state, chosen.message, chosen.data
        FROM jobs JOIN chosen ON chosen.job_id = jobs.id
        WHERE jobs.state IN ('admitted', 'starting', 'running')
        FOR NO KEY UPDATE OF jobs
    ), told AS (
        UPDATE jobs SET state = 'preempting', row_version = row_version + 1
        FROM live WHERE jobs.id = live.id
        RETURNING jobs.id, jobs.agent_id, jobs.attempt_number, live.state AS from_state, live.message,
                  live.data
    ), stopped AS (
        UPDATE attempts SET stop_cause = 'preempted'
        FROM told WHERE attempts.job_id = told.id AND attempts.ended_at IS NULL
        RETURNING attempts.id, attempts.job_id, attempts.launcher
    ), ordered AS (
        INSERT INTO outbox (launcher, kind, attempt_id, created_at)
        SELECT launcher, 'stop', id, :now FROM stopped
    ), noted AS (
        INSERT INTO job_events (job_id, agent_id, attempt, event, from_state, to_state, actor, message, data,
                                at)
        SELECT id, agent_id, attempt_number, 'preempt', from_state, 'preempting', 'system', message,
               CAST(data AS jsonb), :now
        FROM told
    )
    SELECT job_id, launcher FROM stopped
    """
).bindparams(
    bindparam("job_ids", type_=ARRAY(BigInteger)),
    bindparam("messages", type_=ARRAY(Text)),
    bindparam("data", type_=ARRAY(Text)),
)


def preempt(tx: Connection, preemptions: Sequence[Preemption], *, now: datetime) -> dict[int, str]:
    """Tell live jobs to make room; returns those that could be told, each with its launcher."""
    if not preemptions:
        return {}
    columns: dict[str, Any] = {
        "job_ids": [p.job_id for p in preemptions],
        "messages": [p.message for p in preemptions],
        "data": [json.dumps({"reason": p.reason, "for_job": p.for_job_id}) for p in preemptions],
    }
    found = tx.execute(_PREEMPT, {**columns, "now": now})
    return {row.job_id: row.launcher for row in found}
