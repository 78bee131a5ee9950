"""The whole system at a glance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import Connection

from gaelp_ray.domain.jobs import JobState, public_status
from gaelp_ray.domain.resources import Resources
from gaelp_ray.services import duties, scheduling
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store.leases import Lease


@dataclass(frozen=True)
class Status:
    jobs: dict[str, int]
    phases: dict[str, int]
    agents_by_type: dict[str, int]
    claimed: Resources
    leader: Lease | None
    #: Items of each duty that wait to be tried again; duties without any are left out.
    set_aside: dict[str, int] = field(default_factory=dict)


def status(connection: Connection) -> Status:
    phases = {str(state): 0 for state in JobState} | job_store.count_by_state(connection)
    by_status: Counter[str] = Counter()
    for phase, count in phases.items():
        by_status[public_status(JobState(phase))] += count
    return Status(
        jobs=dict(by_status),
        phases=phases,
        agents_by_type=agent_store.count_by_type(connection),
        claimed=attempt_store.held(connection),
        leader=scheduling.leader(connection),
        set_aside=duties.counts(connection),
    )
