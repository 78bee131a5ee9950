"""The Ray cluster as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import ray
from ray._private import worker
from ray._private.state import state
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.core.generated import gcs_pb2

from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node

_COUNTED = ("CPU", "memory", "GPU")
#: In the entry point of the driver of `gaelp up`, which is nobody else.
_DRIVER = "gaelp_ray.cli.driver"


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


def used_resources() -> dict[str, Resources]:
    """What is used of each live node, by whomever; it lags behind by up to some seconds."""
    ray_state = cast("Any", state)
    totals: Mapping[str, Mapping[str, float]] = ray_state.total_resources_per_node()
    found = {}
    for node_id, left in ray_state.available_resources_per_node().items():
        total = totals.get(node_id, {})
        found[node_id] = resources_of({name: total.get(name, 0.0) - left.get(name, 0.0) for name in _COUNTED})
    return found


def waiting_for_room() -> frozenset[Resources]:
    """What is asked of Ray that has no place on any node yet."""
    client = cast("Any", worker.global_worker).gcs_client
    pending = get_cluster_resource_state(client).pending_resource_requests
    return frozenset(resources_of(each.request.resources_bundle) for each in pending)


def other_jobs() -> tuple[str, ...]:
    """Ray jobs that live beside the one that this process belongs to, by the names that people know."""
    # Ray has no public way to them without its dashboard.
    accessor = cast("Any", state)._connect_and_get_accessor()
    own = ray.get_runtime_context().get_job_id()
    found = []
    for row in accessor.get_job_table(skip_submission_job_info_field=True, skip_is_running_tasks_field=True):
        job = cast("Any", gcs_pb2).JobTableData.FromString(row)
        inner = job.config.ray_namespace.startswith("_ray_internal")
        if job.is_dead or inner or job.job_id.hex() == own or _DRIVER in job.entrypoint:
            continue
        name = job.config.metadata.get("job_submission_id")
        found.append(f"Ray job {name or job.job_id.hex()}")
    return tuple(sorted(found))


def resources_of(amounts: Mapping[str, float]) -> Resources:
    """What Ray counts, in our units."""
    return Resources(
        # Rounded, for differences of what Ray counts are seldom whole.
        cpu_milli=round(amounts.get("CPU", 0) * 1000),
        memory_bytes=int(amounts.get("memory", 0)),
        gpu_milli=round(amounts.get("GPU", 0) * 1000),
    )


def _node(entry: Mapping[str, Any], draining: frozenset[str]) -> Node:
    return Node(
        id=entry["NodeID"],
        total=resources_of(entry.get("Resources", {})),
        labels=entry.get("Labels", {}),
        cordoned=entry["NodeID"] in draining,
    )
