"""What is true of every plan, whatever the cluster and the queue."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    QueuedJob,
    Snapshot,
    WaitCode,
    best_fit,
    free_by_node,
    plan,
)
from tests.builders import T0, at

NODES = ("n1", "n2", "n3", "n4")


def amounts(most: int) -> st.SearchStrategy[Resources]:
    """Few and small numbers, so that requests often just fit and often just do not."""
    return st.builds(
        Resources,
        cpu_milli=st.integers(1, most).map(lambda n: n * 500),
        memory_bytes=st.integers(1, most),
        gpu_milli=st.sampled_from([0, 0, 0, 500, 1000, 2000]),
    )


jobs = st.builds(
    QueuedJob,
    id=st.integers(1, 10**6),
    row_version=st.just(1),
    priority=st.integers(1, 10),
    submitted_at=st.integers(0, 5).map(at),
    resources=amounts(6),
    agent_active=st.sampled_from([True, True, True, False]),
)
snapshots = st.builds(
    Snapshot,
    nodes=st.dictionaries(st.sampled_from(NODES), amounts(12)).map(
        lambda found: tuple(Node(name, total) for name, total in found.items())
    ),
    claims=st.lists(
        st.builds(Claim, st.just(0), st.sampled_from([*NODES, "gone", None]), amounts(4)), max_size=5
    ).map(tuple),
    queue=st.lists(jobs, max_size=12, unique_by=lambda job: job.id).map(tuple),
)


def order(job: QueuedJob) -> tuple[object, ...]:
    return (-job.priority, job.submitted_at, job.id)


def after(snapshot: Snapshot) -> dict[str, Resources]:
    """What every node has left once the plan is carried out."""
    starts = plan(snapshot, T0).starts
    placed = tuple(Claim(start.job.id, start.node_id, start.job.resources) for start in starts)
    return free_by_node(snapshot.nodes, snapshot.claims + placed)


@given(snapshots)
def test_no_node_is_ever_given_more_than_it_has(snapshot: Snapshot) -> None:
    left = after(snapshot)
    for start in plan(snapshot, T0).starts:
        assert Resources().fits_on(left[start.node_id])


@given(snapshots)
def test_every_job_either_starts_once_or_is_told_why_not(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    counted = Counter(start.job.id for start in made.starts) + Counter(wait.job.id for wait in made.waits)
    assert counted == Counter(job.id for job in snapshot.queue)
    assert all(wait.message for wait in made.waits)


@given(snapshots, st.randoms(use_true_random=False))
def test_a_plan_depends_on_what_there_is_and_not_on_its_order(
    snapshot: Snapshot, random: st.random.Random
) -> None:
    def shuffled(items: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(random.sample(items, len(items)))

    same = replace(
        snapshot,
        nodes=shuffled(snapshot.nodes),
        claims=shuffled(snapshot.claims),
        queue=shuffled(snapshot.queue),
    )
    assert plan(same, at(1000)) == plan(snapshot, T0)


@given(snapshots)
def test_a_paused_agents_job_never_starts(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    assert all(start.job.agent_active for start in made.starts)
    on_hold = {wait.job.id for wait in made.waits if wait.code is WaitCode.ON_HOLD}
    assert on_hold == {job.id for job in snapshot.queue if not job.agent_active}


@given(snapshots)
def test_nobody_overtakes_an_equal_request(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    for wait in made.waits:
        if wait.code is not WaitCode.ON_HOLD:
            behind = [s for s in made.starts if order(s.job) > order(wait.job)]
            assert wait.job.resources.shape not in {start.job.resources.shape for start in behind}


@given(snapshots)
def test_no_job_waits_that_could_run(snapshot: Snapshot) -> None:
    left = after(snapshot)
    for wait in plan(snapshot, T0).waits:
        if wait.code is not WaitCode.ON_HOLD:
            assert best_fit(wait.job.resources, left) is None


@given(snapshots)
def test_a_job_is_told_that_no_node_matches_exactly_when_none_does(snapshot: Snapshot) -> None:
    for wait in plan(snapshot, T0).waits:
        matches = any(wait.job.resources.fits_on(node.total) for node in snapshot.nodes)
        if wait.code is not WaitCode.ON_HOLD:
            assert wait.code is (WaitCode.WAITING_FOR_CAPACITY if matches else WaitCode.NO_MATCHING_SHAPE)


@given(snapshots)
def test_what_is_carried_out_leaves_nothing_to_plan(snapshot: Snapshot) -> None:
    made = plan(snapshot, T0)
    placed = tuple(Claim(start.job.id, start.node_id, start.job.resources) for start in made.starts)
    later = Snapshot(snapshot.nodes, snapshot.claims + placed, tuple(wait.job for wait in made.waits))
    assert plan(later, T0).starts == ()
