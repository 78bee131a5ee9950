"""What the scheduler plans on: the queue's heads and the claims of live attempts."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Claim, QueuedJob, WaitCode
from gaelp_ray.store import rows
from gaelp_ray.store.tables import attempts

#: Heads read per shape of request: a tick never reads the whole queue, and a shape that cannot start
#: never hides one that can.
HEADS_PER_SHAPE = 200

# Distinct shapes by skipping through the queue's index (PostgreSQL wiki, "Loose indexscan"), then the heads
# of each.
_QUEUE = text(
    """
    WITH RECURSIVE shapes AS (
        (SELECT shape FROM jobs WHERE state = 'queued' ORDER BY shape LIMIT 1)
        UNION ALL
        SELECT (SELECT shape FROM jobs WHERE state = 'queued' AND shape > shapes.shape ORDER BY shape LIMIT 1)
        FROM shapes WHERE shapes.shape IS NOT NULL
    )
    SELECT head.*
    FROM shapes
    CROSS JOIN LATERAL (
        SELECT jobs.id, row_version, priority, submitted_at, agent_id, wait_code,
               cpu_milli, memory_bytes, gpu_milli, storage_bytes, agents.status = :active AS agent_active
        FROM jobs
        JOIN agents ON agents.id = jobs.agent_id
        -- A paused agent's jobs are heads until they were told so; then they stand in nobody's way.
        WHERE state = 'queued' AND shape = shapes.shape
            AND (agents.status = :active OR wait_code IS DISTINCT FROM :on_hold)
        ORDER BY priority DESC, submitted_at, jobs.id
        LIMIT :heads
    ) AS head
    """
)


def queue(connection: Connection, *, heads: int = HEADS_PER_SHAPE) -> tuple[QueuedJob, ...]:
    """The first ``heads`` waiting jobs of every shape, without those that know they are on hold."""
    found = connection.execute(
        _QUEUE, {"active": AgentStatus.ACTIVE, "on_hold": WaitCode.ON_HOLD, "heads": heads}
    )
    return tuple(
        QueuedJob(
            id=row.id,
            row_version=row.row_version,
            priority=row.priority,
            submitted_at=row.submitted_at,
            resources=Resources(row.cpu_milli, row.memory_bytes, row.gpu_milli, row.storage_bytes),
            agent_active=row.agent_active,
            wait_code=row.wait_code,
        )
        for row in found
    )


def claims(connection: Connection) -> tuple[Claim, ...]:
    """What every live attempt holds."""
    query = select(attempts.c.job_id, attempts.c.node_id, *rows.resources_columns(attempts)).where(
        attempts.c.ended_at.is_(None)
    )
    return tuple(Claim(row.job_id, row.node_id, rows.resources(row)) for row in connection.execute(query))
