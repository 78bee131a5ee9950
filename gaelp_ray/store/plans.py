"""A plan written to the database: many starts in a handful of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Integer, Text, Uuid


@dataclass(frozen=True)
class Admission:
    """A start as decided: the row version it was decided on, and where it goes."""

    job_id: int
    row_version: int
    node_id: str
    launcher: str
    token: UUID


# One statement, so that state, claim, order and event can only appear together. A job that changed since the
# snapshot drops out in the first step and so in all of them.
_ADMIT = text(
    """
    WITH chosen AS (
        SELECT * FROM unnest(:job_ids, :row_versions, :node_ids, :launchers, :tokens)
            AS chosen (job_id, row_version, node_id, launcher, token)
    ), admitted AS (
        UPDATE jobs
        SET state = 'admitted', row_version = jobs.row_version + 1, attempt_number = attempt_number + 1,
            wait_code = NULL, wait_message = NULL, not_before = NULL
        FROM chosen
        WHERE jobs.id = chosen.job_id AND jobs.state = 'queued' AND jobs.row_version = chosen.row_version
        RETURNING jobs.id, jobs.agent_id, jobs.attempt_number, jobs.cpu_milli, jobs.memory_bytes,
                  jobs.gpu_milli, jobs.storage_bytes, chosen.node_id, chosen.launcher, chosen.token
    ), opened AS (
        INSERT INTO attempts (job_id, number, token, cpu_milli, memory_bytes, gpu_milli, storage_bytes,
                              launcher, node_id, created_at)
        SELECT id, attempt_number, token, cpu_milli, memory_bytes, gpu_milli, storage_bytes,
               launcher, node_id, :now
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
    bindparam("launchers", type_=ARRAY(Text)),
    bindparam("tokens", type_=ARRAY(Uuid)),
)


def admit(tx: Connection, admissions: Sequence[Admission], *, now: datetime) -> set[int]:
    """Admit jobs, each with its attempt, launch order and event; returns those that were as seen."""
    if not admissions:
        return set()
    columns: dict[str, Any] = {
        "job_ids": [a.job_id for a in admissions],
        "row_versions": [a.row_version for a in admissions],
        "node_ids": [a.node_id for a in admissions],
        "launchers": [a.launcher for a in admissions],
        "tokens": [a.token for a in admissions],
    }
    return set(tx.execute(_ADMIT, {**columns, "now": now}).scalars())
