"""What the cluster's autoscaler may still add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from ray._private.state import state

from gaelp_ray.actors.cluster import resources_of
from gaelp_ray.config import NodeGroup
from gaelp_ray.domain.resources import Resources, parse_resources
from gaelp_ray.domain.scheduling import Node, NodeShape

GROUP_LABEL = "ray.io/node-group"
#: For a group without a bound.
UNBOUNDED = 10_000


def node_shapes(groups: Sequence[NodeGroup], nodes: Iterable[Node]) -> tuple[NodeShape, ...]:
    """Each group with the room that its live nodes leave; empty where no autoscaler is.

    The groups are those of the settings, else those that a hosted autoscaler has told Ray: the open one, on
    Kubernetes or elsewhere, keeps its bounds to itself.
    """
    live = tuple(nodes)
    bounds = tuple(map(_configured, groups)) or tuple(_reported(live))
    count = Counter(node.labels.get(GROUP_LABEL) for node in live)
    return tuple(
        NodeShape(shape.name, shape.total, shape.labels, max(0, shape.room - count[shape.name]))
        for shape in bounds
    )


def _configured(group: NodeGroup) -> NodeShape:
    total = parse_resources(group.resources, default=Resources())
    return NodeShape(group.name, total, {GROUP_LABEL: group.name, **group.labels}, group.most)


def _reported(live: Sequence[Node]) -> Iterable[NodeShape]:
    # Ray reads this for its own libraries only; nothing is there without such an autoscaler.
    config = cast("Any", state.get_cluster_config())
    for group in config.node_group_configs if config is not None else ():
        labels = {GROUP_LABEL: group.name, **_labels_of(group.name, live)}
        most = group.max_count if group.max_count >= 0 else UNBOUNDED
        yield NodeShape(group.name, resources_of(group.resources), labels, most)


def _labels_of(group: str, live: Sequence[Node]) -> Mapping[str, str]:
    """What the group's live nodes are labelled with, all of them alike."""
    labels = [node.labels.items() for node in live if node.labels.get(GROUP_LABEL) == group]
    return dict(set.intersection(*map(set, labels))) if labels else {}
