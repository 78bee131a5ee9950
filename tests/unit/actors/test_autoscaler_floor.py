"""What the autoscaler is asked for: what is held, what waiting jobs need within bounds, and no more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp_ray.actors.autoscaler import NO_FLOOR, Autoscaler, Floor, floor
from gaelp_ray.actors.placement import NODE_LABEL
from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET, Spot
from gaelp_ray.domain.scheduling import Demand, NodeShape, Placed, Plan, Start, plan
from tests.builders import GIB, T0, a_claim, a_job, a_node, a_request, a_snapshot, resources


def a_plan(*demands: Demand, **fields: object) -> Plan:
    return replace(Plan(), demands=demands, **fields)  # type: ignore[arg-type]


ONE_GPU = Demand(a_request(cpu=2, gpu=1), 2)


def test_nothing_is_asked_for_while_nobody_waits_for_nodes() -> None:
    assert floor(a_snapshot(claims=[a_claim()]), Plan()) == NO_FLOOR


def test_what_is_held_is_asked_for_by_the_name_of_its_node() -> None:
    claims = [a_claim("node-1", cpu=1, job=7), a_claim("node-1", cpu=2, gpu=0.5, job=8)]
    nodes = [a_node("node-1", gpu=1), a_node("node-2")]
    asked = floor(a_snapshot(nodes=nodes, claims=claims), a_plan(ONE_GPU))
    assert asked == Floor(
        bundles=(
            {"CPU": 3, "GPU": 0.5, "memory": 2 * GIB},
            {"CPU": 2, "GPU": 1, "memory": GIB},
            {"CPU": 2, "GPU": 1, "memory": GIB},
        ),
        selectors=(
            {"ray.io/node-id": "node-1"},
            {MARKET_LABEL: "!spot"},
            {MARKET_LABEL: "!spot"},
        ),
    )


def test_what_has_just_been_started_is_held_too() -> None:
    job = a_job(1)
    start = Start(job, (Placed("node-1", job.request.resources),))
    asked = floor(a_snapshot(job), a_plan(ONE_GPU, starts=(start,)))
    assert asked.selectors[0] == {"ray.io/node-id": "node-1"}


@pytest.mark.parametrize(
    "node",
    [
        pytest.param([], id="has gone"),
        pytest.param([replace(a_node("node-1"), cordoned=True)], id="is about to go"),
    ],
)
def test_a_node_that(node: list[object]) -> None:
    asked = floor(a_snapshot(nodes=node, claims=[a_claim("node-1")]), a_plan(ONE_GPU))  # type: ignore[arg-type]
    assert len(asked.bundles) == 2, "is not asked for: one bundle that fits nowhere voids them all"


def test_no_more_is_asked_of_a_node_than_it_has() -> None:
    claims = [a_claim("node-1", cpu=3, job=7), a_claim("node-1", cpu=3, job=8)]
    asked = floor(a_snapshot(nodes=[a_node("node-1", cpu=4)], claims=claims), a_plan(ONE_GPU))
    assert asked.bundles[0]["CPU"] == 4


@pytest.mark.parametrize(
    ("spot", "selector"),
    [
        (Spot.AVOID, {MARKET_LABEL: "!spot", "zone": "a"}),
        (Spot.PREFER, {"zone": "a"}),
        (Spot.ONLY, {MARKET_LABEL: "spot", "zone": "a"}),
    ],
)
def test_the_conditions_of_a_request_go_along(spot: Spot, selector: dict[str, str]) -> None:
    request = a_request(spot=spot, selector=(("zone", "a"),))
    assert floor(a_snapshot(), a_plan(Demand(request, 1))).selectors == (selector,)


def test_the_autoscaler_is_told_of_changes_only() -> None:
    told: list[Floor] = []
    autoscaler = Autoscaler(told.append)
    one, two = (floor(a_snapshot(), a_plan(Demand(a_request(), count))) for count in (1, 2))
    for wanted in (NO_FLOOR, NO_FLOOR, one, one, two, NO_FLOOR):
        autoscaler.ask(wanted)
    assert told == [NO_FLOOR, one, two, NO_FLOOR], "a new one begins by taking back what was asked before it"


@given(
    waiting=st.lists(
        st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([0, 0.5, 1, 2]), st.integers(1, 3)), max_size=12
    ),
    gpu_room=st.integers(0, 3),
    spot_room=st.integers(0, 2),
)
def test_new_nodes_within_their_bounds_can_hold_all_that_is_asked_for(
    waiting: list[tuple[int, float, int]], gpu_room: int, spot_room: int
) -> None:
    shapes = (
        NodeShape("gpu", resources(8, 32, 2), {}, gpu_room),
        NodeShape("spot", resources(4, 16, 1), {MARKET_LABEL: SPOT_MARKET}, spot_room),
    )
    queue = [
        a_job(number, agent=number, cpu=cpu, gpu=gpu, workers=workers, spot=Spot.PREFER)
        for number, (cpu, gpu, workers) in enumerate(waiting, start=1)
    ]
    snapshot = a_snapshot(*queue, nodes=[a_node(cpu=1)], shapes=shapes)
    asked = floor(snapshot, plan(snapshot, T0))
    new = [
        bundle
        for bundle, selector in zip(asked.bundles, asked.selectors, strict=True)
        if NODE_LABEL not in selector
    ]
    assert sum(bundle.get("CPU", 0) for bundle in new) <= 8 * gpu_room + 4 * spot_room
    assert sum(bundle.get("GPU", 0) for bundle in new) <= 2 * gpu_room + spot_room
