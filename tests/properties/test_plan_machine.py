"""A cluster that lives: jobs come, start, make room, end, lose their nodes, are held; plan after plan.

What is checked holds over time, where a single plan cannot show it: nobody is preempted in turn, nobody waits
for ever, and what is carried out leaves every limit whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gaelp_ray.domain.holds import Hold, HoldMode, Holds, HoldScope
from gaelp_ray.domain.quotas import EVERYTHING, Quota, QuotaBook, QuotaKind
from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    Part,
    Plan,
    PreemptionReason,
    Queue,
    QueuedJob,
    Reservation,
    SchedulingPolicy,
    Snapshot,
    lane_of,
    plan,
)
from gaelp_ray.domain.scheduling.pool import Pool
from tests.builders import T0, resources

NODES = tuple(Node(f"n{i}", resources(4, 16, 2)) for i in range(3))
USERS = ("ann", "bob")
QUOTAS = QuotaBook.of(
    [
        Quota(QuotaKind.USER, "ann", team="ads", limit=replace(EVERYTHING, cpu=6000)),
        Quota(QuotaKind.USER, "bob", team="ads", limit=replace(EVERYTHING, cpu=6000)),
    ]
)
POLICY = SchedulingPolicy(
    aging_step=timedelta(hours=1),
    preempt_after=timedelta(seconds=10),
    preempt_after_most=timedelta(minutes=1),
    preemption_budget=4,
)


@dataclass(frozen=True)
class Wanted:
    """A job as it was submitted, to be queued again when it has made room."""

    job: QueuedJob
    preemptions: int = 0


class Cluster:
    """Carries plans out at once, as the service does in the end."""

    def __init__(self, policy: SchedulingPolicy = POLICY, quotas: QuotaBook = QUOTAS) -> None:
        self.now = T0
        self.nodes = {node.id: node for node in NODES}
        self.queue = Queue()
        self.running: dict[int, Claim] = {}
        self.jobs: dict[int, Wanted] = {}
        self.reserved: dict[int, Reservation] = {}
        self.holds: dict[str, Hold] = {}
        #: (who made room, for whom), where rank alone decided.
        self.made_room: set[tuple[int, int]] = set()
        self.ended: set[int] = set()
        self._policy = policy
        self._quotas = quotas

    def submit(
        self, owner: str, *, cpu: float, gpu: float = 0, workers: int = 1, priority: int, preemptible: bool
    ) -> int:
        job_id = len(self.jobs) + 1
        request = Request(resources(cpu, 1, gpu), workers)
        lane = lane_of(
            owner=owner,
            team="ads",
            agent_id=1,
            priority=priority,
            request=request,
            preemptible=preemptible,
            expected_s=None,
        )
        job = QueuedJob(
            job_id, 1, lane, owner, "ads", 1, priority, self.now, self.now, request, preemptible=preemptible
        )
        self.jobs[job_id] = Wanted(job)
        self.queue.put(job)
        return job_id

    def snapshot(self) -> Snapshot:
        return Snapshot(
            nodes=tuple(self.nodes.values()),
            claims=tuple(self.running.values()),
            queue=self.queue,
            quotas=self._quotas,
            holds=Holds(self.holds.values()),
            reservations=tuple(self.reserved.values()),
            policy=self._policy,
        )

    def tick(self) -> Plan:
        snapshot = self.snapshot()
        made = plan(snapshot, self.now)
        assert made == plan(snapshot, self.now), "the same snapshot gives the same plan"
        for start in made.starts:
            self.start(start.job, tuple(Part(p.node_id, p.resources, p.gpus) for p in start.placement))
        for preemption in made.preemptions:
            claim = self.running[preemption.job_id]
            self.running[preemption.job_id] = replace(claim, ending=True)
            if preemption.for_job_id is not None and preemption.reason is PreemptionReason.PRIORITY:
                self.made_room.add((preemption.job_id, preemption.for_job_id))
        for reserve in made.reserves:
            parts = tuple(Part(p.node_id, p.resources, p.gpus) for p in reserve.placement)
            until = self.now + self._policy.reservation
            self.reserved[reserve.job.id] = Reservation(reserve.job.id, parts, until)
        return made

    def start(self, job: QueuedJob, parts: tuple[Part, ...]) -> None:
        self.queue.remove(job.id)
        self.reserved.pop(job.id, None)
        self.running[job.id] = Claim(
            job.id,
            job.owner,
            job.team,
            job.agent_id,
            job.priority,
            job.preemptible,
            parts,
            started_at=self.now,
            preemptions=self.jobs[job.id].preemptions,
        )

    def leave(self, job_id: int) -> None:
        """One that was asked to make room has saved and left."""
        del self.running[job_id]
        wanted = self.jobs[job_id]
        self.jobs[job_id] = Wanted(wanted.job, wanted.preemptions + 1)
        self.queue.put(replace(wanted.job, queued_at=self.now, preemptions=wanted.preemptions + 1))

    def end(self, job_id: int) -> None:
        del self.running[job_id]
        self.ended.add(job_id)

    def lose_node(self, node_id: str) -> None:
        del self.nodes[node_id]
        for claim in [c for c in self.running.values() if any(p.node_id == node_id for p in c.parts)]:
            del self.running[claim.job_id]
            self.queue.put(self.jobs[claim.job_id].job)


class SchedulerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()

    @rule(
        owner=st.sampled_from(USERS),
        cpu=st.sampled_from([0.5, 1, 2, 4]),
        gpu=st.sampled_from([0, 0, 0.5, 1, 2]),
        workers=st.sampled_from([1, 1, 1, 2]),
        priority=st.integers(1, 10),
        preemptible=st.booleans(),
    )
    def submit(
        self, owner: str, cpu: float, gpu: float, workers: int, priority: int, preemptible: bool
    ) -> None:
        self.cluster.submit(
            owner, cpu=cpu, gpu=gpu, workers=workers, priority=priority, preemptible=preemptible
        )

    @rule()
    def tick(self) -> None:
        made = self.cluster.tick()
        held = set(self.cluster.holds)
        assert not held & {start.job.owner for start in made.starts}, "what is on hold does not start"

    @rule(seconds=st.sampled_from([1, 15, 70, 4000]))
    def pass_time(self, seconds: int) -> None:
        self.cluster.now += timedelta(seconds=seconds)

    @precondition(lambda self: any(c.ending for c in self.cluster.running.values()))
    @rule(data=st.data())
    def make_room(self, data: st.DataObject) -> None:
        stopping = sorted(c.job_id for c in self.cluster.running.values() if c.ending)
        self.cluster.leave(data.draw(st.sampled_from(stopping)))

    @precondition(lambda self: self.cluster.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.cluster.end(data.draw(st.sampled_from(sorted(self.cluster.running))))

    @precondition(lambda self: len(self.cluster.nodes) > 1)
    @rule(data=st.data())
    def lose_node(self, data: st.DataObject) -> None:
        self.cluster.lose_node(data.draw(st.sampled_from(sorted(self.cluster.nodes))))

    @rule(node=st.sampled_from(NODES))
    def add_node(self, node: Node) -> None:
        self.cluster.nodes[node.id] = node

    @rule(user=st.sampled_from(USERS), mode=st.sampled_from(HoldMode))
    def hold(self, user: str, mode: HoldMode) -> None:
        self.cluster.holds[user] = Hold(HoldScope.USER, user, mode, "why", "root", self.cluster.now)

    @rule(user=st.sampled_from(USERS))
    def lift(self, user: str) -> None:
        self.cluster.holds.pop(user, None)

    @invariant()
    def no_node_holds_more_than_it_has(self) -> None:
        pool = Pool(tuple(self.cluster.nodes.values()), self.cluster.running.values())
        for node in self.cluster.nodes:
            free = pool.free_on(node)
            assert free.cpu_milli >= 0, node
            assert free.memory_bytes >= 0, node
            assert free.gpu_milli >= 0, node

    @invariant()
    def the_team_holds_no_more_than_its_members_may_together(self) -> None:
        cpu = sum(claim.total.cpu_milli for claim in self.cluster.running.values())
        assert cpu <= 12_000

    @invariant()
    def every_job_is_in_exactly_one_place(self) -> None:
        queued = {job.id for job in self.cluster.queue}
        running = set(self.cluster.running)
        assert not queued & running
        assert queued | running | self.cluster.ended == set(self.cluster.jobs)

    @invariant()
    def no_two_jobs_make_room_for_each_other(self) -> None:
        made_room = self.cluster.made_room
        assert not [pair for pair in made_room if pair[::-1] in made_room]

    @invariant()
    def nobody_makes_room_more_often_than_he_must(self) -> None:
        allowed = POLICY.preemption_budget
        drained = any(h.mode is HoldMode.HOLD_AND_DRAIN for h in self.cluster.holds.values())
        if not drained and not self.cluster.holds:
            victims = [v for v, _ in self.cluster.made_room]
            assert all(victims.count(job_id) <= allowed for job_id in set(victims))


TestScheduler = SchedulerMachine.TestCase
TestScheduler.settings = settings(max_examples=60, stateful_step_count=30)


@given(
    priority=st.integers(1, 10),
    preemptible=st.booleans(),
    cpu=st.sampled_from([1, 4]),
    stream=st.lists(
        st.tuples(st.sampled_from([1, 2, 4]), st.integers(1, 10), st.booleans()), min_size=3, max_size=8
    ),
)
@settings(max_examples=25)
def test_nobody_starves_under_a_stream_that_never_ends(
    priority: int, preemptible: bool, cpu: int, stream: list[tuple[int, int, bool]]
) -> None:
    """Others come faster than they can run, at any priority; each runs for 5 minutes. It starts in a day."""
    policy = replace(POLICY, protect_after=timedelta(minutes=30), fair_share=True)
    cluster = Cluster(policy=policy, quotas=QuotaBook())
    mine = cluster.submit("ann", cpu=cpu, priority=priority, preemptible=preemptible)
    for minute in range(0, 24 * 60, 5):
        for wanted, rank, yields in stream:
            for _ in range(3):
                cluster.submit("bob", cpu=wanted, priority=rank, preemptible=yields)
        cluster.tick()
        if mine in cluster.running:
            return
        cluster.now = T0 + timedelta(minutes=minute + 5)
        for job_id in list(cluster.running):
            cluster.end(job_id)
        for job_id in [job.id for job in cluster.queue if job.id != mine and len(cluster.queue) > 200]:
            cluster.queue.remove(job_id)
            cluster.ended.add(job_id)
    raise AssertionError("it never started")


def test_a_stopped_scheduler_that_starts_again_decides_the_same() -> None:
    """All it needs is in the snapshot: nothing is remembered from plan to plan."""
    cluster = Cluster()
    for number in range(12):
        cluster.submit(USERS[number % 2], cpu=1, priority=1 + number % 10, preemptible=bool(number % 3))
    for _ in range(5):
        again = plan(replace(cluster.snapshot(), queue=Queue(list(cluster.queue)[::-1])), cluster.now)
        assert cluster.tick() == again
        cluster.now += timedelta(seconds=30)
        for claim in [c for c in cluster.running.values() if c.ending]:
            cluster.leave(claim.job_id)
