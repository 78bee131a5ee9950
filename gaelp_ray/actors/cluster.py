"""The Ray cluster as the scheduler sees it."""

from __future__ import annotations

from typing import Any

import ray

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node


def cluster_id() -> str:
    """Names this cluster among those that share a database; a new head without fault tolerance is a new one."""
    from ray._private.worker import global_worker  # noqa: PLC0415 - Ray has no public name for it

    return str(global_worker.node.cluster_id.hex())


def live_nodes() -> tuple[Node, ...]:
    """Live nodes with all they have. Nodes without a CPU, such as a pure head, take no jobs."""
    nodes = (_node(entry) for entry in ray.nodes() if entry["Alive"])
    return tuple(node for node in nodes if node.total.cpu_milli > 0)


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
