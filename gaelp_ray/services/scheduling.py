"""The scheduler's use cases: lead, look, apply, wake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from gaelp_ray.domain.errors import Conflict
from gaelp_ray.domain.jobs import JobEvent
from gaelp_ray.domain.scheduling import Node, Plan, Snapshot
from gaelp_ray.services.transitions import move
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import launchers as launcher_store
from gaelp_ray.store import leases, plans, snapshot
from gaelp_ray.store.leases import Lease
from gaelp_ray.store.plans import Admission

LEASE = "scheduler"


def lead(tx: Connection, holder: str, *, epoch: int | None, ttl: timedelta, now: datetime) -> Lease | None:
    """Renew the lease of ``epoch``, or take it; None while another scheduler leads."""
    return leases.acquire(tx, LEASE, holder, epoch=epoch, ttl=ttl, now=now)


def resign(tx: Connection, holder: str, *, now: datetime) -> None:
    leases.release(tx, LEASE, holder, now=now)


def leader(connection: Connection) -> Lease | None:
    return leases.get(connection, LEASE)


def look(connection: Connection, nodes: tuple[Node, ...]) -> Snapshot:
    """Everything a plan is made from."""
    return Snapshot(nodes=nodes, claims=snapshot.claims(connection), queue=snapshot.queue(connection))


def launcher_loads(connection: Connection, cluster: str) -> dict[str, int]:
    return launcher_store.loads(connection, cluster)


@dataclass(frozen=True)
class Applied:
    """What of a plan came true."""

    started: frozenset[int]
    #: Jobs that had changed since the snapshot; the next tick sees them as they are.
    dropped: frozenset[int]
    #: Launchers with new orders.
    launchers: frozenset[str]


def apply(
    tx: Connection,
    plan: Plan,
    *,
    holder: str,
    epoch: int,
    loads: Mapping[str, int],
    make_token: Callable[[], UUID],
    now: datetime,
) -> Applied:
    """Write a plan: state, claim, launch order and event of each start together, and the reasons of waits.

    Each start goes to the launcher with the fewest live attempts (``loads``: launcher -> attempts).
    Raises ``Conflict`` when ``epoch`` no longer leads; then nothing is written.
    """
    if not leases.hold(tx, LEASE, holder, epoch):
        raise Conflict("Another scheduler leads now; this plan is void.")
    admissions = _assign(plan, loads, make_token)
    started = plans.admit(tx, admissions, now=now)
    changed = [(w.job.id, str(w.code), w.message) for w in plan.waits if w.job.wait_code != w.code]
    job_store.set_waits(tx, changed)
    return Applied(
        started=frozenset(started),
        dropped=frozenset(a.job_id for a in admissions) - started,
        launchers=frozenset(a.launcher for a in admissions if a.job_id in started),
    )


def wake_due(tx: Connection, *, now: datetime) -> int:
    """Put jobs back in the queue whose backoff is over."""
    due = job_store.wake_due(tx, now)
    for job in due:
        move(tx, job, JobEvent.WAKE, now=now, values={"not_before": None})
    return len(due)


def _assign(plan: Plan, loads: Mapping[str, int], make_token: Callable[[], UUID]) -> list[Admission]:
    """Spread starts over launchers; without a launcher nothing can start."""
    live = dict(loads)
    admissions: list[Admission] = []
    for start in plan.starts if live else ():
        launcher = min(live, key=lambda name: (live[name], name))
        live[launcher] += 1
        admissions.append(
            Admission(start.job.id, start.job.row_version, start.node_id, launcher, make_token())
        )
    return admissions
