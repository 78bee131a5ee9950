"""Backfill: small jobs pass a blocked head only where that cannot delay it.

EASY backfill (Lifka, 1995) with predicted run times: the head gets the earliest moment and place at which it
will fit, and a job may use that place before then only if it will be gone, if it can be asked to make room,
or if there is room for both.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime

from gaelp_ray.domain.forecast import after, bounded
from gaelp_ray.domain.scheduling.decisions import Placed
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.domain.scheduling.queue import QueuedJob
from gaelp_ray.domain.scheduling.snapshot import Claim

#: Ends of running jobs that are looked ahead.
MOST_ENDS = 200


class Shadow:
    """The time and place promised to a blocked head."""

    def __init__(self, head: QueuedJob, at: datetime, placement: tuple[Placed, ...], future: Pool) -> None:
        self.head = head
        self.at = at
        self.nodes = frozenset(placed.node_id for placed in placement)
        #: What will be free at that time beside the head.
        self._future = future
        future.take(placement)

    def harmless(self, job: QueuedJob, now: datetime) -> bool:
        """Whether the job may go anywhere: it will be gone in time, or makes room when asked."""
        if job.preemptible and job.priority <= self.head.priority and not self.head.preemptible:
            return True
        known = bounded(job.expected_p90_s)
        return known is not None and after(now, known) <= self.at

    def spares(self, placement: Sequence[Placed]) -> bool:
        """Whether there will be room for this beside the head; it is taken if so."""
        here = [placed for placed in placement if placed.node_id in self.nodes]
        taken: list[Placed] = []
        for placed in here:
            spot = self._future.place_on(placed.node_id, placed.resources)
            if spot is None:
                self._future.give(taken)
                return False
            self._future.take((spot,))
            taken.append(spot)
        return True


def shadow_of(
    head: QueuedJob, pool: Pool, claims: Sequence[Claim], now: datetime, *, on_demand: bool
) -> Shadow | None:
    """When and where the head will fit as running jobs reach their predicted ends.

    None where nothing is known of that, or where it is more than ``MOST_ENDS`` ends away.
    """
    ends = ((end, claim.job_id) for claim in claims if (end := _end(claim, now)) is not None)
    future = pool.clone()
    for end, job_id in heapq.nsmallest(MOST_ENDS, ends):
        future.release(job_id)
        placement = future.place(head.request, on_demand=on_demand)
        if placement is not None:
            return Shadow(head, end, placement, future)
    return None


def _end(claim: Claim, now: datetime) -> datetime | None:
    if claim.ending:
        return now
    if claim.expected_end is None:
        return None
    # Run times have heavy tails: what has run past its predicted end is expected to run as long again.
    return claim.expected_end if claim.expected_end > now else after(now, claim.lasted_s(now))
