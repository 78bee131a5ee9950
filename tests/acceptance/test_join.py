"""`gaelp up --address` joins a Ray cluster that somebody else started, and leaves it as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.service import Service, free_ports, home

RAY = str(Path(sys.executable).with_name("ray"))


@pytest.fixture
def cluster() -> Iterator[str]:
    """A Ray head of its own, ended by pid."""
    port, dashboard, metrics, client, agent = free_ports(5)
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}",
            f"--dashboard-port={dashboard}", f"--metrics-export-port={metrics}",
            f"--ray-client-server-port={client}", f"--dashboard-agent-listen-port={agent}",
            "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2", "--disable-usage-stats",
        ],
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield f"127.0.0.1:{port}"
    finally:
        started = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        _gone, alive = psutil.wait_procs(started, timeout=10)
        for process in alive:
            process.kill()
        head.kill()
        head.wait(30)


@pytest.fixture
def service() -> Iterator[Service]:
    with home() as folder:
        yield Service(folder)


def test_up_joins_and_down_leaves_the_cluster_running(cluster: str, service: Service) -> None:
    wait = [sys.executable, "-c", f"import ray; ray.init(address={cluster!r}, log_to_driver=False)"]
    while subprocess.run(wait, check=False, capture_output=True, timeout=60).returncode != 0:
        pass
    try:
        done = service.gaelp("up", "--address", cluster)
        assert done.returncode == 0, done.stderr
        with service.client() as api:
            assert api.get("/status").json()["cluster"]["total"]["cpu"] == "2"
            job = service.submit(api, service.agent(api))
            assert service.wait(api, job)["status"] == "completed"
    finally:
        service.down()
    assert subprocess.run(wait, check=False, capture_output=True, timeout=60).returncode == 0
    names = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import ray; from ray.util import list_named_actors; ray.init(address={cluster!r}, "
            "namespace='gaelp', log_to_driver=False); print(list_named_actors())",
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert names.strip() == "[]"


def test_a_cluster_that_is_not_there_is_one_clear_sentence(tmp_path: Path) -> None:
    service = Service(tmp_path)
    try:
        done = service.gaelp("up", "--address", "127.0.0.1:1")
    finally:
        service.down()
    assert done.returncode == 1
    assert "There is no Ray cluster at 127.0.0.1:1" in done.stderr
