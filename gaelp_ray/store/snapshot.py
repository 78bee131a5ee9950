"""What the scheduler plans on beside the queue: claims of live attempts, paused agents, usage in the past."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, text

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.attempts import expected_ends
from gaelp_ray.domain.duties import Troubles
from gaelp_ray.domain.jobs import PRIORITY_MAX, JobState, Progress
from gaelp_ray.domain.scheduling import Claim, Part
from gaelp_ray.store import rows
from gaelp_ray.store.tables import agents, attempts, jobs

_ENDING = frozenset({JobState.PREEMPTING, JobState.STOPPING})


def claims(
    connection: Connection,
    *,
    team_of: Callable[[str], str | None],
    now: datetime,
    troubles: Troubles[str] | None = None,
) -> tuple[Claim, ...]:
    """What every live attempt holds, and when it is likely to end.

    Of one that cannot be read the amounts are taken, on the node it was planned for, and nothing is
    predicted; ``troubles`` hears of it.
    """
    query = (
        select(
            attempts.c.job_id,
            attempts.c.node_id,
            *rows.resources_columns(attempts),
            attempts.c.workers,
            attempts.c.placement,
            attempts.c.resumed_from_step,
            attempts.c.created_at,
            attempts.c.claimed_at,
            attempts.c.saved_at,
            jobs.c.owner,
            jobs.c.agent_id,
            jobs.c.state,
            jobs.c.priority,
            jobs.c.preemptible,
            jobs.c.preemptions,
            jobs.c.expected_s,
            jobs.c.expected_p90_s,
            jobs.c.timeout_s,
            jobs.c.step,
            jobs.c.total_steps,
        )
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.ended_at.is_(None))
    )
    found = []
    for row in connection.execute(query):
        try:
            found.append(_claim(row, team_of(row.owner), now))
        except Exception as error:
            if troubles is not None:
                troubles.add(f"attempt of job {row.job_id}", error)
            found.append(_bare_claim(row, team_of(row.owner)))
    return tuple(found)


def _claim(row: Row[Any], team: str | None, now: datetime) -> Claim:
    started_at = row.claimed_at or row.created_at
    expected_end, latest_end = expected_ends(
        started_at=started_at,
        now=now,
        progress=Progress(row.step, row.total_steps),
        resumed_from_step=row.resumed_from_step,
        expected_s=row.expected_s,
        expected_p90_s=row.expected_p90_s,
        timeout_s=row.timeout_s,
    )
    amount = rows.resources(row)
    parts = [Part(seat.node_id, amount, seat.gpus) for seat in rows.seats(row.placement)]
    # Without a known place it holds its amount all the same.
    parts += [Part(None, amount)] * (row.workers - len(parts))
    return Claim(
        job_id=row.job_id,
        owner=row.owner,
        team=team,
        agent_id=row.agent_id,
        priority=row.priority,
        preemptible=row.preemptible,
        parts=tuple(parts),
        started_at=started_at,
        saved_at=row.saved_at,
        expected_end=expected_end,
        latest_end=latest_end,
        preemptions=row.preemptions,
        ending=JobState(row.state) in _ENDING,
    )


def _bare_claim(row: Row[Any], team: str | None) -> Claim:
    """A claim of which only the amounts are known. Nobody is asked to stop for another on so little."""
    return Claim(
        job_id=row.job_id,
        owner=row.owner,
        team=team,
        agent_id=row.agent_id,
        priority=PRIORITY_MAX,
        preemptible=False,
        parts=(Part(row.node_id, rows.resources(row)),) * row.workers,
        started_at=row.created_at,
    )


def leaving(connection: Connection, *, since: datetime) -> tuple[Part, ...]:
    """What attempts held that have ended since."""
    query = select(
        attempts.c.node_id, *rows.resources_columns(attempts), attempts.c.workers, attempts.c.placement
    ).where(attempts.c.ended_at > since)
    found: list[Part] = []
    for row in connection.execute(query):
        amount = rows.resources(row)
        nodes = [seat.get("node_id") for seat in row.placement if isinstance(seat, dict)]
        nodes += [row.node_id] * (row.workers - len(nodes))
        found += [Part(node_id, amount) for node_id in nodes]
    return tuple(found)


def paused_agents(connection: Connection) -> frozenset[int]:
    query = select(agents.c.id).where(agents.c.status == AgentStatus.PAUSED)
    return frozenset(connection.execute(query).scalars())


# power() fails where its result is too small for a float; after 60 half-lives nothing is left anyway.
_USED = text(
    """
    SELECT owner, sum(cpu_milli * share) AS cpu, sum(memory_bytes * share) AS memory,
           sum(gpu_milli * share) AS gpu
    FROM (
        SELECT jobs.owner, attempts.cpu_milli, attempts.memory_bytes, attempts.gpu_milli,
               attempts.workers * (
                   power(2, greatest(-60, -extract(epoch FROM :now - ended_at)::float8 / :half_life_s))
                   - power(2, greatest(-60, -extract(epoch FROM :now - created_at)::float8 / :half_life_s))
               ) AS share
        FROM attempts
        JOIN jobs ON jobs.id = attempts.job_id
        WHERE ended_at > :since AND ended_at <= :until
    ) AS shares
    GROUP BY owner
    """
)


def used(
    connection: Connection, *, since: datetime, until: datetime, now: datetime, half_life: timedelta
) -> dict[str, tuple[float, float, float]]:
    """What attempts that ended after ``since`` and up to ``until`` add to their owners' decayed usage.

    CPU, memory and GPU, as the average over all the past of what was held, where a moment ``x`` ago weighs
    ``2**(-x/h)`` with the half-life ``h``. An attempt that held R from a to b adds, at time t,

        R * integral(a..b) 2**(-(t-s)/h) ds / integral(-inf..t) 2**(-(t-s)/h) ds
        = R * (2**(-(t-b)/h) - 2**(-(t-a)/h))
    """
    given = {"since": since, "until": until, "now": now, "half_life_s": half_life.total_seconds()}
    return {
        row.owner: (float(row.cpu), float(row.memory), float(row.gpu))
        for row in connection.execute(_USED, given)
    }
