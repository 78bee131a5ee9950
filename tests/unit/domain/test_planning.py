"""The scheduler's decision, on snapshots small enough to decide by hand."""

from __future__ import annotations

import pytest

from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    Plan,
    QueuedJob,
    WaitCode,
    best_fit,
    free_by_node,
    plan,
)
from tests.builders import T0, a_claim, a_job, a_node, a_snapshot, resources


def planned(*queue: QueuedJob, nodes: list[Node] | None = None, claims: list[Claim] | None = None) -> Plan:
    return plan(a_snapshot(*queue, nodes=nodes, claims=claims or []), T0)


def started(made: Plan) -> list[tuple[int, str]]:
    return [(start.job.id, start.node_id) for start in made.starts]


def waiting(made: Plan) -> dict[int, WaitCode]:
    return {wait.job.id: wait.code for wait in made.waits}


def test_an_empty_queue_needs_no_plan() -> None:
    assert planned() == Plan()


def test_the_highest_priority_goes_first() -> None:
    made = planned(a_job(1, priority=1), a_job(2, priority=10), a_job(3, priority=5), nodes=[a_node(cpu=2)])
    assert [job for job, _ in started(made)] == [2, 3]
    assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}


def test_of_equal_priority_the_earlier_submitted_goes_first() -> None:
    made = planned(a_job(1, submitted_s=2), a_job(2, submitted_s=1), nodes=[a_node(cpu=1)])
    assert [job for job, _ in started(made)] == [2]


def test_submitted_at_the_same_moment_the_smaller_number_goes_first() -> None:
    made = planned(a_job(2), a_job(1), nodes=[a_node(cpu=1)])
    assert [job for job, _ in started(made)] == [1]


def test_a_job_that_does_not_fit_lets_later_ones_pass() -> None:
    made = planned(a_job(1, priority=10, cpu=3), a_job(2), nodes=[a_node(cpu=4)], claims=[a_claim(cpu=2)])
    assert [job for job, _ in started(made)] == [2]
    assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}


def test_a_gpu_job_goes_to_the_node_with_a_gpu() -> None:
    nodes = [a_node("cpu", cpu=64), a_node("gpu", cpu=4, gpu=1)]
    assert started(planned(a_job(1, gpu=1), nodes=nodes)) == [(1, "gpu")]


def test_a_job_without_a_gpu_leaves_the_gpu_node_free() -> None:
    nodes = [a_node("gpu", cpu=4, gpu=1), a_node("cpu", cpu=64)]
    assert started(planned(a_job(1), nodes=nodes)) == [(1, "cpu")]


def test_two_halves_share_one_gpu_and_a_third_waits() -> None:
    halves = [a_job(n, gpu=0.5) for n in (1, 2, 3)]
    made = planned(*halves, nodes=[a_node(gpu=1)])
    assert [job for job, _ in started(made)] == [1, 2]
    assert waiting(made) == {3: WaitCode.WAITING_FOR_CAPACITY}


def test_a_small_job_goes_where_it_leaves_least_so_that_large_ones_still_fit() -> None:
    nodes = [a_node("large", cpu=8), a_node("small", cpu=2)]
    made = planned(a_job(1, cpu=2), a_job(2, cpu=8), nodes=nodes)
    assert started(made) == [(1, "small"), (2, "large")]


def test_what_live_attempts_hold_is_not_given_twice() -> None:
    made = planned(a_job(1, cpu=2), nodes=[a_node(cpu=4)], claims=[a_claim(cpu=3)])
    assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}


def test_what_is_planned_is_not_given_twice() -> None:
    made = planned(*(a_job(n, cpu=3) for n in (1, 2, 3)), nodes=[a_node("a"), a_node("b")])
    assert started(made) == [(1, "a"), (2, "b")]


@pytest.mark.parametrize("node", [None, "gone"])
def test_a_claim_on_a_node_that_has_gone_takes_nothing_from_the_others(node: str | None) -> None:
    made = planned(a_job(1, cpu=4), nodes=[a_node(cpu=4)], claims=[a_claim(node, cpu=4)])
    assert started(made) == [(1, "node-1")]


def test_a_node_that_shrank_below_its_claims_takes_nothing() -> None:
    nodes, claims = [a_node(cpu=1)], [a_claim(cpu=3)]
    assert free_by_node(nodes, claims)["node-1"].cpu_milli == -2000
    assert waiting(planned(a_job(1), nodes=nodes, claims=claims)) == {1: WaitCode.WAITING_FOR_CAPACITY}


def test_a_paused_agents_job_is_on_hold_and_lets_others_pass() -> None:
    made = planned(a_job(1, priority=10, active=False), a_job(2), nodes=[a_node(cpu=1)])
    assert [job for job, _ in started(made)] == [2]
    assert made.waits[0].code is WaitCode.ON_HOLD
    assert made.waits[0].message == "Its agent is paused; set it active to go on."


def test_a_job_no_node_could_ever_hold_is_told_what_the_most_is() -> None:
    made = planned(
        a_job(1, cpu=16, memory_gib=1), nodes=[a_node("a", cpu=4), a_node("b", cpu=8, memory_gib=2)]
    )
    assert made.waits[0].code is WaitCode.NO_MATCHING_SHAPE
    assert made.waits[0].message == (
        "No node can hold 16 CPU, 1 GiB memory and 0 GPU; the most any node has is 8 CPU, 16 GiB memory and "
        "0 GPU. Ask for less or add a larger node."
    )


def test_a_job_whose_parts_fit_only_on_different_nodes_matches_none() -> None:
    nodes = [a_node("gpu", cpu=2, gpu=1), a_node("cpu", cpu=32)]
    assert waiting(planned(a_job(1, cpu=16, gpu=1), nodes=nodes)) == {1: WaitCode.NO_MATCHING_SHAPE}


def test_without_any_node_every_job_is_told_so() -> None:
    made = planned(a_job(1), nodes=[])
    assert made.waits[0].code is WaitCode.NO_MATCHING_SHAPE
    assert "the most any node has is 0 CPU, 0 GiB memory and 0 GPU" in made.waits[0].message


def test_a_job_that_waits_for_capacity_is_told_how_much_the_freest_node_has() -> None:
    nodes = [a_node("a", cpu=4), a_node("b", cpu=4)]
    claims = [a_claim("a", cpu=3, memory_gib=1), a_claim("b", cpu=2.5, memory_gib=1)]
    made = planned(a_job(1, cpu=2, memory_gib=0.5), nodes=nodes, claims=claims)
    assert made.waits[0].code is WaitCode.WAITING_FOR_CAPACITY
    assert made.waits[0].message == (
        "Waits for 2 CPU, 0.5 GiB memory and 0 GPU to be free on one node; the freest has 1.5 CPU, 15 GiB "
        "memory and 0 GPU."
    )


def test_equal_requests_that_wait_get_the_same_sentence() -> None:
    made = planned(*(a_job(n, cpu=4) for n in (1, 2, 3)), nodes=[a_node(cpu=4)])
    assert [job for job, _ in started(made)] == [1]
    assert len({wait.message for wait in made.waits}) == 1


def test_of_nodes_that_fit_equally_well_the_first_by_name_is_taken() -> None:
    free = {"b": resources(4), "a": resources(4)}
    assert best_fit(resources(1), free) == "a"


def test_a_gpu_left_over_weighs_more_than_any_cpu() -> None:
    free = {"busy-gpu": resources(2, 8, 1), "idle": resources(64, 256, 0)}
    assert best_fit(resources(1), free) == "idle"


def test_no_room_means_no_node() -> None:
    assert best_fit(resources(2), {"a": resources(1)}) is None
    assert best_fit(resources(2), {}) is None
