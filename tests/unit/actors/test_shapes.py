"""What the autoscaler may still add, by the groups of the settings or as it has told Ray."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from gaelp_ray.actors import shapes
from gaelp_ray.actors.shapes import GROUP_LABEL, node_shapes
from gaelp_ray.config import NodeGroup, Settings
from gaelp_ray.domain.requests import MARKET_LABEL
from gaelp_ray.domain.scheduling import Node, NodeShape
from tests.builders import GIB, a_node, resources

GPU = NodeGroup(name="gpu", most=3, resources={"cpu": 8, "memory": "32Gi", "gpu": "1"})
SPOT = NodeGroup(name="spot", most=1, resources={"cpu": "4", "memory": "16Gi"}, labels={MARKET_LABEL: "spot"})


def live(name: str, group: str, **labels: str) -> Node:
    return replace(a_node(name), labels={GROUP_LABEL: group, **labels})


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What Ray's state says of the autoscaler's bounds; nothing at first, as in the open autoscaler."""
    state = SimpleNamespace(config=None)
    monkeypatch.setattr(shapes, "state", SimpleNamespace(get_cluster_config=lambda: state.config))
    return state


def test_each_group_has_the_room_that_its_live_nodes_leave() -> None:
    nodes = [live("a", "gpu"), live("b", "spot"), live("c", "spot"), a_node("d")]
    assert node_shapes([GPU, SPOT], nodes) == (
        NodeShape("gpu", resources(8, 32, 1), {GROUP_LABEL: "gpu"}, 2),
        NodeShape("spot", resources(4, 16), {GROUP_LABEL: "spot", MARKET_LABEL: "spot"}, 0),
    )


def test_without_an_autoscaler_nothing_is_added() -> None:
    assert node_shapes([], [a_node()]) == ()


def test_what_an_autoscaler_has_told_is_labelled_as_its_live_nodes_are(told: SimpleNamespace) -> None:
    amounts = {"CPU": 8.0, "memory": 32.0 * GIB}
    groups = [
        SimpleNamespace(name="gpu", resources=amounts | {"GPU": 1.0}, max_count=4),
        SimpleNamespace(name="cpu", resources=amounts, max_count=-1),
    ]
    told.config = SimpleNamespace(node_group_configs=groups)
    nodes = [live("a", "gpu", zone="a", host="x"), live("b", "gpu", zone="a", host="y")]
    assert node_shapes([], nodes) == (
        NodeShape("gpu", resources(8, 32, 1), {GROUP_LABEL: "gpu", "zone": "a"}, 2),
        NodeShape("cpu", resources(8, 32), {GROUP_LABEL: "cpu"}, shapes.UNBOUNDED),
    )
    assert [shape.room for shape in node_shapes([GPU], nodes)] == [1], "the settings come first"


def test_groups_travel_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Settings(node_groups=(GPU, SPOT)).environment().items():
        monkeypatch.setenv(name, value)
    assert Settings().node_groups == (GPU, SPOT)
