"""When a waiting job may begin: the line is played forward, job by job, as running work reaches its end."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile

from gaelp_ray.domain.forecast import after, bounded
from gaelp_ray.domain.scheduling.decisions import Placed, WaitCode
from gaelp_ray.domain.scheduling.ordering import Line
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.domain.scheduling.queue import QueuedJob
from gaelp_ray.domain.scheduling.snapshot import Snapshot

#: Jobs ahead that are played one by one; a longer line is taken to flow on at the same pace.
MOST_AHEAD = 500
#: Of a job whose run time nothing is known of.
UNKNOWN_S = 3600.0
#: Relative to the median: how soon and how late runs may end whose own spread is not known.
SOON, LATE = 0.5, 2.0

#: (median, 90th percentile) -> seconds a run is taken to last.
Pace = Callable[[float | None, float | None], float]

#: Reasons that time alone may end.
_MOVES = frozenset(
    {
        WaitCode.WAITING_FOR_QUOTA,
        WaitCode.WAITING_FOR_PREEMPTION,
        WaitCode.AUTOSCALER_WAITING,
        WaitCode.WAITING_FOR_CAPACITY,
        WaitCode.PENDING_EVALUATION,
    }
)


@dataclass(frozen=True)
class Eta:
    """An estimate, and its interval: with run times at half their medians, and at their 90th percentiles."""

    starts_at: datetime
    earliest: datetime
    latest: datetime


def eta_of(
    job: QueuedJob,
    code: WaitCode,
    snapshot: Snapshot,
    line: Line,
    now: datetime,
    *,
    position: int,
    still: Collection[str] = (),
) -> Eta | None:
    """When the job at this place in line may begin.

    None when it waits for somebody's decision, or for more than there is. ``still``: lanes that wait for such
    a thing, on hold say; nobody waits behind them.
    """
    if code not in _MOVES:
        return None
    ahead = list(islice(_ahead(job, snapshot, line, still), MOST_AHEAD))
    held = sum(line.before(snapshot.queue.lane(lane), job) for lane in still)
    position = max(1, position - held)
    skipped = max(0, position - 1 - len(ahead))
    found = [_play(job, ahead, skipped, snapshot, now, pace) for pace in (_median, _soon, _late)]
    if None in found:
        return None
    starts, earliest, latest = (after(now, each or 0.0) for each in found)
    return Eta(starts, min(earliest, starts), max(latest, starts))


def _ahead(job: QueuedJob, snapshot: Snapshot, line: Line, still: Collection[str]) -> Iterator[QueuedJob]:
    """The jobs before it that may start before it, in order."""
    mine = line.key(job)
    merged = heapq.merge(
        *(lane for lane in snapshot.queue.lanes() if lane[0].lane not in still), key=line.key
    )
    before = takewhile(lambda each: line.key(each) < mine, merged)
    return (each for each in before if each.id not in snapshot.aside)


def moves(code: WaitCode) -> bool:
    """Whether time alone may end the wait for this reason."""
    return code in _MOVES


def _median(expected_s: float | None, _p90_s: float | None) -> float:
    known = bounded(expected_s)
    return UNKNOWN_S if known is None else known


def _soon(expected_s: float | None, _p90_s: float | None) -> float:
    return SOON * _median(expected_s, None)


def _late(expected_s: float | None, p90_s: float | None) -> float:
    known = bounded(p90_s)
    return known if known is not None else LATE * _median(expected_s, None)


def _play(
    job: QueuedJob, ahead: Sequence[QueuedJob], skipped: int, snapshot: Snapshot, now: datetime, pace: Pace
) -> float | None:
    """Seconds until the job fits, when everybody before it starts as soon as he fits."""
    pool = Pool(snapshot.nodes, snapshot.claims)
    ends: list[tuple[float, int, tuple[Placed, ...]]] = []
    for claim in snapshot.claims:
        run_s = (now - claim.started_at).total_seconds()
        expected = (claim.expected_end - claim.started_at).total_seconds() if claim.expected_end else None
        latest = (claim.latest_end - claim.started_at).total_seconds() if claim.latest_end else None
        total_s = pace(expected, latest)
        # What has run past its time is expected to run as long again.
        left_s = total_s - run_s if total_s > run_s else max(run_s, 1.0)
        ends.append((0.0 if claim.ending else left_s, claim.job_id, pool.held(claim.job_id)))
    heapq.heapify(ends)
    clock_s = 0.0
    for each in (*ahead, job):
        placement = pool.place(each.request)
        while placement is None and ends:
            clock_s, _, freed = heapq.heappop(ends)
            pool.give(freed)
            placement = pool.place(each.request)
        if placement is None:
            if each is job:
                return None
            continue
        pool.take(placement)
        heapq.heappush(ends, (clock_s + pace(each.expected_s, each.expected_p90_s), each.id, placement))
    return clock_s * (1 + skipped / max(1, len(ahead)))
