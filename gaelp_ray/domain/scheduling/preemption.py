"""Who makes room for a blocked job: a minimal set, cheapest first by the work that would be lost.

A job may only ask work of strictly lower rank to stop, and ranks never change, so two jobs cannot make each
other stop in turn. Reclaiming a quota crosses ranks, but who was reclaimed from must borrow to come back,
and there is nothing to borrow while its owner uses it; what longer cycles remain, the preemption budget ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.decisions import Placed
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.domain.scheduling.queue import QueuedJob
from gaelp_ray.domain.scheduling.snapshot import Claim, PreemptionMode, SchedulingPolicy

#: One GPU weighs as much as so many CPUs when lost work is compared; cloud prices are about there.
GPU_IN_CPUS = 16
#: Nodes on which room can be made that are compared before the cheapest is taken.
MOST_NODES = 64

Rank = tuple[int, bool]


def rank(priority: int, preemptible: bool) -> Rank:
    """Only work of lower rank may be stopped. At equal priority, work that may be interrupted is lower."""
    return priority, not preemptible


@dataclass(frozen=True)
class Room:
    """Room for a job once these have stopped."""

    victims: tuple[Claim, ...]
    placement: tuple[Placed, ...]


def may_stop(claim: Claim, policy: SchedulingPolicy, now: datetime) -> bool:
    """Whether a running job may be asked to make room at all."""
    return (
        policy.preemption is not PreemptionMode.NEVER
        and not claim.ending
        and claim.preemptions < policy.preemption_budget
        and now - claim.started_at >= left_alone(claim.preemptions, policy)
    )


def left_alone(preemptions: int, policy: SchedulingPolicy) -> timedelta:
    """How long an attempt runs undisturbed: twice as long each time its job made room, up to a limit."""
    if not preemptions:
        return policy.preempt_after
    doubled: timedelta = policy.preempt_after * 2 ** min(preemptions, 30)
    return min(doubled, policy.preempt_after_most)


def yields_to(claim: Claim, job: QueuedJob, policy: SchedulingPolicy) -> bool:
    """Whether the rank of a running job makes it give way to a waiting one."""
    if rank(claim.priority, claim.preemptible) >= rank(job.priority, job.preemptible):
        return False
    lower = policy.preemption is PreemptionMode.LOWER_PRIORITY and claim.priority < job.priority
    return claim.preemptible or lower


def cost(claim: Claim, now: datetime) -> tuple[int, float]:
    """Lower is better to stop: lower priority, then less work lost, in CPU-milliseconds."""
    total = claim.total
    weight = total.cpu_milli + total.gpu_milli * GPU_IN_CPUS
    return claim.priority, claim.lost_s(now) * weight


class _Way(NamedTuple):
    """How room can be made on a node; the least is the best."""

    priority: int
    lost: float
    victims: int
    node_id: str
    stop: tuple[int, ...]


class RoomMaker:
    """Finds room on nodes among claims that may stop. Leaves the pool as it was."""

    def __init__(self, pool: Pool, claims: Iterable[Claim], now: datetime) -> None:
        self._pool = pool
        self._cost = {claim.job_id: cost(claim, now) for claim in claims}
        #: Cheapest first.
        self._claims = {c.job_id: c for c in sorted(claims, key=lambda c: (self._cost[c.job_id], c.job_id))}

    def forget(self, job_id: int) -> None:
        """It has been asked to stop already."""
        self._claims.pop(job_id, None)

    def make(
        self,
        request: Request,
        yields: Callable[[Claim], bool],
        *,
        on_demand: bool,
        already: Sequence[Claim] = (),
    ) -> Room | None:
        """The cheapest room for every worker of a request; ``already`` stop in any case."""
        pool, victims, placement = self._pool, list(already), list[Placed]()
        candidates = [c for c in self._claims.values() if c not in already and yields(c)]
        if not candidates and not already:
            return None
        for claim in already:
            pool.release(claim.job_id)
        try:
            for _ in range(request.workers):
                spot = self._one(request, candidates, victims, on_demand)
                if spot is None:
                    return None
                placement.append(spot)
                pool.take((spot,))
            return Room(tuple(victims), tuple(placement))
        finally:
            pool.give(placement)
            for claim in victims:
                pool.take(pool.held(claim.job_id))

    def _one(
        self, request: Request, candidates: Sequence[Claim], victims: list[Claim], on_demand: bool
    ) -> Placed | None:
        """Room for one more worker; those who must stop for it are released and join ``victims``."""
        one = Request(request.resources, selector=request.selector, spot=request.spot)
        free = self._pool.place(one, on_demand=on_demand)
        if free is not None:
            return free[0]
        chosen = {claim.job_id for claim in victims}
        on: dict[str, list[Claim]] = defaultdict(list)
        freed: list[tuple[str, Resources]] = []
        for claim in candidates:
            for placed in self._pool.held(claim.job_id) if claim.job_id not in chosen else ():
                on[placed.node_id].append(claim)
                freed.append((placed.node_id, placed.resources))
        nodes = self._pool.could_hold(one, freed, on_demand=on_demand) if freed else []
        found = (self._on_node(node_id, one, on[node_id]) for node_id in nodes if on[node_id])
        best = min(islice((each for each in found if each is not None), MOST_NODES), default=None)
        if best is None:
            return None
        for job_id in best.stop:
            self._pool.release(job_id)
        victims += [self._claims[job_id] for job_id in best.stop]
        return self._pool.place_on(best.node_id, request.resources)

    def _on_node(self, node_id: str, one: Request, candidates: Sequence[Claim]) -> _Way | None:
        stop = self._enough(node_id, one, candidates)
        if stop is None:
            return None
        costs = [self._cost[claim.job_id] for claim in stop]
        lost = sum(lost for _, lost in costs)
        return _Way(max(p for p, _ in costs), lost, len(stop), node_id, tuple(c.job_id for c in stop))

    def _enough(self, node_id: str, one: Request, candidates: Sequence[Claim]) -> list[Claim] | None:
        """The cheapest of the candidates that together leave room on a node; none of them for nothing."""
        pool = self._pool
        stop: list[Claim] = []
        for claim in candidates:
            pool.release(claim.job_id)
            stop.append(claim)
            if pool.place_on(node_id, one.resources):
                break
        fits = pool.place_on(node_id, one.resources) is not None
        # The dearest first: whoever turns out not to be needed goes on.
        for claim in reversed(stop[:-1]) if fits else ():
            pool.take(pool.held(claim.job_id))
            if pool.place_on(node_id, one.resources):
                stop.remove(claim)
            else:
                pool.release(claim.job_id)
        for claim in stop:
            pool.take(pool.held(claim.job_id))
        return stop if fits and stop else None
