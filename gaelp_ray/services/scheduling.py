"""The scheduler's use cases: lead, look, apply, wake, expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.attempts import Seat
from gaelp_ray.domain.costs import Run, Terms
from gaelp_ray.domain.duties import Failed, Troubles, isolated
from gaelp_ray.domain.errors import Conflict, GaelpError, Unavailable
from gaelp_ray.domain.events import JobEventRecord
from gaelp_ray.domain.jobs import EndCause, JobEvent
from gaelp_ray.domain.requests import ACCELERATOR_LABEL
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import (
    Node,
    NodeShape,
    OutsideUse,
    Placed,
    Plan,
    SchedulingPolicy,
    Snapshot,
    Start,
)
from gaelp_ray.domain.scheduling.outside import LEAVING
from gaelp_ray.services import costs, spending
from gaelp_ray.services import jobs as job_service
from gaelp_ray.services.costs import FirstSlice
from gaelp_ray.services.mirror import History, Mirror, read_history, read_rules
from gaelp_ray.services.transitions import move
from gaelp_ray.store import events as event_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import lanes as lane_store
from gaelp_ray.store import launchers as launcher_store
from gaelp_ray.store import leases, plans
from gaelp_ray.store import queue as queue_store
from gaelp_ray.store import reservations as reservation_store
from gaelp_ray.store import revision as revision_store
from gaelp_ray.store import snapshot as snapshot_store
from gaelp_ray.store import switches as switch_store
from gaelp_ray.store.lanes import Reason
from gaelp_ray.store.leases import Lease
from gaelp_ray.store.plans import Admission

LEASE = "scheduler"


@dataclass(frozen=True)
class Outside:
    """What Ray says of who uses its nodes, read just before a look."""

    use: OutsideUse
    #: What is used of each node, by whomever.
    used: Mapping[str, Resources]
    #: Who may be using it outside the queue.
    names: tuple[str, ...] = ()


def lead(tx: Connection, holder: str, *, epoch: int | None, ttl: timedelta, now: datetime) -> Lease | None:
    """Renew the lease of ``epoch``, or take it; None while another scheduler leads."""
    return leases.acquire(tx, LEASE, holder, epoch=epoch, ttl=ttl, now=now)


def leader(connection: Connection) -> Lease | None:
    return leases.get(connection, LEASE)


def look(
    connection: Connection,
    mirror: Mirror,
    *,
    nodes: tuple[Node, ...],
    shapes: tuple[NodeShape, ...] = (),
    policy: SchedulingPolicy,
    terms: Terms | None = None,
    now: datetime,
    aside: Mapping[int, str] | None = None,
    troubles: Troubles[str] | None = None,
    outside: Outside | None = None,
) -> Snapshot:
    """Everything a plan is made from. The queue is the mirror's own, as ``refresh`` left it.

    Without ``terms`` running time is free. ``aside``: jobs that could not be decided about before. What
    cannot be read is taken at its worst: a quota or a budget that nobody can read allows nothing, an attempt
    holds what it may hold. ``troubles`` hears of it. Without ``outside`` nobody else uses the nodes.
    """
    troubles = Troubles() if troubles is None else troubles
    if revision_store.get(connection) != mirror.rules.revision or mirror.rules.unread:
        mirror.adopt(read_rules(connection))
    troubles.found |= mirror.rules.unread
    mirror.history = _history(connection, mirror, policy, now, troubles)
    rules = mirror.rules
    claims = snapshot_store.claims(connection, team_of=rules.quotas.team_of, now=now, troubles=troubles)
    if outside is not None:
        leaving = snapshot_store.leaving(connection, since=now - LEAVING)
        nodes = outside.use.counted(nodes, outside.used, claims, leaving, now)
    return Snapshot(
        nodes=nodes,
        claims=claims,
        outsiders=outside.names if outside is not None else (),
        queue=mirror.queue,
        shapes=shapes,
        quotas=rules.quotas,
        holds=rules.holds,
        reservations=reservation_store.in_force(connection, now=now, troubles=troubles),
        history=mirror.history.resources() if mirror.history is not None else {},
        blocked=rules.blocked,
        unready=spending.unready(connection, _real_versions(mirror), now=now, troubles=troubles),
        switches=tuple(switch_store.engaged(connection)),
        funds=costs.funds(connection, terms, now=now, troubles=troubles),
        aside=aside or {},
        policy=policy,
        revision=rules.revision,
    )


def _history(
    connection: Connection, mirror: Mirror, policy: SchedulingPolicy, now: datetime, troubles: Troubles[str]
) -> History | None:
    """Usage in the past, or what was known of it before: a plan can do without."""
    try:
        return read_history(connection, mirror.history, half_life=policy.half_life, now=now)
    except OperationalError:
        raise
    except Exception as error:
        troubles.add("usage in the past", error)
        return mirror.history


def launcher_loads(connection: Connection, cluster: str) -> dict[str, int]:
    return launcher_store.loads(connection, cluster)


@dataclass(frozen=True)
class Applied:
    """What of a plan came true."""

    started: frozenset[int] = frozenset()
    #: Jobs that were told to make room.
    preempted: frozenset[int] = frozenset()
    #: Starts and preemptions that no longer held; the next tick sees their jobs as they are.
    dropped: frozenset[int] = frozenset()
    #: Launchers with new orders.
    launchers: frozenset[str] = frozenset()
    #: Reasons that were written on lanes, and lanes that were found empty.
    told: Mapping[str, Reason] = field(default_factory=dict)
    emptied: frozenset[str] = frozenset()
    #: The size of the queue, if it was written down.
    depth: tuple[int, datetime] | None = None
    #: Jobs that could not be started, and why; the rest of the plan was written without them.
    failed: Mapping[int, Exception] = field(default_factory=dict)

    def __or__(self, other: Applied) -> Applied:
        """Both, of parts that were written one after the other."""
        return Applied(
            started=self.started | other.started,
            preempted=self.preempted | other.preempted,
            dropped=self.dropped | other.dropped,
            launchers=self.launchers | other.launchers,
            told={**self.told, **other.told},
            emptied=self.emptied | other.emptied,
            depth=other.depth or self.depth,
            failed={**self.failed, **other.failed},
        )


def apply(
    tx: Connection,
    plan: Plan,
    snapshot: Snapshot,
    mirror: Mirror,
    *,
    holder: str,
    epoch: int,
    loads: Mapping[str, int],
    make_token: Callable[[], UUID],
    now: datetime,
) -> Applied:
    """Write a plan: starts, preemptions, reservations, and why each lane waits, all together.

    A start is state, claim, money for its first slice of running time, launch order and event, or none of
    them; it goes to the launcher with the fewest live attempts
    (``loads``: launcher -> attempts). When quotas, holds or paused agents have changed since the snapshot,
    everything is dropped. Raises ``Conflict`` when ``epoch`` no longer leads. Give what it returns to
    ``remember`` once it is committed.
    """
    if not leases.hold(tx, LEASE, holder, epoch):
        raise Conflict("Another scheduler leads now; this plan is void.")
    wanted = {start.job.id for start in plan.starts} if loads else set()
    wanted |= {each.job_id for each in plan.preemptions}
    if not revision_store.hold(tx, snapshot.revision):
        return Applied(dropped=frozenset(wanted))
    job_store.lock_all(tx, sorted(wanted))
    admissions = _assign(plan, snapshot, loads, make_token)
    started = _admit(tx, plan, admissions, snapshot, now)
    stopping = plans.preempt(tx, plan.preemptions, now=now)
    reservation_store.prune(tx, now=now)
    kept = {reserve.job.id: seats(reserve.placement) for reserve in plan.reserves}
    reservation_store.put(tx, kept, until=now + snapshot.policy.reservation)
    told, emptied = mirror.news(plan), mirror.empty_lanes()
    lane_store.tell(tx, told, now=now)
    lane_store.forget(tx, emptied)
    launchers = {a.launcher for a in admissions if a.job_id in started} | set(stopping.values())
    return Applied(
        started=frozenset(started),
        preempted=frozenset(stopping),
        dropped=frozenset(wanted) - started - stopping.keys(),
        launchers=frozenset(launchers),
        told=told,
        emptied=frozenset(emptied),
        depth=_write_depth(tx, mirror, now),
    )


def apply_in_parts(plan: Plan, apply: Callable[[Plan], Applied]) -> Applied:
    """Write a plan in one transaction, or, where that fails, all of it that can be written.

    ``apply`` writes a plan in one transaction. Each start stands for itself. What fails beside the starts is
    raised after them; ``Conflict``, which voids the plan, and ``Unavailable`` are raised at once.
    """
    try:
        return apply(plan)
    except (Conflict, Unavailable):
        raise
    except Exception:
        *starts, rest = plan.parts()

    def together(some: Sequence[Plan]) -> list[Applied]:
        whole = Plan(starts=tuple(start for each in some for start in each.starts))
        return [apply(whole), *([Applied()] * (len(some) - 1))]

    # The rest first: it keeps room for those that others stop for.
    [beside] = isolated([rest], lambda some: [apply(each) for each in some])
    applied = Applied() if isinstance(beside, Failed) else beside
    for part, result in zip(starts, isolated(starts, together), strict=True):
        if isinstance(result, Failed):
            if isinstance(result.error, Conflict):
                raise result.error
            job_id = part.starts[0].job.id
            applied |= Applied(failed={job_id: result.error}, dropped=frozenset({job_id}))
        else:
            applied |= result
    if isinstance(beside, Failed):
        raise beside.error
    return applied


def remember(mirror: Mirror, applied: Applied) -> None:
    """What was applied is committed; the mirror need not write it again."""
    mirror.told |= applied.told
    for lane in applied.emptied:
        mirror.told.pop(lane, None)
    mirror.depth = applied.depth or mirror.depth


def due(connection: Connection, *, now: datetime, limit: int) -> list[int]:
    """Jobs whose backoff is over."""
    return job_store.due(connection, now=now, limit=limit)


def wake(tx: Connection, job_ids: Sequence[int], *, now: datetime) -> int:
    """Put those of the jobs back in the queue whose backoff is over; returns how many."""
    found = job_store.lock_due(tx, job_ids, now)
    for job in found:
        move(tx, job, JobEvent.WAKE, now=now, values={"not_before": None})
    return len(found)


def past_deadline(connection: Connection, *, now: datetime, limit: int) -> list[int]:
    """Waiting jobs whose deadline has passed."""
    return job_store.past_deadline(connection, now=now, limit=limit)


def expire(tx: Connection, job_ids: Sequence[int], *, now: datetime) -> int:
    """Fail those of the jobs that wait and whose deadline has passed; returns how many."""
    found = job_store.lock_past_deadline(tx, job_ids, now)
    for job in found:
        why = f"It was to be done by {job.deadline:%Y-%m-%d %H:%M:%S} UTC and did not run then."
        ended = {"cause": EndCause.DEADLINE, "message": why, "not_before": None}
        move(tx, job, JobEvent.EXPIRE, now=now, why=why, values=ended)
    return len(found)


def preemptions_of(connection: Connection, job_id: int, *, by: Principal) -> list[JobEventRecord]:
    """When a job was told to make room; ``data`` has the reason and ``for_job``, the job it was for."""
    job_service.get(connection, job_id, by=by)
    return event_store.preemptions(connection, of_job=job_id)


def victims_of(connection: Connection, job_id: int, *, by: Principal) -> list[JobEventRecord]:
    """The jobs that were told to make room for a job, each as the event that told it."""
    job_service.get(connection, job_id, by=by)
    return event_store.preemptions(connection, for_job=job_id)


def seats(placement: tuple[Placed, ...]) -> tuple[Seat, ...]:
    return tuple(Seat(placed.node_id, placed.gpus) for placed in placement)


def _admit(
    tx: Connection, plan: Plan, admissions: Sequence[Admission], snapshot: Snapshot, now: datetime
) -> set[int]:
    """Admit what there is money for; whatever is not admitted after all gives its money back."""
    terms = snapshot.funds.terms
    if terms is None:
        return plans.admit(tx, admissions, now=now)
    starts = {start.job.id: start for start in plan.starts}
    slices = [_first_slice(starts[each.job_id], each) for each in admissions]
    outcomes = costs.hold(tx, slices, terms=terms, now=now)
    refused = {token for token, outcome in outcomes.items() if isinstance(outcome, GaelpError)}
    started = plans.admit(tx, [each for each in admissions if each.token not in refused], now=now)
    unused = outcomes.keys() - refused - {each.token for each in admissions if each.job_id in started}
    costs.release(tx, [each.run for each in slices if each.run.token in unused], now=now)
    return started


def _first_slice(start: Start, admission: Admission) -> FirstSlice:
    run = Run(admission.token, admission.job_id, admission.hour_micros)
    return FirstSlice(run, start.job.owner, start.job.team, start.share)


def _real_versions(mirror: Mirror) -> dict[int, int]:
    """Versions with waiting jobs that spend real money, and their agents; a lane is of one version."""
    heads = (lane[0] for lane in mirror.queue.lanes())
    return {head.real_version: head.agent_id for head in heads if head.real_version is not None}


def _assign(
    plan: Plan, snapshot: Snapshot, loads: Mapping[str, int], make_token: Callable[[], UUID]
) -> list[Admission]:
    """Spread starts over launchers; without a launcher nothing can start."""
    live = dict(loads)
    spot_nodes = {node.id for node in snapshot.nodes if node.spot}
    accelerators = {node.id: node.labels.get(ACCELERATOR_LABEL) for node in snapshot.nodes}
    terms = snapshot.funds.terms
    admissions: list[Admission] = []
    for start in plan.starts if live else ():
        launcher = min(live, key=lambda name: (live[name], name))
        live[launcher] += 1
        spot = any(placed.node_id in spot_nodes for placed in start.placement)
        kind = accelerators.get(start.placement[0].node_id)
        admissions.append(
            Admission(
                job_id=start.job.id,
                row_version=start.job.row_version,
                placement=seats(start.placement),
                spot=spot,
                launcher=launcher,
                token=make_token(),
                hour_micros=terms.prices.per_hour(start.job.request, accelerator=kind, spot=spot)
                if terms is not None
                else 0,
            )
        )
    return admissions


def _write_depth(tx: Connection, mirror: Mirror, now: datetime) -> tuple[int, datetime] | None:
    if not mirror.depth_is_stale(now):
        return None
    depth = len(mirror.queue), now
    queue_store.set_depth(tx, depth[0], now=now)
    return depth
