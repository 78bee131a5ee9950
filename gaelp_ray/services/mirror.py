"""The queue in memory: read once, then kept by the feed of events."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gaelp_ray.domain.duties import Failed, Troubles, isolated
from gaelp_ray.domain.holds import Holds
from gaelp_ray.domain.quotas import QuotaBook
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Blocked, Plan, Queue, QueuedJob, WaitCode
from gaelp_ray.store import events as event_store
from gaelp_ray.store import holds as hold_store
from gaelp_ray.store import lanes as lane_store
from gaelp_ray.store import queue as queue_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store import revision as revision_store
from gaelp_ray.store import snapshot
from gaelp_ray.store.events import Touched
from gaelp_ray.store.lanes import Reason

#: Usage in the past changes slowly; it is read so often.
HISTORY_EVERY = timedelta(seconds=30)
#: What ended so recently is left to the next reading: its transaction may still be under way.
HISTORY_LAG = timedelta(seconds=5)
#: Half-lives after which usage is forgotten.
HISTORY_HALF_LIVES = 10
#: The size of the queue is written down when it changed, and so often in any case.
DEPTH_EVERY = timedelta(seconds=10)
_PAUSED = Blocked(WaitCode.DEACTIVATED, "Its agent is paused; resume the agent to let its jobs start.")


@dataclass(frozen=True)
class Rules:
    """What plans go by and people change."""

    revision: int
    quotas: QuotaBook
    holds: Holds
    blocked: Mapping[int, Blocked]
    #: Quotas that cannot be read, and why; they allow nothing.
    unread: Mapping[str, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """Decayed usage of each owner as it was ``at`` some time: CPU, memory, GPU."""

    at: datetime
    #: Attempts that ended up to then are in it.
    until: datetime
    used: Mapping[str, tuple[float, float, float]]

    def resources(self) -> dict[str, Resources]:
        return {owner: Resources(*map(round, amounts)) for owner, amounts in self.used.items()}


class Mirror:
    """What a scheduler remembers between ticks. Losing it loses nothing but the time to read it again.

    A job's team is not stored with it: it is its owner's team now, by the quotas in force, so that a user
    who changes teams takes his waiting jobs along.
    """

    def __init__(
        self, jobs: Iterable[QueuedJob], rules: Rules, told: Mapping[str, Reason], from_xid: int
    ) -> None:
        self.rules = rules
        self.queue = Queue(self._with_team(job) for job in jobs)
        #: Lane -> the reason that is written on it.
        self.told = dict(told)
        self.history: History | None = None
        #: Waiting jobs whose rows cannot be read, and why; they are not in the queue.
        self.unreadable: dict[int, Exception] = {}
        #: The size of the queue as it was last written down, and when.
        self.depth: tuple[int, datetime] | None = None
        self.from_xid = from_xid
        #: Events from ``from_xid`` on that were heeded already, with their transactions.
        self._heeded: dict[int, int] = {}

    def unheeded(self, touched: Touched) -> set[int]:
        """Jobs with events that were not seen before."""
        return {job_id for event, (_, job_id) in touched.events.items() if event not in self._heeded}

    def heed(self, touched: Touched, jobs: Iterable[int], waiting: Iterable[QueuedJob]) -> None:
        """Take over how these jobs are now; what does not wait leaves the queue."""
        waits = {job.id: job for job in waiting}
        for job_id in jobs:
            self.unreadable.pop(job_id, None)
            job = waits.get(job_id)
            if job is None:
                self.queue.remove(job_id)
            elif (known := self.queue.get(job_id)) is None or known.row_version < job.row_version:
                self.queue.put(self._with_team(job))
        self.from_xid = touched.safe_xid
        self._heeded = {event: xid for event, (xid, _) in touched.events.items() if xid >= touched.safe_xid}

    def adopt(self, rules: Rules) -> None:
        """Go by new rules; who has changed teams takes his jobs along."""
        self.rules = rules
        moved = [lane for lane in self.queue.lanes() if lane[0].team != rules.quotas.team_of(lane[0].owner)]
        for job in [job for lane in moved for job in lane]:
            self.queue.put(self._with_team(job))

    def news(self, plan: Plan) -> dict[str, Reason]:
        """Reasons of the plan that are not written on their lanes yet."""
        reasons = {wait.lane: (str(wait.code), wait.message) for wait in plan.waits}
        return {lane: reason for lane, reason in reasons.items() if self.told.get(lane) != reason}

    def empty_lanes(self) -> set[str]:
        """Lanes with a reason and without jobs."""
        return {lane for lane in self.told if not self.queue.lane(lane)}

    def depth_is_stale(self, now: datetime) -> bool:
        return self.depth is None or self.depth[0] != len(self.queue) or now - self.depth[1] > DEPTH_EVERY

    def _with_team(self, job: QueuedJob) -> QueuedJob:
        team = self.rules.quotas.team_of(job.owner)
        return job if job.team == team else replace(job, team=team)


def load(tx: Connection) -> Mirror:
    """Read the whole queue. To be called after the lease was taken: nobody else admits from then on.

    A row that cannot be read is left out, and noted on the mirror.
    """
    # The watermark first: whatever is not over yet will have its event at or above it.
    from_xid = event_store.safe_xid(tx)
    rules = read_rules(tx)
    told = lane_store.read(tx)
    try:
        with tx.begin_nested():
            return Mirror(queue_store.stream(tx), rules, told, from_xid)
    except DBAPIError:
        raise
    except Exception:
        jobs, unreadable = _read(tx, queue_store.ids(tx))
        mirror = Mirror(jobs, rules, told, from_xid)
        mirror.unreadable = unreadable
        return mirror


def refresh(connection: Connection, mirror: Mirror, *, again: Collection[int] = ()) -> frozenset[int]:
    """Catch up with what happened to the queue since; returns the jobs that were looked at again.

    Whatever is committed is seen at once. An event is heeded once, though the mirror may meet it again until
    every earlier transaction is over; a late one is met then. ``again``: jobs to look at in any case. A row
    that cannot be read leaves the queue, and is noted on the mirror.
    """
    touched = event_store.touched(connection, mirror.from_xid)
    jobs = mirror.unheeded(touched).union(again)
    waiting, unreadable = _read(connection, sorted(jobs)) if jobs else ([], {})
    mirror.heed(touched, jobs, waiting)
    mirror.unreadable |= unreadable
    return frozenset(jobs)


def _read(connection: Connection, job_ids: Sequence[int]) -> tuple[list[QueuedJob], dict[int, Exception]]:
    """Those of the jobs that wait, and those that cannot be read."""

    def together(part: Sequence[int]) -> list[QueuedJob | None]:
        found = {job.id: job for job in queue_store.read(connection, part)}
        return [found.get(job_id) for job_id in part]

    found: list[QueuedJob] = []
    unreadable: dict[int, Exception] = {}
    for job_id, result in zip(job_ids, isolated(job_ids, together), strict=True):
        if isinstance(result, Failed):
            unreadable[job_id] = result.error
        elif result is not None:
            found.append(result)
    return found, unreadable


def read_rules(connection: Connection) -> Rules:
    """What people have laid down."""
    troubles = Troubles[str]()
    # The revision first: what changes in between is read again at the next one.
    revision = revision_store.get(connection)
    return Rules(
        revision=revision,
        quotas=quota_store.book(connection, troubles),
        holds=Holds(hold_store.all_in_force(connection)),
        blocked=dict.fromkeys(snapshot.paused_agents(connection), _PAUSED),
        unread=troubles.found,
    )


def read_history(
    connection: Connection, before: History | None, *, half_life: timedelta, now: datetime
) -> History:
    """Usage in the past: what was known of it, decayed, and what has ended since (see ``store.snapshot``)."""
    if before is not None and timedelta(0) <= now - before.at < HISTORY_EVERY:
        return before
    until = now - HISTORY_LAG
    since = before.until if before is not None else now - half_life * HISTORY_HALF_LIVES
    used = snapshot.used(connection, since=since, until=until, now=now, half_life=half_life)
    if before is not None:
        left = 2.0 ** -((now - before.at) / half_life)
        for owner, (cpu, memory, gpu) in before.used.items():
            more = used.get(owner, (0.0, 0.0, 0.0))
            used[owner] = cpu * left + more[0], memory * left + more[1], gpu * left + more[2]
    return History(now, until, used)
