"""Who is looked at first: effective priority, fair share, predicted length, then time of submission.

Fair share is dominant resource fairness (Ghodsi et al., NSDI 2011) over decayed usage, with what a user holds
now counted in full at once, so that a burst of submissions cannot all pass before usage catches up (the entry
penalty of Kueue's admission fair sharing).
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from gaelp_ray.domain.jobs import PRIORITY_MAX
from gaelp_ray.domain.quotas import QuotaBook
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.queue import QueuedJob, length_class
from gaelp_ray.domain.scheduling.snapshot import Claim, SchedulingPolicy, Snapshot

#: -priority, share, length, submitted, id
Key = tuple[int, float, int, datetime, int]


def aging_steps(job: QueuedJob, policy: SchedulingPolicy, now: datetime) -> int:
    """How often waiting has raised the job so far."""
    return max(0, int((now - job.submitted_at) / policy.aging_step))


def effective_priority(job: QueuedJob, policy: SchedulingPolicy, now: datetime) -> int:
    """The priority the job is treated with: its own, raised by waiting, at most the highest there is."""
    return _raised(job, policy, aging_steps(job, policy, now))


def _raised(job: QueuedJob, policy: SchedulingPolicy, steps: int) -> int:
    return min(PRIORITY_MAX, job.priority + min(policy.aging_most, steps))


class Shares:
    """Each user's dominant share of the cluster over his weight. Grows as a plan starts jobs."""

    def __init__(
        self,
        total: Resources,
        *,
        history: Mapping[str, Resources],
        claims: Iterable[Claim],
        quotas: QuotaBook,
        fair: bool = True,
    ) -> None:
        self._total = total
        self._quotas = quotas
        self._fair = fair
        #: CPU, memory and GPU of each user, in plain numbers: a plan adds up thousands of claims.
        self._used: dict[str, list[int]] = {}
        self._shares: dict[str, float] = {}
        for owner, amount in history.items():
            self._count(owner, amount)
        for claim in claims:
            self._count(claim.owner, claim.total)

    def add(self, owner: str, amount: Resources) -> None:
        self._count(owner, amount)
        self._shares.pop(owner, None)

    def _count(self, owner: str, amount: Resources) -> None:
        used = self._used.setdefault(owner, [0, 0, 0])
        used[0] += amount.cpu_milli
        used[1] += amount.memory_bytes
        used[2] += amount.gpu_milli

    def of(self, owner: str) -> float:
        """0 for who uses nothing, 1 for who uses all of something at weight 1."""
        if not self._fair:
            return 0.0
        share = self._shares.get(owner)
        if share is None:
            share = self._shares[owner] = self._dominant(owner)
        return share

    def _dominant(self, owner: str) -> float:
        used, total = self._used.get(owner), self._total
        if used is None:
            return 0.0
        wholes = (total.cpu_milli, total.memory_bytes, total.gpu_milli)
        parts = (amount / whole for amount, whole in zip(used, wholes, strict=True) if whole)
        return max(parts, default=0.0) / self._quotas.weight(owner)


def shares_of(snapshot: Snapshot) -> Shares:
    """Everybody's share before a plan is made."""
    return Shares(
        sum((node.total for node in snapshot.nodes), Resources()),
        history=snapshot.history,
        claims=snapshot.claims,
        quotas=snapshot.quotas,
        fair=snapshot.policy.fair_share,
    )


class Line:
    """The heads of lanes, first one first; a lane comes up again only when its head was started."""

    def __init__(
        self, lanes: Iterable[Sequence[QueuedJob]], shares: Shares, policy: SchedulingPolicy, now: datetime
    ) -> None:
        self._shares = shares
        self._policy = policy
        self._now = now
        self._heap = [(self.key(lane[0]), 0, lane) for lane in lanes]
        heapq.heapify(self._heap)

    def key(self, job: QueuedJob) -> Key:
        policy = self._policy
        steps = aging_steps(job, policy, self._now)
        # Waiting wears the length off, so that a long job is not passed for ever.
        length = max(0, length_class(job.expected_s) - steps) if policy.short_first else 0
        return -_raised(job, policy, steps), self._shares.of(job.owner), length, job.submitted_at, job.id

    def before(self, lane: Sequence[QueuedJob], job: QueuedJob) -> int:
        """How many jobs of a lane stand before a job; within a lane keys only grow."""
        return bisect_left(lane, self.key(job), key=self.key)

    def pop(self) -> tuple[Sequence[QueuedJob], int] | None:
        """The next lane and the place in it of the job to look at."""
        while self._heap:
            key, place, lane = self._heap[0]
            fresh = self._shares.of(lane[place].owner)
            if key[1] == fresh:
                heapq.heappop(self._heap)
                return lane, place
            # Its owner has started others since; it stands where his share is now.
            heapq.heapreplace(self._heap, ((key[0], fresh, *key[2:]), place, lane))
        return None

    def push(self, lane: Sequence[QueuedJob], place: int) -> None:
        if place < len(lane):
            heapq.heappush(self._heap, (self.key(lane[place]), place, lane))
