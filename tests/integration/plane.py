"""The control plane on a Ray cluster of several nodes and a real database; no API in between."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table

from gaelp_ray.actors import handles
from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.config import Settings
from gaelp_ray.domain.agents import Agent, AgentType, NewAgent, VersionSpec
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.jobs import TERMINAL, Job, JobState, NewJob
from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET
from gaelp_ray.domain.resources import Resources
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import jobs as job_service
from gaelp_ray.services import logs as log_service
from gaelp_ray.services import submissions
from gaelp_ray.services.forecasts import JobDefaults
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store.engine import Store
from tests.builders import ANN, GIB, MIB
from tests.service import TRAINERS, eventually

_OBJECT_STORE_BYTES = 80 * MIB


class Plane:
    """Submits through the services and watches through the store."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        assert settings.database_url is not None
        self.folder = folder
        self.settings = settings
        self.store = Store(settings.database_url, pool_size=4)
        self.defaults = JobDefaults(timeout_s=None, max_retries=0, queue_limit=1000)
        self.actors = handles.ensure(settings)
        #: The nodes, where they are this test's to add and to kill.
        self.nodes: Cluster | None = None
        self._names = itertools.count(1)

    def agent(
        self,
        entrypoint: str,
        *,
        kind: AgentType = AgentType.SIMULATION,
        budget: int | None = None,
        **resources: Any,
    ) -> Agent:
        amount = Resources(**{"cpu_milli": 500, "memory_bytes": 256 * MIB} | resources)
        spec = VersionSpec(
            version="1.0.0", entrypoint=entrypoint, resources=amount, working_dir=str(TRAINERS)
        )
        name = f"agent {next(self._names)}"
        new = NewAgent(name=name, type=kind, spec=spec, budget_limit_micros=budget)
        return self.store.transact(agent_service.register, new, currency="USD", by=ANN, now=utc_now())

    def submit(self, agent: Agent, **fields: Any) -> Job:
        job = self.store.transact(
            submissions.submit,
            NewJob(agent_id=agent.id, **{"name": "job"} | fields),
            by=ANN,
            now=utc_now(),
            defaults=self.defaults,
        )
        self.actors.scheduler.hint.remote()
        return job

    def cancel(self, job: Job) -> None:
        cancelled = self.store.transact(job_service.cancel, job.id, by=ANN, now=utc_now())
        if cancelled.launcher is not None:
            self.actors.launchers[cancelled.launcher].wake.remote()

    def job(self, job: Job) -> Job:
        return self.store.read(job_service.get, job.id, by=ANN)

    def attempts(self, job: Job) -> list[Attempt]:
        return self.store.read(attempt_store.of_job, job.id)

    def wait(self, job: Job, *states: JobState, within_s: float = 90) -> Job:
        """Until the job has one of these states, by default an end."""
        wanted = states or tuple(TERMINAL)

        def there() -> Job | None:
            now = self.job(job)
            return now if now.state in wanted else None

        found = eventually(there, within_s=within_s, what=f"job {job.id} is {wanted}: {self.job(job)}")
        assert found is not None
        return found

    def wait_step(self, job: Job, step: int) -> None:
        eventually(lambda: (self.job(job).progress.step or 0) >= step, what=f"job {job.id} at {step}")

    def log(self, job: Job) -> str:
        """Of its newest attempt."""
        attempt = self.attempts(job)[-1]
        return self.store.read(log_service.tail, attempt.id, lines=1000).content.decode()

    def lose(self, node_id: str) -> None:
        """A node dies without a word."""
        assert self.nodes is not None
        (node,) = [node for node in self.nodes.list_all_nodes() if node.node_id == node_id]
        self.nodes.remove_node(node, allow_graceful=False)

    def groups(self) -> list[str]:
        """Names of the placement groups that hold or wait for room."""
        return [each["name"] for each in placement_group_table().values() if each["state"] != "REMOVED"]


@contextmanager
def plane_of(settings: Settings, folder: Path) -> Iterator[Plane]:
    """Two nodes of GPUs that are only numbers, one of them a spot node, and a head that holds the actors."""
    cluster = Cluster()
    node: dict[str, Any] = {"object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    try:
        # The head takes no jobs: it has no CPU, which the actors do not need.
        cluster.add_node(num_cpus=0, **node)
        with plane_at(cluster.address, settings, folder) as plane:
            plane.nodes = cluster
            cluster.add_node(num_cpus=4, num_gpus=2, memory=4 * GIB, labels={"zone": "a"}, **node)
            cluster.add_node(
                num_cpus=4, num_gpus=2, memory=4 * GIB, labels={MARKET_LABEL: SPOT_MARKET}, **node
            )
            eventually(lambda: len(live_nodes()) == 2)
            yield plane
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def plane_at(address: str, settings: Settings, folder: Path) -> Iterator[Plane]:
    """The control plane on a cluster that runs already."""
    ray.init(address=address, namespace=handles.NAMESPACE, log_to_driver=False)
    try:
        plane = Plane(settings, folder)
        yield plane
        plane.store.close()
    finally:
        ray.shutdown()


def kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.send_signal(signal.SIGKILL)
