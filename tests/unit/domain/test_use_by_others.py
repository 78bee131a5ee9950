"""What others use of the nodes is counted once it is sure, and named; what attempts hold never is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node, OutsideUse, Part, WaitCode, plan
from gaelp_ray.domain.scheduling.explain import explain
from gaelp_ray.domain.scheduling.outside import WINDOW
from tests.builders import T0, a_claim, a_job, a_node, a_snapshot, at, resources

NODE = a_node(cpu=6)


def look(use: OutsideUse, second: float, used: float, *, ours: float = 0, leaving: float = 0) -> Resources:
    """What is counted of a node of which Ray says so many CPU are used."""
    claims = [a_claim(cpu=ours, memory_gib=0)] if ours else []
    gone = [Part("node-1", resources(leaving, 0))] if leaving else []
    (node,) = use.counted([NODE], {"node-1": resources(used, 0)}, claims, gone, at(second))
    return node.outside


def test_what_no_attempt_holds_is_somebody_elses() -> None:
    assert look(OutsideUse(), 0, 4) == resources(4, 0)
    assert look(OutsideUse(), 0, 4, ours=1) == resources(3, 0)


def test_an_attempt_that_ray_does_not_count_yet_is_no_use_below_nothing() -> None:
    assert look(OutsideUse(), 0, 0, ours=4) == Resources()


def test_what_ended_a_moment_ago_is_not_somebody_elses() -> None:
    assert look(OutsideUse(), 0, 4, leaving=4) == Resources()


def test_use_that_comes_is_believed_when_it_lasts_and_forgotten_at_once() -> None:
    use = OutsideUse()
    assert look(use, 0, 0) == Resources()
    assert look(use, 1, 4) == Resources()
    assert look(use, 1 + WINDOW.total_seconds(), 4) == resources(4, 0)
    assert look(use, 2 + WINDOW.total_seconds(), 0) == Resources()


def test_an_attempt_without_a_known_place_may_be_anywhere() -> None:
    (node,) = OutsideUse().counted([NODE], {"node-1": resources(4, 0)}, [a_claim(None, cpu=4)], [], T0)
    assert node.outside.cpu_milli == 0


def test_more_than_a_node_has_is_not_used_of_it() -> None:
    assert look(OutsideUse(), 0, 99) == resources(6, 0)


def test_what_is_not_told_of_a_node_is_nothing() -> None:
    (node,) = OutsideUse().counted([NODE], {}, [], [], T0)
    assert node.outside == Resources()


def used(node: Node, **amounts: Any) -> Node:
    return replace(node, outside=resources(**{"cpu": 0, "memory_gib": 0} | amounts))


def test_a_job_waits_for_what_others_use_and_is_told_who_they_may_be() -> None:
    job = a_job(1, cpu=4)
    snapshot = a_snapshot(job, nodes=[used(NODE, cpu=4)], outsiders=("Ray job raysubmit_x",))
    made = plan(snapshot, T0)
    assert made.starts == ()
    (wait,) = made.waits
    assert wait.code is WaitCode.WAITING_FOR_CAPACITY
    assert "4 CPU, 0 GiB memory and 0 GPU are used outside the queue by Ray job raysubmit_x" in wait.message
    found = explain(snapshot, made, 1, T0)
    assert found is not None
    assert found.eta is None, "nobody knows when others leave"
    assert plan(a_snapshot(a_job(1, cpu=2), nodes=[used(NODE, cpu=4)]), T0).starts


def test_it_could_hold_the_job_all_the_same() -> None:
    (wait,) = plan(a_snapshot(a_job(1, cpu=6), nodes=[used(NODE, cpu=6)]), T0).waits
    assert wait.code is WaitCode.WAITING_FOR_CAPACITY


@pytest.mark.parametrize(("outside", "fits"), [(0, 2.0), (0.5, 1.0), (1, 1.0), (1.5, 0.5), (2, None)])
def test_gpus_that_others_use_are_taken_from_those_that_are_free(outside: float, fits: float | None) -> None:
    node = used(a_node(cpu=6, gpu=2), gpu=outside)
    for asked in (0.5, 1, 2):
        made = plan(a_snapshot(a_job(1, gpu=asked), nodes=[node]), T0)
        assert bool(made.starts) is (fits is not None and asked <= fits)


amounts = st.integers(0, 8)


@given(st.lists(st.tuples(amounts, amounts, amounts), min_size=1, max_size=8))
def test_of_what_attempts_hold_nothing_is_ever_taken_away(looks: list[tuple[int, int, int]]) -> None:
    use = OutsideUse()
    for second, (used_cpu, ours, leaving) in enumerate(looks):
        found = look(use, second, used_cpu, ours=ours, leaving=leaving)
        assert 0 <= found.cpu_milli <= max(0, used_cpu - ours - leaving) * 1000
