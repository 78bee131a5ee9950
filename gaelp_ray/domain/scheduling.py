"""The scheduler's decision: a frozen snapshot in, a frozen plan out; no clock, no store, no cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gaelp_ray.domain.resources import Resources


class WaitCode(StrEnum):
    """Why a job waits. One code at a time; the highest in this list wins."""

    ON_HOLD = "OnHold"
    NO_MATCHING_SHAPE = "NoMatchingShape"
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    BACKING_OFF = "BackingOff"
    PENDING_EVALUATION = "PendingEvaluation"


@dataclass(frozen=True)
class Node:
    """A live node: what it has in all, whoever uses it now."""

    id: str
    total: Resources
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What a live attempt holds; its node is None when it was placed on one that has gone."""

    job_id: int
    node_id: str | None
    resources: Resources


@dataclass(frozen=True)
class QueuedJob:
    id: int
    row_version: int
    priority: int
    submitted_at: datetime
    resources: Resources
    #: False while its agent is paused.
    agent_active: bool = True
    #: What it was last told, so that only changes are written.
    wait_code: str | None = None


@dataclass(frozen=True)
class Snapshot:
    nodes: tuple[Node, ...]
    claims: tuple[Claim, ...]
    queue: tuple[QueuedJob, ...]


@dataclass(frozen=True)
class Start:
    job: QueuedJob
    node_id: str


@dataclass(frozen=True)
class Preemption:
    job_id: int
    #: The job that takes its place.
    for_job_id: int
    reason: str


@dataclass(frozen=True)
class Wait:
    job: QueuedJob
    code: WaitCode
    message: str


@dataclass(frozen=True)
class Plan:
    starts: tuple[Start, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    waits: tuple[Wait, ...] = ()


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Start what fits, highest priority first, then earliest submitted; give every other job its reason.

    Each job goes to the node it leaves least room on (best fit), so that large free nodes stay whole for
    large jobs. A job that does not fit lets later ones pass.
    """
    free = free_by_node(snapshot.nodes, snapshot.claims)
    starts: list[Start] = []
    waits: list[Wait] = []
    unfit: dict[str, tuple[WaitCode, str]] = {}
    for job in sorted(snapshot.queue, key=lambda j: (-j.priority, j.submitted_at, j.id)):
        if not job.agent_active:
            waits.append(Wait(job, WaitCode.ON_HOLD, "Its agent is paused; set it active to go on."))
            continue
        # Capacity only shrinks within a plan, so one verdict serves every job of the same shape.
        verdict = unfit.get(job.resources.shape)
        node_id = None if verdict else best_fit(job.resources, free)
        if node_id is not None:
            free[node_id] -= job.resources
            starts.append(Start(job, node_id))
            continue
        verdict = verdict or why_unfit(job.resources, snapshot.nodes, free.values())
        unfit[job.resources.shape] = verdict
        waits.append(Wait(job, *verdict))
    return Plan(starts=tuple(starts), waits=tuple(waits))


def free_by_node(nodes: Iterable[Node], claims: Iterable[Claim]) -> dict[str, Resources]:
    """What each node has left; may be negative on a node that shrank."""
    free = {node.id: node.total for node in nodes}
    for claim in claims:
        if claim.node_id in free:
            free[claim.node_id] -= claim.resources
    return free


def best_fit(request: Resources, free: Mapping[str, Resources]) -> str | None:
    """The fitting node that keeps least: GPUs first, then CPU, then memory, then by name."""
    fitting = [(room - request, node_id) for node_id, room in free.items() if request.fits_on(room)]
    if not fitting:
        return None
    return min(fitting, key=lambda f: (f[0].gpu_milli, f[0].cpu_milli, f[0].memory_bytes, f[1]))[1]


def why_unfit(request: Resources, nodes: Iterable[Node], free: Iterable[Resources]) -> tuple[WaitCode, str]:
    """The reason code and sentence for a request that no node has room for."""
    wanted = _sentence(request)
    totals = [node.total for node in nodes]
    if not any(request.fits_on(total) for total in totals):
        largest = Resources(
            max((t.cpu_milli for t in totals), default=0),
            max((t.memory_bytes for t in totals), default=0),
            max((t.gpu_milli for t in totals), default=0),
        )
        return (
            WaitCode.NO_MATCHING_SHAPE,
            f"No node can hold {wanted}; the most any node has is {_sentence(largest)}. "
            f"Ask for less or add a larger node.",
        )
    room = max(free, key=lambda f: (f.gpu_milli, f.cpu_milli, f.memory_bytes))
    return (
        WaitCode.WAITING_FOR_CAPACITY,
        f"Waits for {wanted} to be free on one node; the freest has {_sentence(room)}.",
    )


def _sentence(amount: Resources) -> str:
    gib = amount.memory_bytes / 1024**3
    return f"{amount.cpu_milli / 1000:g} CPU, {gib:.3g} GiB memory and {amount.gpu_milli / 1000:g} GPU"
