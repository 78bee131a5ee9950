"""Who is looked at first: effective priority, fair share, predicted length, then time of submission.

Fair share is dominant resource fairness (Ghodsi et al., NSDI 2011) over decayed usage, with what a user holds
now counted in full at once, so that a burst of submissions cannot all pass before usage catches up (the entry
penalty of Kueue's admission fair sharing).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from gaelp_ray.domain.jobs import PRIORITY_MAX
from gaelp_ray.domain.quotas import QuotaBook
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.queue import QueuedJob, length_class
from gaelp_ray.domain.scheduling.snapshot import Claim, SchedulingPolicy

#: -priority, share, length, submitted, id
Key = tuple[int, float, int, datetime, int]


def aging_steps(job: QueuedJob, policy: SchedulingPolicy, now: datetime) -> int:
    """How often waiting has raised the job so far."""
    return max(0, int((now - job.submitted_at) / policy.aging_step))


def effective_priority(job: QueuedJob, policy: SchedulingPolicy, now: datetime) -> int:
    """The priority the job is treated with: its own, raised by waiting, at most the highest there is."""
    raised = job.priority + min(policy.aging_most, aging_steps(job, policy, now))
    return min(PRIORITY_MAX, raised)


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
        self._used: dict[str, Resources] = dict(history)
        self._shares: dict[str, float] = {}
        for claim in claims:
            self._used[claim.owner] = self._used.get(claim.owner, Resources()) + claim.total

    def add(self, owner: str, amount: Resources) -> None:
        self._used[owner] = self._used.get(owner, Resources()) + amount
        self._shares.pop(owner, None)

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
        parts = (
            used.cpu_milli / total.cpu_milli if total.cpu_milli else 0.0,
            used.memory_bytes / total.memory_bytes if total.memory_bytes else 0.0,
            used.gpu_milli / total.gpu_milli if total.gpu_milli else 0.0,
        )
        return max(parts) / self._quotas.weight(owner)


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
        length = 0
        if self._policy.short_first:
            # Waiting wears the length off, so that a long job is not passed for ever.
            length = max(0, length_class(job.expected_s) - aging_steps(job, self._policy, self._now))
        return (
            -effective_priority(job, self._policy, self._now),
            self._shares.of(job.owner),
            length,
            job.submitted_at,
            job.id,
        )

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
