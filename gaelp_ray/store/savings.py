"""What ran on spot nodes, for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from gaelp_ray.domain.resources import Resources
from gaelp_ray.store import rows
from gaelp_ray.store.tables import attempts, jobs


@dataclass(frozen=True)
class SpotRun:
    """The attempts of an agent that held the same, taken together."""

    owner: str
    agent_id: int
    #: What the job says of its accelerator, as a condition of a label selector.
    accelerator: str | None
    #: Of all workers.
    resources: Resources
    lifetime: timedelta


def spot_runs(
    connection: Connection,
    *,
    owner: str | None,
    accelerator_label: str,
    since: datetime,
    until: datetime,
    now: datetime,
) -> list[SpotRun]:
    """The parts of attempts on spot nodes that lie between two times; ``owner`` None means everybody's."""
    held = [column * attempts.c.workers for column in rows.resources_columns(attempts)]
    accelerator = jobs.c.selector[accelerator_label].astext
    ended = func.coalesce(attempts.c.ended_at, now)
    lifetime = func.least(ended, until) - func.greatest(attempts.c.created_at, since)
    kind = [jobs.c.owner, jobs.c.agent_id, accelerator, *held]
    query = (
        select(*kind, func.sum(lifetime))
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.spot, attempts.c.created_at < until, ended > since)
        .group_by(*kind)
        .order_by(*kind)
    )
    if owner is not None:
        query = query.where(jobs.c.owner == owner)
    found = connection.execute(query)
    return [
        SpotRun(user, agent_id, label, Resources(*map(int, amounts)), lasted)
        for user, agent_id, label, *amounts, lasted in found
    ]
