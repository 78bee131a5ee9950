"""The scheduler's decision: a frozen snapshot in, a frozen plan out; no clock, no store, no cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime

from gaelp_ray.domain.holds import HoldMode
from gaelp_ray.domain.quotas import Amounts, Usage, Verdict
from gaelp_ray.domain.requests import Request, Spot, in_words
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling.backfill import Shadow, shadow_of
from gaelp_ray.domain.scheduling.decisions import (
    Blocked,
    Broken,
    Placed,
    Plan,
    Preemption,
    PreemptionReason,
    Reserve,
    Start,
    Wait,
    WaitCode,
)
from gaelp_ray.domain.scheduling.funds import Purse
from gaelp_ray.domain.scheduling.growth import Growth
from gaelp_ray.domain.scheduling.nodes import suits
from gaelp_ray.domain.scheduling.ordering import Line, shares_of
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.domain.scheduling.preemption import Rank, Room, RoomMaker, may_stop, rank, yields_to
from gaelp_ray.domain.scheduling.queue import QueuedJob
from gaelp_ray.domain.scheduling.snapshot import Claim, Snapshot
from gaelp_ray.domain.switches import SwitchScope, Target, covering

#: Blocked heads in one plan for which it is worked out when they will fit.
MOST_LOOKS_AHEAD = 4


def plan(snapshot: Snapshot, now: datetime) -> Plan:
    """Decide who starts where, who makes room, and why everybody else waits.

    Deterministic: equal snapshots give equal plans, whatever the order of what is in them. A job that cannot
    be decided about is named in ``Plan.broken``, and all others are planned as if it were not there: the plan
    is made anew, since what was decided by halves may be wrong.
    """
    broken: dict[int, Broken] = {}
    lanes_of_broken: set[str] = set()
    lanes: set[str] = set()
    while True:
        try:
            made = Planner(snapshot, now, without=snapshot.aside.keys() | broken.keys(), lanes=lanes).plan()
        except _Undecided as error:
            job = error.job
            # The second of a kind: the rest of its lane is likely to be no better.
            if job.lane in lanes_of_broken:
                lanes.add(job.lane)
            lanes_of_broken.add(job.lane)
            broken[job.id] = Broken(job.id, error.why)
        else:
            return replace(made, broken=tuple(broken.values()))


class _Undecided(Exception):
    """A job that could not be decided about."""

    def __init__(self, job: QueuedJob, why: Exception) -> None:
        super().__init__(job.id)
        self.job, self.why = job, why


class Planner:
    """One decision in the making: what is left of everything, and what was decided so far."""

    def __init__(
        self,
        snapshot: Snapshot,
        now: datetime,
        *,
        without: Collection[int] = (),
        lanes: Collection[str] = (),
    ) -> None:
        """``without``: jobs, and ``lanes``, that are passed over."""
        self._without = without
        self._lanes = [lane for lane in snapshot.queue.lanes() if lane[0].lane not in lanes]
        self._snapshot = snapshot
        self._now = now
        self._policy = snapshot.policy
        self._claims = sorted(snapshot.claims, key=lambda claim: claim.job_id)
        self._pool = Pool(snapshot.nodes, self._claims)
        self._usage = Usage(snapshot.quotas, _held(self._claims) if snapshot.quotas.quotas else {})
        self._purse = Purse(snapshot.funds)
        self._shares = shares_of(snapshot)
        self._growth = Growth(snapshot.shapes)
        self._anything_held = any(True for _ in snapshot.holds)
        self._shadows: list[Shadow] = []
        self._reserved: dict[int, tuple[Placed, ...]] = {}
        self._stopping: dict[int, Claim] = {}
        self._preemptors = 0
        self._may_stop = {c.job_id: c for c in self._claims if may_stop(c, self._policy, now)}
        self._of_team: dict[str | None, list[Claim]] = defaultdict(list)
        self._of_owner: dict[str, list[Claim]] = defaultdict(list)
        for claim in self._claims if snapshot.quotas.quotas else ():
            self._of_team[claim.team].append(claim)
            self._of_owner[claim.owner].append(claim)
        # Within a plan room only shrinks and fewer may be stopped, so what was found impossible stays so.
        self._full: set[tuple[str, bool]] = set()
        self._no_victims: set[tuple[str, bool, Rank]] = set()
        self._room_maker: RoomMaker | None = None
        self._matching: dict[str, bool] = {}
        self._amounts: dict[str, Amounts] = {}
        self._never: dict[tuple[str, str], Verdict | None] = {}
        #: What will be free when everybody has left who was told to; None until it is asked for.
        self._later: Pool | None = None
        self._anybody_stops = any(claim.ending for claim in self._claims)
        self._looked_ahead = 0
        #: Jobs that fit now but would take the room of a protected head.
        self._held_back: set[int] = set()
        self._starts: list[Start] = []
        self._preemptions: list[Preemption] = []
        self._reserves: list[Reserve] = []
        self._waits: list[Wait] = []

    def plan(self) -> Plan:
        # 1. Whoever a hold drains makes room for nobody in particular.
        self._drain()
        # 2. Room that was made for a job is kept for it.
        self._keep_reserved()
        # 3. The heads of lanes, first one first.
        line = Line(self._lanes, self._shares, self._policy, self._now)
        while (head := line.pop()) is not None:
            lane, place = head
            if lane[place].id in self._without or self._decide(lane[place]):
                line.push(lane, place + 1)
        return Plan(
            starts=tuple(self._starts),
            preemptions=tuple(self._preemptions),
            reserves=tuple(self._reserves),
            waits=tuple(self._waits),
            demands=self._growth.demands(),
        )

    def _drain(self) -> None:
        if all(hold.mode is HoldMode.HOLD for hold in self._snapshot.holds):
            return
        for claim in self._claims:
            hold = self._snapshot.holds.on(owner=claim.owner, team=claim.team, agent_id=claim.agent_id)
            if hold is not None and hold.mode is HoldMode.HOLD_AND_DRAIN and not claim.ending:
                self._stop(claim, PreemptionReason.DRAINED, None, hold.sentence())

    def _keep_reserved(self) -> None:
        for reservation in self._snapshot.reservations:
            job = self._snapshot.queue.get(reservation.job_id)
            if job is None or reservation.until <= self._now:
                continue
            placed = [
                Placed(part.node_id, part.resources, part.gpus)
                for part in reservation.parts
                if part.node_id is not None and self._pool.has(part.node_id)
            ]
            if len(placed) == len(reservation.parts):
                self._pool.take(placed)
                self._reserved[job.id] = tuple(placed)

    def _decide(self, job: QueuedJob) -> bool:
        try:
            return self._consider(job)
        except Exception as error:
            raise _Undecided(job, error) from error

    def _consider(self, job: QueuedJob) -> bool:
        """Start the job, or say why it and the rest of its lane wait; True when the lane may go on."""
        if len(self._starts) >= self._policy.starts:
            return self._wait(job, WaitCode.PENDING_EVALUATION, "The scheduler has not come to it yet.")
        gate = self._gate(job)
        if gate is not None:
            return self._wait(job, gate.code, gate.message)
        asked = self._asked(job)
        refused = self._usage.refuses(job.owner, asked) if self._snapshot.quotas.quotas else None
        if refused is not None:
            return self._wait_for_quota(job, asked, refused)
        on_demand = self._takes_on_demand(job)
        placement = self._place(job, on_demand)
        if placement is None:
            return self._wait_for_room(job, on_demand)
        self._take(placement)
        self._usage.add(job.owner, asked)
        self._shares.add(job.owner, job.request.total)
        self._starts.append(Start(job, placement, self._purse.take(job)))
        return True

    def _asked(self, job: QueuedJob) -> Amounts:
        asked = self._amounts.get(job.request.key)
        if asked is None:
            asked = self._amounts[job.request.key] = Amounts.of(job.request.total)
        return asked

    def _take(self, placement: tuple[Placed, ...]) -> None:
        self._pool.take(placement)
        if self._later is not None:
            self._later.take(placement)

    def _gate(self, job: QueuedJob) -> Blocked | None:
        """What keeps a job waiting whatever is free, in the order in which it is told."""
        blocked = self._snapshot.blocked.get(job.agent_id)
        if blocked is not None and blocked.code is WaitCode.DEACTIVATED:
            return blocked
        stopped = self._stopped(job)
        if stopped is not None:
            return stopped
        if not self._matches(job.request):
            return Blocked(WaitCode.NO_MATCHING_SHAPE, self._why_no_match(job.request))
        never = blocked or self._unpaid(job)
        if never is None and (verdict := self._never_fits(job)) is not None:
            return Blocked(WaitCode.EXCEEDS_MAX_QUOTA, f"It can never fit. {verdict.sentence()}")
        return never

    def _stopped(self, job: QueuedJob) -> Blocked | None:
        """Somebody stopped it, or the likes of it."""
        snapshot = self._snapshot
        if snapshot.switches and (switch := covering(_targets(job), snapshot.switches)) is not None:
            return Blocked(WaitCode.DEACTIVATED, switch.sentence())
        hold = self._anything_held and snapshot.holds.on(
            owner=job.owner, team=job.team, agent_id=job.agent_id
        )
        return Blocked(WaitCode.ON_HOLD, hold.sentence()) if hold else None

    def _unpaid(self, job: QueuedJob) -> Blocked | None:
        """It may not spend, or its running time cannot be paid for."""
        unready = self._snapshot.unready.get(job.real_version) if job.real_version is not None else None
        return unready or self._purse.refuses(job)

    def _never_fits(self, job: QueuedJob) -> Verdict | None:
        if not self._snapshot.quotas.quotas:
            return None
        key = (job.owner, job.request.key)
        if key not in self._never:
            self._never[key] = self._snapshot.quotas.never_fits(job.owner, Amounts.of(job.request.total))
        return self._never[key]

    def _matches(self, request: Request) -> bool:
        """Whether the cluster, empty and as large as it may grow, could hold the request."""
        known = self._matching.get(request.key)
        if known is None:
            known = self._matching[request.key] = could_ever_hold(self._snapshot, request)
        return known

    def _why_no_match(self, request: Request) -> str:
        places = [node.total for node in self._snapshot.nodes]
        places += [shape.total for shape in self._snapshot.shapes]
        most = Resources(
            max((t.cpu_milli for t in places), default=0),
            max((t.memory_bytes for t in places), default=0),
            max((t.gpu_milli for t in places), default=0),
        )
        return (
            f"No node that there is or may be can hold {request.sentence}; the most any node has is "
            f"{in_words(most)}. Ask for less or add a larger node."
        )

    def _takes_on_demand(self, job: QueuedJob) -> bool:
        """A job that prefers spot nodes takes others after a wait, or where there are no spot nodes."""
        if job.request.spot is not Spot.PREFER:
            return True
        if self._now - job.queued_at >= self._policy.spot_wait:
            return True
        snapshot = self._snapshot
        coming = any(shape.spot and shape.room for shape in snapshot.shapes)
        return not coming and not any(node.spot for node in snapshot.nodes)

    def _place(self, job: QueuedJob, on_demand: bool) -> tuple[Placed, ...] | None:
        own = self._reserved.get(job.id)
        if own is not None:
            self._pool.give(own)
            placement = self._pool.place(job.request, on_demand=on_demand)
            if placement is None:
                self._pool.take(own)
            else:
                del self._reserved[job.id]
                self._later = None
            return placement
        if (job.request.key, on_demand) in self._full:
            return None
        threatened = [shadow for shadow in self._shadows if not shadow.harmless(job, self._now)]
        without = {node_id for shadow in threatened for node_id in shadow.nodes}
        placement = self._pool.place(job.request, on_demand=on_demand, without=without)
        if placement is None and threatened:
            placement = self._pool.place(job.request, on_demand=on_demand)
            if placement is not None and not all(s.spares(placement) for s in threatened):
                self._held_back.add(job.id)
                return None
            if placement is not None:
                return placement
        if placement is None:
            self._full.add((job.request.key, on_demand))
        return placement

    def _wait_for_room(self, job: QueuedJob, on_demand: bool) -> bool:
        if job.id in self._reserved:
            return self._wait(job, WaitCode.WAITING_FOR_PREEMPTION, "Waits for others to stop and make room.")
        if job.id in self._held_back:
            head = self._shadows[0].head.id
            return self._wait(
                job,
                WaitCode.WAITING_FOR_CAPACITY,
                f"It would delay job {head}, which waits longer for its room.",
            )
        if self._anybody_stops and self._room_is_coming(job, on_demand):
            return self._wait(job, WaitCode.WAITING_FOR_PREEMPTION, "Waits for jobs that are stopping now.")
        room = self._room(job, on_demand, lambda claim: yields_to(claim, job, self._policy))
        if room is not None:
            return self._preempt(job, room, PreemptionReason.PRIORITY)
        if self._asks_for_nodes(job, on_demand):
            return self._wait(
                job, WaitCode.AUTOSCALER_WAITING, "Waits for a node that the autoscaler may add."
            )
        self._protect(job, on_demand)
        words = f"Waits for {job.request.sentence} to be free{self._used_outside(job.request)}."
        return self._wait(job, WaitCode.WAITING_FOR_CAPACITY, words)

    def _used_outside(self, request: Request) -> str:
        """What of the nodes that suit a request is used by others than jobs of the queue."""
        there = [node.outside for node in self._snapshot.nodes if suits(node, request)]
        used = sum(there, Resources())
        if used == Resources():
            return ""
        by = f" by {', '.join(self._snapshot.outsiders[:3])}" if self._snapshot.outsiders else ""
        return f"; {in_words(used)} are used outside the queue{by}"

    def _asks_for_nodes(self, job: QueuedJob, on_demand: bool) -> bool:
        if not self._snapshot.shapes:
            return False
        there = len(self._pool.place_some(job.request, on_demand=on_demand)) if job.request.workers > 1 else 0
        lane = self._snapshot.queue.lane(job.lane)
        return self._growth.ask(lane, job, on_demand=on_demand, there=there)

    def _wait_for_quota(self, job: QueuedJob, asked: Amounts, refused: Verdict) -> bool:
        if job.id not in self._reserved:
            reason = PreemptionReason.RECLAIMED if refused.reclaimable else PreemptionReason.OWN_QUOTA
            victims = self._quota_victims(job, asked, refused)
            if victims:
                on_demand = self._takes_on_demand(job)
                room = self._room(
                    job, on_demand, lambda claim: yields_to(claim, job, self._policy), already=victims
                )
                if room is not None:
                    return self._preempt(job, room, reason)
        else:
            return self._wait(job, WaitCode.WAITING_FOR_PREEMPTION, "Waits for others to stop and make room.")
        return self._wait(job, WaitCode.WAITING_FOR_QUOTA, refused.sentence())

    def _quota_victims(self, job: QueuedJob, asked: Amounts, refused: Verdict) -> list[Claim]:
        """A minimal set whose end brings the job within its quota; empty when there is none."""
        if self._preemptors >= self._policy.preemptors:
            return []
        if refused.reclaimable:
            candidates = [c for c in self._of_team[job.team] if c.owner != job.owner]
        else:
            candidates = [c for c in self._of_owner[job.owner] if yields_to(c, job, self._policy)]
        candidates = [c for c in candidates if c.job_id in self._may_stop]
        candidates.sort(key=lambda c: (c.priority, c.lost_s(self._now), c.job_id))
        stop: list[Claim] = []
        for claim in candidates:
            if refused.reclaimable and not self._usage.borrows(claim.owner):
                continue
            self._usage.remove(claim.owner, claim.amounts)
            stop.append(claim)
            if self._usage.refuses(job.owner, asked) is None:
                break
        enough = bool(stop) and self._usage.refuses(job.owner, asked) is None
        for claim in reversed(stop[:-1]) if enough else ():
            self._usage.add(claim.owner, claim.amounts)
            if self._usage.refuses(job.owner, asked) is None:
                stop.remove(claim)
            else:
                self._usage.remove(claim.owner, claim.amounts)
        for claim in stop:
            self._usage.add(claim.owner, claim.amounts)
        return stop if enough else []

    def _room(
        self, job: QueuedJob, on_demand: bool, yields: Callable[[Claim], bool], already: Sequence[Claim] = ()
    ) -> Room | None:
        if self._preemptors >= self._policy.preemptors or not self._may_stop:
            return None
        key = (job.request.key, on_demand, rank(job.priority, job.preemptible))
        if not already and key in self._no_victims:
            return None
        if self._room_maker is None:
            self._room_maker = RoomMaker(self._pool, self._may_stop.values(), self._now)
        room = self._room_maker.make(job.request, yields, on_demand=on_demand, already=already)
        if room is None and not already:
            self._no_victims.add(key)
        return room

    def _room_is_coming(self, job: QueuedJob, on_demand: bool) -> bool:
        """Whether what is stopping already leaves room; if so it is kept for this job in this plan."""
        if self._later is None:
            self._later = self._pool.clone()
            for claim in self._claims:
                if claim.ending or claim.job_id in self._stopping:
                    self._later.release(claim.job_id)
        placement = self._later.place(job.request, on_demand=on_demand)
        if placement is None:
            return False
        self._take(placement)
        return True

    def _preempt(self, job: QueuedJob, room: Room, reason: PreemptionReason) -> bool:
        """Ask victims to stop, and keep their room for the job; nobody else sees it as free."""
        self._preemptors += 1
        for claim in room.victims:
            told = (
                f"Makes room for job {job.id} of {job.owner} (priority {job.priority}): {_REASONS[reason]}."
            )
            self._stop(claim, reason, job.id, told)
        self._take(room.placement)
        self._usage.add(job.owner, Amounts.of(job.request.total))
        self._reserves.append(Reserve(job, room.placement))
        names = ", ".join(str(claim.job_id) for claim in room.victims[:10])
        return self._wait(
            job, WaitCode.WAITING_FOR_PREEMPTION, f"Waits for jobs to stop and make room: {names}."
        )

    def _stop(self, claim: Claim, reason: PreemptionReason, for_job: int | None, message: str) -> None:
        self._stopping[claim.job_id] = claim
        self._may_stop.pop(claim.job_id, None)
        if self._room_maker is not None:
            self._room_maker.forget(claim.job_id)
        self._anybody_stops, self._later = True, None
        self._preemptions.append(Preemption(claim.job_id, reason, for_job, message))

    def _protect(self, job: QueuedJob, on_demand: bool) -> None:
        policy = self._policy
        if len(self._shadows) >= policy.protected_heads or self._looked_ahead >= MOST_LOOKS_AHEAD:
            return
        waited = self._now - job.submitted_at
        if waited < policy.protect_after:
            return
        self._looked_ahead += 1
        shadow = shadow_of(job, self._pool, self._claims, self._now, on_demand=on_demand)
        # Room that comes late would stand empty for long; the longer the wait, the more that may cost.
        if shadow is not None and shadow.at - self._now <= waited * policy.protect_horizon:
            self._shadows.append(shadow)

    def _wait(self, job: QueuedJob, code: WaitCode, message: str) -> bool:
        self._waits.append(Wait(job.lane, job, code, message))
        return False


_REASONS = {
    PreemptionReason.PRIORITY: "it has the higher rank",
    PreemptionReason.RECLAIMED: "your team lends you this quota and its owner needs it",
    PreemptionReason.OWN_QUOTA: "your own quota is used up and that job is more important",
}


def could_ever_hold(snapshot: Snapshot, request: Request) -> bool:
    """Whether live nodes and those that may be added, all empty, could hold every worker together."""
    missing = request.workers
    for node in snapshot.nodes:
        if missing > 0 and suits(node, request):
            missing -= _times(request.resources, node.total)
    for shape in snapshot.shapes:
        if missing > 0 and suits(shape, request):
            missing -= _times(request.resources, shape.total) * shape.room
    return missing <= 0


def _times(one: Resources, total: Resources) -> int:
    """How often a request fits on an empty node."""
    pairs = (
        (one.cpu_milli, total.cpu_milli),
        (one.memory_bytes, total.memory_bytes),
        (one.gpu_milli, total.gpu_milli),
    )
    return min((there // asked for asked, there in pairs if asked), default=0)


def _targets(job: QueuedJob) -> tuple[Target, Target]:
    return Target(SwitchScope.AGENT, str(job.agent_id)), Target(SwitchScope.USER, job.owner)


def _held(claims: Sequence[Claim]) -> dict[str, Amounts]:
    held: dict[str, Amounts] = {}
    for claim in claims:
        held[claim.owner] = held.get(claim.owner, Amounts()) + claim.amounts
    return held
