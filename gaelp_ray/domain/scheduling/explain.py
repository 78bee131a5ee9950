"""Why a job waits, what would let it start, where it stands in line, and when it may begin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from gaelp_ray.domain.duties import words_of
from gaelp_ray.domain.requests import in_words
from gaelp_ray.domain.scheduling.decisions import ASIDE_WORDS, Placed, Plan, Wait, WaitCode
from gaelp_ray.domain.scheduling.eta import Eta, eta_of, moves
from gaelp_ray.domain.scheduling.ordering import Line, effective_priority, shares_of
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.domain.scheduling.queue import Queue, QueuedJob
from gaelp_ray.domain.scheduling.snapshot import Claim, Snapshot

#: Running jobs that are named as what somebody waits for.
NAMED = 3


@dataclass(frozen=True)
class Explanation:
    """Where a waiting job stands."""

    job_id: int
    lane: str
    #: None: it would start now.
    code: WaitCode | None
    message: str
    #: What would let it start, each a sentence.
    unblock: tuple[str, ...]
    #: Among all that wait, by the order in which they are looked at; 1 is the next.
    position: int
    ahead_in_lane: int
    #: Jobs that wait in all.
    queued: int
    priority: int
    effective_priority: int
    #: Its owner's dominant share of the cluster over his weight.
    share: float
    eta: Eta | None
    #: Where it would go, if it would start now or once others have made room.
    placement: tuple[Placed, ...] | None
    #: Jobs that would be asked to make room.
    victims: tuple[int, ...]
    at: datetime


@dataclass(frozen=True)
class Head:
    """The first job of a lane that waits."""

    job_id: int
    owner: str
    team: str | None
    lane: str
    code: WaitCode
    message: str
    waiting: int
    priority: int
    effective_priority: int
    submitted_at: datetime


@dataclass(frozen=True)
class QueueReport:
    """The queue for operators."""

    at: datetime
    waiting: int
    lanes: int
    by_code: dict[WaitCode, int]
    by_user: dict[str, int]
    by_team: dict[str, int]
    oldest: datetime | None
    #: In the order in which they are looked at.
    heads: tuple[Head, ...]
    starting: tuple[int, ...]
    making_room: tuple[int, ...]
    #: Workers for which nodes were asked of the autoscaler.
    demanded: int


def explain(snapshot: Snapshot, made: Plan, job_id: int, now: datetime) -> Explanation | None:
    """Explain one job of the plan's snapshot; None when it does not wait there."""
    job = snapshot.queue.get(job_id)
    if job is None:
        return None
    shares = shares_of(snapshot)
    line = Line((), shares, snapshot.policy, now)
    start = next((start for start in made.starts if start.job.id == job_id), None)
    wait = _wait_of(job, made, snapshot)
    reserve = next((each for each in made.reserves if each.job.id == job_id), None)
    placed = start or reserve
    position = _position(snapshot.queue, job, line)
    return Explanation(
        job_id=job_id,
        lane=job.lane,
        code=None if start else wait.code,
        message="It starts now." if start else wait.message,
        unblock=() if start else unblock(job, wait.code, snapshot, now),
        position=position,
        ahead_in_lane=snapshot.queue.ahead_in_lane(job),
        queued=len(snapshot.queue),
        priority=job.priority,
        effective_priority=effective_priority(job, snapshot.policy, now),
        share=shares.of(job.owner),
        eta=Eta(now, now, now)
        if start
        else eta_of(job, wait.code, snapshot, line, now, position=position, still=_still(made)),
        placement=placed.placement if placed else None,
        victims=tuple(p.job_id for p in made.preemptions if p.for_job_id == job_id),
        at=now,
    )


def report(snapshot: Snapshot, made: Plan, now: datetime, *, limit: int) -> QueueReport:
    """The queue as the plan left it, with the first ``limit`` heads."""
    queue = snapshot.queue
    line = Line((), shares_of(snapshot), snapshot.policy, now)
    waits = sorted(made.waits, key=lambda wait: line.key(wait.job))
    codes: Counter[WaitCode] = Counter()
    for wait in waits:
        codes[wait.code] += len(queue.lane(wait.lane)) - queue.ahead_in_lane(wait.job)
    users, teams = Counter[str](), Counter[str]()
    oldest: datetime | None = None
    lanes = list(queue.lanes())
    for lane in lanes:
        users[lane[0].owner] += len(lane)
        if lane[0].team:
            teams[lane[0].team] += len(lane)
        oldest = lane[0].submitted_at if oldest is None else min(oldest, lane[0].submitted_at)
    return QueueReport(
        at=now,
        waiting=len(queue),
        lanes=len(lanes),
        by_code=dict(codes),
        by_user=dict(users.most_common(limit)),
        by_team=dict(teams.most_common(limit)),
        oldest=oldest,
        heads=tuple(_head(wait, snapshot, now) for wait in waits[:limit]),
        starting=tuple(start.job.id for start in made.starts),
        making_room=tuple(preemption.job_id for preemption in made.preemptions),
        demanded=sum(demand.count for demand in made.demands),
    )


def unblock(job: QueuedJob, code: WaitCode, snapshot: Snapshot, now: datetime) -> tuple[str, ...]:
    """What would let a job start that waits for this reason."""
    if code in (WaitCode.WAITING_FOR_CAPACITY, WaitCode.AUTOSCALER_WAITING):
        return _unblock_capacity(job, snapshot, now)
    if code is WaitCode.WAITING_FOR_QUOTA:
        own = sorted((c for c in snapshot.claims if c.owner == job.owner), key=_end)
        ends = tuple(f"Your job {claim.job_id} ends{_when(claim)}." for claim in own[:NAMED])
        return (*ends, "An admin raises the quota.")
    return _UNBLOCK.get(code, ())


_UNBLOCK = {
    WaitCode.DEACTIVATED: ("Its agent is set active, or the kill switch is released.",),
    WaitCode.ON_HOLD: ("Whoever placed the hold lifts it.",),
    WaitCode.MISCONFIGURED: ("Change the job, or cancel it and submit it anew.",),
    WaitCode.NO_MATCHING_SHAPE: ("Ask for less, or for fewer conditions.", "Add a larger kind of node."),
    WaitCode.EXCEEDS_MAX_QUOTA: ("Ask for less.", "An admin raises the quota."),
    WaitCode.APPROVAL_REQUIRED: ("Somebody with the right to it approves.",),
    WaitCode.BUDGET_EXCEEDED: ("The budget is raised, or its next period begins.",),
    WaitCode.BUDGET_UNVERIFIABLE: ("The kind of GPU gets a price.",),
    WaitCode.WAITING_FOR_PREEMPTION: ("Those who were asked to make room have saved and stopped.",),
}


def _unblock_capacity(job: QueuedJob, snapshot: Snapshot, now: datetime) -> tuple[str, ...]:
    pool = Pool(snapshot.nodes, snapshot.claims)
    said: list[str] = []
    freest = pool.freest(job.request)
    if freest is not None:
        said.append(f"It needs {job.request.sentence}; the freest node that suits has {in_words(freest)}.")
    nodes = set(pool.suitable(job.request))
    there = [c for c in snapshot.claims if any(part.node_id in nodes for part in c.parts)]
    for claim in sorted(there, key=_end)[:NAMED]:
        said.append(f"Job {claim.job_id} ends{_when(claim)} and frees {in_words(claim.total)}.")
    return tuple(said)


def _end(claim: Claim) -> tuple[bool, datetime, int]:
    known = claim.expected_end
    return known is None, known or claim.started_at, claim.job_id


def _when(claim: Claim) -> str:
    return f" at about {claim.expected_end:%Y-%m-%d %H:%M} UTC" if claim.expected_end else ""


def _wait_of(job: QueuedJob, made: Plan, snapshot: Snapshot) -> Wait:
    broken = {each.job_id: words_of(each.error) for each in made.broken}
    words = broken.get(job.id, snapshot.aside.get(job.id))
    if words is not None:
        return Wait(job.lane, job, WaitCode.MISCONFIGURED, ASIDE_WORDS + words)
    for wait in made.waits:
        if wait.lane == job.lane and (wait.job.submitted_at, wait.job.id) <= (job.submitted_at, job.id):
            if wait.job.id != job.id and wait.code is WaitCode.WAITING_FOR_PREEMPTION:
                return Wait(job.lane, job, WaitCode.WAITING_FOR_CAPACITY, f"Waits behind job {wait.job.id}.")
            return wait
    return Wait(job.lane, job, WaitCode.PENDING_EVALUATION, "The scheduler has not come to it yet.")


def _still(made: Plan) -> frozenset[str]:
    """Lanes whose first waiting job waits for what time alone does not bring."""
    return frozenset(wait.lane for wait in made.waits if not moves(wait.code))


def _position(queue: Queue, job: QueuedJob, line: Line) -> int:
    """Its place among all that wait, by the key that orders them now."""
    return 1 + sum(line.before(lane, job) for lane in queue.lanes())


def _head(wait: Wait, snapshot: Snapshot, now: datetime) -> Head:
    job, queue = wait.job, snapshot.queue
    return Head(
        job_id=job.id,
        owner=job.owner,
        team=job.team,
        lane=job.lane,
        code=wait.code,
        message=wait.message,
        waiting=len(queue.lane(job.lane)) - queue.ahead_in_lane(job),
        priority=job.priority,
        effective_priority=effective_priority(job, snapshot.policy, now),
        submitted_at=job.submitted_at,
    )
