"""Waiting jobs in lanes: equal jobs of one agent, first come first served.

A plan looks at the heads of lanes only, so its price grows with the number of lanes, not of jobs.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b

from gaelp_ray.domain.forecast import bounded
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Request


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A waiting job as the planner sees it."""

    id: int
    row_version: int
    lane: str
    owner: str
    team: str | None
    agent_id: int
    priority: int
    #: Its place in line, kept through preemptions and losses.
    submitted_at: datetime
    #: Since when it waits this time.
    queued_at: datetime
    request: Request
    preemptible: bool = False
    #: Predicted run time, median and 90th percentile; None where nothing is known.
    expected_s: float | None = None
    expected_p90_s: float | None = None
    deadline: datetime | None = None
    preemptions: int = 0
    #: Of a job that spends real money: the version that must be let to.
    real_version: int | None = None


def lane_of(
    *,
    owner: str,
    team: str | None,
    agent_id: int,
    priority: int,
    request: Request,
    preemptible: bool,
    expected_s: float | None,
    real_version: int | None = None,
) -> str:
    """The name of the lane of jobs that are equal to the planner."""
    length = length_class(expected_s)
    parts = (owner, team, agent_id, priority, request.key, preemptible, length, real_version)
    return blake2b(repr(parts).encode(), digest_size=12).hexdigest()


def real_version(money: Money, version_id: int) -> int | None:
    """What a job's lane and its place in the queue say of the money that it spends."""
    return version_id if money is Money.REAL else None


@lru_cache(maxsize=4096)
def length_class(expected_s: float | None) -> int:
    """Predicted run times in doublings from 15 s on; an unknown one counts as an hour."""
    known = bounded(expected_s)
    return max(0, math.ceil(math.log2(max(1.0, known if known is not None else 3600.0) / 15.0)))


def _place(job: QueuedJob) -> tuple[datetime, int]:
    return job.submitted_at, job.id


class Queue:
    """Every waiting job, by id and by lane. A plan never changes it."""

    def __init__(self, jobs: Iterable[QueuedJob] = ()) -> None:
        self._jobs: dict[int, QueuedJob] = {}
        self._lanes: dict[str, list[QueuedJob]] = {}
        for job in sorted(jobs, key=_place):
            self.put(job)

    def put(self, job: QueuedJob) -> None:
        """Add a job, or replace what was known of it."""
        self.remove(job.id)
        self._jobs[job.id] = job
        lane = self._lanes.setdefault(job.lane, [])
        if not lane or _place(lane[-1]) < _place(job):
            lane.append(job)
        else:
            insort(lane, job, key=_place)

    def remove(self, job_id: int) -> QueuedJob | None:
        job = self._jobs.pop(job_id, None)
        if job is None:
            return None
        lane = self._lanes[job.lane]
        del lane[bisect_left(lane, _place(job), key=_place)]
        if not lane:
            del self._lanes[job.lane]
        return job

    def get(self, job_id: int) -> QueuedJob | None:
        return self._jobs.get(job_id)

    def lanes(self) -> Iterable[Sequence[QueuedJob]]:
        """The jobs of each lane, first come first; no lane is empty."""
        return self._lanes.values()

    def lane(self, name: str) -> Sequence[QueuedJob]:
        return self._lanes.get(name, ())

    def ahead_in_lane(self, job: QueuedJob) -> int:
        return bisect_left(self._lanes[job.lane], _place(job), key=_place)

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[QueuedJob]:
        return iter(self._jobs.values())
