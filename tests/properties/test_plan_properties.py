"""What is true of every plan, whatever the cluster, the queue, the quotas and the holds."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.holds import Hold, HoldMode, Holds, HoldScope
from gaelp_ray.domain.quotas import EVERYTHING, FIELDS, NOTHING, Amounts, Quota, QuotaBook, QuotaKind
from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET, Request, Spot
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    NodeShape,
    Part,
    PreemptionMode,
    PreemptionReason,
    Queue,
    QueuedJob,
    SchedulingPolicy,
    Snapshot,
    WaitCode,
    lane_of,
    plan,
)
from gaelp_ray.domain.scheduling.pool import Pool
from gaelp_ray.domain.scheduling.preemption import rank
from tests.builders import T0, at

NODES = ("n1", "n2", "n3", "n4")
USERS = ("ann", "bob", "eve")
TEAM = {"ann": "ads", "bob": "ads", "eve": None}


def amounts(most: int) -> st.SearchStrategy[Resources]:
    """Few and small numbers, so that requests often just fit and often just do not."""
    return st.builds(
        Resources,
        cpu_milli=st.integers(1, most).map(lambda n: n * 500),
        memory_bytes=st.integers(1, most),
        gpu_milli=st.sampled_from([0, 0, 0, 300, 500, 1000, 2000]),
    )


@st.composite
def waiting_jobs(draw: st.DrawFn) -> QueuedJob:
    owner = draw(st.sampled_from(USERS))
    request = Request(
        draw(amounts(6)),
        workers=draw(st.sampled_from([1, 1, 1, 2, 3])),
        spot=draw(st.sampled_from([Spot.AVOID, Spot.AVOID, Spot.PREFER, Spot.ONLY])),
    )
    priority, preemptible = draw(st.integers(1, 10)), draw(st.booleans())
    expected_s = draw(st.sampled_from([None, 60.0, 3600.0]))
    submitted = at(draw(st.sampled_from([-40_000, -4000, -5, 0])))
    return QueuedJob(
        id=draw(st.integers(1, 10**6)),
        row_version=1,
        lane=lane_of(
            owner=owner,
            team=TEAM[owner],
            agent_id=1,
            priority=priority,
            request=request,
            preemptible=preemptible,
            expected_s=expected_s,
        ),
        owner=owner,
        team=TEAM[owner],
        agent_id=1,
        priority=priority,
        submitted_at=submitted,
        queued_at=submitted,
        request=request,
        preemptible=preemptible,
        expected_s=expected_s,
        expected_p90_s=expected_s and expected_s * 2,
    )


nodes = st.dictionaries(st.sampled_from(NODES), st.tuples(amounts(12), st.booleans())).map(
    lambda found: tuple(
        Node(name, total, {MARKET_LABEL: SPOT_MARKET} if spot else {})
        for name, (total, spot) in found.items()
    )
)


@st.composite
def running_jobs(draw: st.DrawFn) -> tuple[Claim, ...]:
    found = []
    for number in range(draw(st.integers(0, 5))):
        owner = draw(st.sampled_from(USERS))
        begun = at(-draw(st.sampled_from([10, 5000])))
        found.append(
            Claim(
                job_id=10**7 + number,
                owner=owner,
                team=TEAM[owner],
                agent_id=1,
                priority=draw(st.integers(1, 10)),
                preemptible=draw(st.booleans()),
                parts=(Part(draw(st.sampled_from([*NODES, "gone", None])), draw(amounts(4))),),
                started_at=begun,
                expected_end=draw(st.sampled_from([None, at(500), at(-500)])),
                ending=draw(st.sampled_from([False, False, False, True])),
            )
        )
    return tuple(found)


limits = st.builds(
    lambda gpu, jobs: replace(EVERYTHING, gpu=gpu, jobs=jobs),
    st.sampled_from([0, 1000, 2500, EVERYTHING.gpu]),
    st.sampled_from([0, 1, 3, EVERYTHING.jobs]),
)


@st.composite
def quota_books(draw: st.DrawFn) -> QuotaBook:
    found = [
        Quota(
            QuotaKind.USER,
            user,
            limit=draw(limits),
            team=TEAM[user],
            borrowing=draw(st.sampled_from([EVERYTHING, Amounts.all(0), Amounts.all(1000)])),
            lending=draw(st.sampled_from([EVERYTHING, Amounts.all(0), Amounts.all(1000)])),
        )
        for user in USERS
        if draw(st.booleans())
    ]
    if draw(st.booleans()):
        found.append(Quota(QuotaKind.TEAM, "ads", limit=draw(limits)))
    return QuotaBook.of(found)


holds = st.lists(
    st.builds(
        Hold,
        st.just(HoldScope.USER),
        st.sampled_from(USERS),
        st.sampled_from(HoldMode),
        st.just("why"),
        st.just("root"),
        st.just(T0),
    ),
    max_size=1,
).map(Holds)

snapshots = st.builds(
    Snapshot,
    nodes=nodes,
    claims=running_jobs(),
    queue=st.lists(waiting_jobs(), max_size=12, unique_by=lambda job: job.id).map(Queue),
    shapes=st.lists(
        st.builds(NodeShape, st.just("more"), amounts(12), room=st.integers(0, 2)), max_size=1
    ).map(tuple),
    quotas=quota_books(),
    holds=holds,
    policy=st.builds(
        SchedulingPolicy,
        preemption=st.sampled_from(PreemptionMode),
        protect_after=st.sampled_from([at(0) - T0, at(1800) - T0]),
        protect_horizon=st.sampled_from([0.5, 100.0]),
    ),
)


@given(snapshots)
def test_no_node_and_no_gpu_is_ever_given_more_than_it_has(snapshot: Snapshot) -> None:
    before = Pool(snapshot.nodes, snapshot.claims)
    for start in plan(snapshot, T0).starts:
        for placed in start.placement:
            spot = before.place_on(placed.node_id, placed.resources)
            assert spot is not None, "there was no room for it on this node"
            before.take((spot,))


@given(snapshots)
def test_every_worker_of_a_gang_is_placed(snapshot: Snapshot) -> None:
    for start in plan(snapshot, T0).starts:
        assert len(start.placement) == start.job.request.workers
        assert {placed.resources for placed in start.placement} == {start.job.request.resources}


@given(snapshots)
def test_nobody_runs_on_a_node_he_did_not_ask_for(snapshot: Snapshot) -> None:
    spot = {node.id: node.spot for node in snapshot.nodes}
    for start in plan(snapshot, T0).starts:
        found = {spot[placed.node_id] for placed in start.placement}
        assert found <= {Spot.AVOID: {False}, Spot.ONLY: {True}}.get(start.job.request.spot, {True, False})


@given(snapshots)
def test_a_job_starts_at_most_once_and_every_lane_that_goes_on_waiting_is_told_why(
    snapshot: Snapshot,
) -> None:
    made = plan(snapshot, T0)
    counted = Counter(start.job.id for start in made.starts)
    assert all(count == 1 for count in counted.values())
    waiting = {job.lane for job in snapshot.queue if job.id not in counted}
    assert {wait.lane for wait in made.waits} == waiting
    assert all(wait.message for wait in made.waits)
    assert not {wait.job.id for wait in made.waits} & set(counted)


@given(snapshots, st.randoms(use_true_random=False))
def test_a_plan_depends_on_what_there_is_and_not_on_its_order(
    snapshot: Snapshot, random: st.random.Random
) -> None:
    def shuffled(items: Iterable[object]) -> tuple[object, ...]:
        found = list(items)
        return tuple(random.sample(found, len(found)))

    same = replace(
        snapshot,
        nodes=shuffled(snapshot.nodes),
        claims=shuffled(snapshot.claims),
        queue=Queue(shuffled(snapshot.queue)),  # type: ignore[arg-type]
    )
    assert plan(same, T0) == plan(snapshot, T0)


@given(snapshots)
def test_what_is_on_hold_never_starts(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    held = {hold.name for hold in snapshot.holds}
    assert not held & {start.job.owner for start in made.starts}
    assert {w.job.owner for w in made.waits if w.code is WaitCode.ON_HOLD} == held & {
        job.owner for job in snapshot.queue
    }


def used_by(owners: Iterable[tuple[str, Amounts]]) -> dict[str, Amounts]:
    used: dict[str, Amounts] = defaultdict(Amounts)
    for owner, amount in owners:
        used[owner] += amount
    return used


@given(snapshots)
def test_no_quota_is_passed_by_what_starts(snapshot: Snapshot) -> None:
    """Checked against the sums alone; who was over before, because a limit was lowered, starts nothing."""
    starts = plan(snapshot, T0).starts
    claimed = [(c.owner, c.amounts) for c in snapshot.claims]
    used = used_by([*claimed, *((s.job.owner, Amounts.of(s.job.request.total)) for s in starts)])
    book = snapshot.quotas
    for user in {start.job.owner for start in starts}:
        asked = sum((Amounts.of(s.job.request.total) for s in starts if s.job.owner == user), NOTHING)
        quota = book.user(user)
        room = quota.limit + (quota.borrowing if quota.team else NOTHING)
        for name in FIELDS:
            if asked.get(name):
                assert used[user].get(name) <= room.get(name), (user, name)
        if quota.team is None:
            continue
        members = [u for u in USERS if book.team_of(u) == quota.team]
        together = sum((used[u] for u in members), NOTHING)
        own = {u: book.user(u).limit for u in members}
        for name in FIELDS:
            if not asked.get(name):
                continue
            assert together.get(name) <= book.team(quota.team).limit.get(name)
            over = sum(max(0, used[u].get(name) - own[u].get(name)) for u in members)
            idle = sum(
                min(max(0, own[u].get(name) - used[u].get(name)), book.user(u).lending.get(name))
                for u in members
                if (QuotaKind.USER, u) in book.quotas
            )
            assert over <= idle, "more is borrowed than others leave unused"


@given(snapshots)
def test_only_who_may_be_asked_makes_room_and_never_for_nothing(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    claims = {claim.job_id: claim for claim in snapshot.claims}
    for preemption in made.preemptions:
        victim = claims[preemption.job_id]
        assert not victim.ending
        if preemption.reason is PreemptionReason.DRAINED:
            continue
        assert snapshot.policy.preemption is not PreemptionMode.NEVER
        assert preemption.for_job_id is not None
        job = snapshot.queue.get(preemption.for_job_id)
        assert job is not None
        if preemption.reason is PreemptionReason.RECLAIMED:
            assert victim.team == job.team
        else:
            assert rank(victim.priority, victim.preemptible) < rank(job.priority, job.preemptible)
    told = Counter(preemption.job_id for preemption in made.preemptions)
    assert all(count == 1 for count in told.values()), "nobody is asked twice"


@given(snapshots)
def test_room_that_is_made_is_enough_and_no_victim_could_have_been_spared(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    for reserve in made.reserves:
        victims = [p.job_id for p in made.preemptions if p.for_job_id == reserve.job.id]
        reasons = {p.reason for p in made.preemptions if p.for_job_id == reserve.job.id}
        assert victims, "nobody made room, so there was nothing to wait for"
        if reasons != {PreemptionReason.PRIORITY} or len(made.reserves) > 1 or made.starts:
            continue
        ending = {claim.job_id for claim in snapshot.claims if claim.ending}
        for spared in victims:
            pool = Pool(snapshot.nodes, snapshot.claims)
            for job_id in {*victims, *ending} - {spared}:
                pool.release(job_id)
            fits = all(pool.place_on(p.node_id, p.resources) is not None for p in reserve.placement)
            single = reserve.job.request.workers == 1
            drained = {p.job_id for p in made.preemptions if p.for_job_id is None}
            assert not (single and fits and not drained and not ending), f"{spared} need not have stopped"


@given(snapshots)
def test_no_more_nodes_are_asked_for_than_bounds_allow(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    for shape in snapshot.shapes:
        coming = Pool([Node(f"new-{n}", shape.total) for n in range(shape.room)])
        free = Pool(snapshot.nodes)
        for demand in made.demands:
            one = replace_workers(demand.request)
            for _ in range(demand.count):
                spot = coming.place(one) or free.place(one)
                assert spot is not None
                (coming if spot[0].node_id.startswith("new-") else free).take(spot)
    if not snapshot.shapes:
        assert made.demands == ()


def replace_workers(request: Request) -> Request:
    return Request(request.resources, selector=request.selector, spot=request.spot)


@given(snapshots)
def test_no_job_waits_for_capacity_that_is_there(snapshot: Snapshot) -> None:
    """Unless it would delay a head that is protected."""
    made = plan(snapshot, T0)
    pool = Pool(snapshot.nodes, snapshot.claims)
    for start in made.starts:
        pool.take(pool.place_on(p.node_id, p.resources) or p for p in start.placement)
    for wait in made.waits:
        if wait.code is WaitCode.WAITING_FOR_CAPACITY and "would delay" not in wait.message:
            on_demand = wait.job.request.spot is not Spot.PREFER or T0 - wait.job.queued_at >= at(300) - T0
            if not made.reserves and not any(claim.ending for claim in snapshot.claims):
                assert pool.place(wait.job.request, on_demand=on_demand) is None
