"""Nodes on this machine for Ray's own autoscaler, and a head that it scales."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private import ray_constants
from ray._private.node import Node
from ray._private.parameter import RayParams
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider
from ray.autoscaler.tags import TAG_RAY_USER_NODE_TYPE

from tests.service import free_ports

ROOT = Path(__file__).parents[2]
#: Ray's own name for the head of a cluster without a cloud.
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"
_MARK = "GAELP_TEST_CLUSTER"
_OBJECT_STORE_BYTES = 80 * 1024**2


class LocalNodes(FakeMultiNodeProvider):  # type: ignore[misc]
    """Ray's provider of nodes that are processes; unlike it, one that gives them memory too."""

    def _create_node_with_resources_and_labels(
        self,
        _node_config: Mapping[str, Any],
        tags: Mapping[str, str],
        _count: int,
        resources: Mapping[str, float],
        labels: Mapping[str, str],
    ) -> None:
        node_type = tags[TAG_RAY_USER_NODE_TYPE]
        with self.lock:
            node_id = self._next_hex_node_id()
            parameters = self._parameters(node_id, node_type, resources, labels)
            # Ray creates nodes on threads, where no signal handler may be set.
            node = Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=False)
            self._nodes[node_id] = {"tags": dict(tags), "node": node}

    def _parameters(
        self, node_id: str, node_type: str, resources: Mapping[str, float], labels: Mapping[str, str]
    ) -> RayParams:
        return RayParams(
            min_worker_port=0,
            max_worker_port=0,
            dashboard_agent_listen_port=0,
            num_cpus=resources.get("CPU", 0),
            num_gpus=resources.get("GPU", 0),
            memory=resources.get("memory"),
            object_store_memory=_OBJECT_STORE_BYTES,
            labels={"ray.io/node-group": node_type, **labels},
            redis_address=self._gcs_address,
            gcs_address=self._gcs_address,
            env_vars={
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id,
                "RAY_CLOUD_INSTANCE_ID": node_id,
                "RAY_NODE_TYPE_NAME": node_type,
                ray_constants.LABELS_ENVIRONMENT_VARIABLE: json.dumps(dict(labels)),
            },
        )


@contextlib.contextmanager
def autoscaling_head(folder: Path, groups: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A head without resources that adds nodes of these groups as they are needed; yields its address.

    Ray's ``AutoscalingCluster`` begins with ``ray stop --force``, which ends every cluster of the machine.
    """
    port, client, agent, metrics, autoscaler, dashboard = free_ports(6)
    address = f"{ray.util.get_node_ip_address()}:{port}"
    config = folder / "autoscaling.json"
    config.write_text(json.dumps(_configuration(address, groups)))
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        _MARK: mark,
        "PYTHONPATH": str(ROOT),
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_METRIC_PORT": str(autoscaler),
        "DASHBOARD_METRIC_PORT": str(dashboard),
        # Else `ray start` asks for a token where the user has one, and drivers do not show it by themselves.
        "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
    }
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--head",
        f"--port={port}",
        f"--autoscaling-config={config}",
        "--num-cpus=0",
        "--include-dashboard=false",
        f"--object-store-memory={_OBJECT_STORE_BYTES}",
        "--min-worker-port=0",
        "--max-worker-port=0",
        f"--ray-client-server-port={client}",
        f"--dashboard-agent-listen-port={agent}",
        f"--metrics-export-port={metrics}",
        "--disable-usage-stats",
    ]
    try:
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        yield address
    finally:
        _end(mark)


def _configuration(address: str, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    lists = ("setup_commands", "initialization_commands", "cluster_synced_files", "rsync_exclude")
    lists += ("head_setup_commands", "worker_setup_commands", "rsync_filter")
    lists += ("head_start_ray_commands", "worker_start_ray_commands")
    provider = {
        "type": "external",
        "module": f"{LocalNodes.__module__}.{LocalNodes.__name__}",
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
        "gcs_address": address,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    workers = {name: {"node_config": {}, "min_workers": 0, **group} for name, group in groups.items()}
    return dict.fromkeys(lists, ()) | {
        "cluster_name": "local",
        "max_workers": 8,
        "idle_timeout_minutes": 0.05,
        "provider": provider,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, **workers},
    }


def _end(mark: str) -> None:
    """Kill every process that bears the mark, with its descendants, until none is left."""
    while processes := _marked(mark):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=5)


def _marked(mark: str) -> list[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == mark:
                found |= {process, *process.children(recursive=True)}
    return [
        p for p in found if p.pid != os.getpid() and p.is_running() and p.status() != psutil.STATUS_ZOMBIE
    ]
