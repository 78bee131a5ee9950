"""The Ray cluster as the scheduler sees it."""

from __future__ import annotations

from typing import Any, cast

import ray
from ray._private import worker

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node


def cluster_id() -> str:
    """Names this cluster among those that share a database; a head that lost its memory is a new one."""
    # Ray has no public name for it.
    return str(cast("Any", worker.global_worker).node.cluster_id.hex())


def live_nodes() -> tuple[Node, ...]:
    """Live nodes with all they have. Nodes without a CPU, such as a pure head, take no jobs."""
    nodes = (_node(entry) for entry in list_nodes() if entry["Alive"])
    return tuple(node for node in nodes if node.total.cpu_milli > 0)


def list_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes


def _node(entry: dict[str, Any]) -> Node:
    amounts = entry.get("Resources", {})
    return Node(
        id=entry["NodeID"],
        total=Resources(
            cpu_milli=int(amounts.get("CPU", 0) * 1000),
            memory_bytes=int(amounts.get("memory", 0)),
            gpu_milli=int(amounts.get("GPU", 0) * 1000),
        ),
        labels=entry.get("Labels", {}),
    )
