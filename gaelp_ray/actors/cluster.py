"""The Ray cluster as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import ray
from ray._private import worker
from ray._private.state import state

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node


def cluster_id() -> str:
    """Names this cluster among those that share a database; a head that lost its memory is a new one."""
    # Ray has no public name for it.
    return str(cast("Any", worker.global_worker).node.cluster_id.hex())


def live_nodes() -> tuple[Node, ...]:
    """Live nodes with all they have. Nodes without a CPU, such as a pure head, take no jobs."""
    draining = draining_nodes()
    nodes = (_node(entry, draining) for entry in list_nodes() if entry["Alive"])
    return tuple(node for node in nodes if node.total.cpu_milli > 0)


def live_node_ids() -> frozenset[str]:
    return frozenset(entry["NodeID"] for entry in list_nodes() if entry["Alive"])


def draining_nodes() -> frozenset[str]:
    """Live nodes that are about to go: their owner takes them back, or the autoscaler lets them go."""
    # Ray tells it to its own libraries only.
    return frozenset(cast("Mapping[str, int]", state.get_draining_nodes()))


def list_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def resources_of(amounts: Mapping[str, float]) -> Resources:
    """What Ray counts, in our units."""
    return Resources(
        cpu_milli=int(amounts.get("CPU", 0) * 1000),
        memory_bytes=int(amounts.get("memory", 0)),
        gpu_milli=int(amounts.get("GPU", 0) * 1000),
    )


def _node(entry: Mapping[str, Any], draining: frozenset[str]) -> Node:
    return Node(
        id=entry["NodeID"],
        total=resources_of(entry.get("Resources", {})),
        labels=entry.get("Labels", {}),
        cordoned=entry["NodeID"] in draining,
    )
