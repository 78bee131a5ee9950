"""A whole service for tests: started once a session with `gaelp up`, on ports and in a folder of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from gaelp_ray.cli import database, processes
from gaelp_ray.cli.homes import known_run_folder
from tests.wheels import pointed_at

R = TypeVar("R")

GAELP = str(Path(sys.executable).with_name("gaelp"))
TRAINERS = Path(__file__).parent / "trainers"

#: Shorter than in production, so that tests of waiting do not wait.
QUICK = {
    "GAELP_RETRY_BASE_S": "0.2",
    "GAELP_STOP_GRACE_S": "2",
    "GAELP_PREEMPT_AFTER": "PT1S",
    "GAELP_NUM_CPUS": "8",
    "GAELP_NUM_GPUS": "1",
    # Whether the home of who runs the tests holds a token of Ray's must make no difference.
    "RAY_AUTH_MODE": "disabled",
}


def free_ports(count: int) -> list[int]:
    """Below the range from which the system gives ports to clients, so that a restart finds them free."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


#: Nothing is waited for longer than so many times what it may take, whatever goes on meanwhile.
MOST_PATIENCE = 20.0


def slowness() -> float:
    """How much longer things take than on an idle machine: runnable processes for each core."""
    return min(MOST_PATIENCE, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


def eventually(
    ask: Callable[[], R],
    *,
    within_s: float = 60.0,
    what: str = "",
    progress: Callable[[], object] | None = None,
) -> R:
    """Ask until the answer is true, and return it.

    Fails when nothing has moved for ``within_s``, longer on a machine that has much else to do: neither the
    answer nor ``progress``, which says how far it is.
    """
    began = moved = time.monotonic()
    before: object = None
    while True:
        answer = ask()
        if answer:
            return answer
        now, state = time.monotonic(), (answer, progress() if progress is not None else None)
        if state != before:
            before, moved = state, now
        patience_s = within_s * slowness()
        if now - moved > patience_s or now - began > within_s * MOST_PATIENCE:
            raise AssertionError(f"not within {within_s} s: {what or ask}; last answer: {answer!r}")
        time.sleep(0.05)


class Service:
    """A running service and the ways to use and to hurt it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        port, ray_port, dashboard, metrics, client = free_ports(5)
        ports = {
            "GAELP_HOME": str(home),
            "GAELP_PORT": str(port),
            "GAELP_RAY_PORT": str(ray_port),
            "GAELP_DASHBOARD_PORT": str(dashboard),
            "GAELP_METRICS_PORT": str(metrics),
            "GAELP_RAY_CLIENT_PORT": str(client),
        }
        self.environment = {**os.environ, **QUICK, **ports, **settings}
        self.environment.pop("GAELP_TOKEN", None)
        self.port, self.metrics_port = (
            int(self.environment[name]) for name in ("GAELP_PORT", "GAELP_METRICS_PORT")
        )
        self._names = itertools.count(1)

    def gaelp(self, *arguments: str, timeout: float = 480, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the CLI as a user does."""
        return subprocess.run(
            [GAELP, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,
        )

    def up(self) -> None:
        done = self.gaelp("up")
        assert done.returncode == 0, done.stdout + done.stderr

    def down(self) -> None:
        done = self.gaelp("down")
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_token(self) -> str:
        return (self.home / "token").read_text().strip()

    def token(self, user: str, *options: str) -> str:
        return self.gaelp("token", "create", user, *options).stdout.strip()

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token or self.admin_token}"}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=120)

    def agent(self, api: httpx.Client, **fields: Any) -> dict[str, Any]:
        """A simulation agent whose jobs run the entry points of ``tests/trainers``."""
        body = {
            "name": f"agent-{os.getpid()}-{next(self._names)}-{time.time_ns()}",
            "type": "simulation",
            "entrypoint": "trainers:count",
            "working_dir": str(TRAINERS),
            "resource_requirements": {"cpu": "500m", "memory": "256Mi"},
        }
        answer = api.post("/agents", json=body | fields)
        assert answer.status_code == 201, answer.text
        agent: dict[str, Any] = answer.json()
        return agent

    def submit(self, api: httpx.Client, agent: dict[str, Any], **fields: Any) -> dict[str, Any]:
        answer = api.post("/jobs", json={"agent_id": agent["id"], **fields})
        assert answer.status_code == 201, answer.text
        job: dict[str, Any] = answer.json()
        return job

    def job(self, api: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
        """The job as it is now, patient with a service that is being hurt."""
        with contextlib.suppress(httpx.HTTPError):
            answer = api.get(f"/jobs/{job['id']}")
            if answer.status_code == httpx.codes.OK:
                found: dict[str, Any] = answer.json()
                return found
        return {"status": "unknown", "phase": "unknown", "progress": {"step": None}}

    def wait(
        self, api: httpx.Client, job: dict[str, Any], *status: str, within_s: float = 90.0
    ) -> dict[str, Any]:
        """Until the job has one of these statuses, by default an end."""
        wanted = status or ("completed", "failed", "cancelled")

        def there() -> dict[str, Any] | None:
            now = self.job(api, job)
            return now if now["status"] in wanted else None

        found = eventually(
            there,
            within_s=within_s,
            what=f"job {job['id']} is {wanted}",
            progress=lambda: self.stand_of(api, job),
        )
        assert found is not None
        return found

    def wait_step(self, api: httpx.Client, job: dict[str, Any], step: int, within_s: float = 60.0) -> None:
        eventually(
            lambda: (self.job(api, job)["progress"]["step"] or 0) >= step,
            within_s=within_s,
            what=f"job {job['id']} reaches step {step}",
            progress=lambda: self.stand_of(api, job),
        )

    def stand_of(self, api: httpx.Client, job: dict[str, Any]) -> tuple[object, ...]:
        """How far a job is."""
        now = self.job(api, job)
        return now["phase"], now.get("attempt"), now["progress"]["step"]

    def database(self, verb: str) -> None:
        """``stop`` the embedded PostgreSQL, or ``start`` it again."""
        getattr(database, verb)(self.home)

    def alive(self) -> list[psutil.Process]:
        """Every process of this service: the database, Ray and all on it, the driver."""
        server = database.postmaster(self.home)
        return [
            *processes.of_head(self.home),
            *processes.of_driver(self.home),
            *([] if server is None else [server, *server.children()]),
        ]

    def processes(self, title: str) -> list[psutil.Process]:
        """Processes of this service whose title begins so, e.g. ``ray::Launcher``."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                mine = process.environ().get("GAELP_HOME") == str(self.home)
                if line.startswith(title) and mine:
                    found.append(process)
        return found

    def kill(self, title: str, *, every: bool = False) -> list[int]:
        """kill -9 one process, or every one, of this title."""
        victims = eventually(lambda: self.processes(title), within_s=30, what=f"a process {title}")
        chosen = victims if every else victims[:1]
        for victim in chosen:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        psutil.wait_procs(chosen, timeout=10)
        return [victim.pid for victim in chosen]


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A data folder for a service.

    Not pytest's own: every session that starts closes the folder above those to others, and with it the way
    of a running PostgreSQL, which is not root, to its data.
    """
    with tempfile.TemporaryDirectory(prefix="gaelp-test-") as folder:
        try:
            yield Path(folder)
        finally:
            run = known_run_folder(Path(folder).resolve())
            if run is not None:
                shutil.rmtree(run, ignore_errors=True)


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with home() as folder:
        # Packages for jobs come from a folder of this service's own.
        running = Service(folder, **pointed_at(folder / "wheels"))
        try:
            running.up()
            yield running
        finally:
            running.down()


@pytest.fixture
def api(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client
