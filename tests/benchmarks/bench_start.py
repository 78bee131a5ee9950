"""Seconds from submission to running, and what fifty jobs at once take in time and memory.

One job at a time stands beside ``ray job submit`` of an empty script on the same cluster. The fifty stand
beside as many plain Ray tasks that ask for the same.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import psutil
from ray.job_submission import JobStatus, JobSubmissionClient

from tests.benchmarks.output import Baseline, Report, percentile, say
from tests.benchmarks.plain_tasks import ALL_RUN
from tests.benchmarks.running import memory_mib, processes, running
from tests.service import Service, eventually

WARM_UPS = 3
#: Jobs, and one `ray job submit` after them, in each round.
ROUNDS, JOBS_PER_ROUND = 5, 4
#: So that the end of one sample does not slow down the next.
PAUSE_S = 0.5

MANY = 50
CPUS, MEMORY_MIB = 0.5, 256
ALL_RUN_S = 240.0
#: After this long the processes have read what they need.
SETTLE_S = 3.0

_EMPTY_SCRIPT = f'{sys.executable} -c ""'
_RAY_HAS_BEGUN = {JobStatus.RUNNING, JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}
_RAY_HAS_ENDED = _RAY_HAS_BEGUN - {JobStatus.RUNNING}


@dataclass(frozen=True)
class Crowd:
    """Fifty processes at once."""

    all_running_s: float
    memory_each_mib: float


def main() -> None:
    with running(GAELP_NUM_CPUS="64") as service, service.client() as api:
        idle, ray_alone = idle_memory(service)
        tasks = many_tasks(service, idle)
        jobs_s, ray_jobs_s = one_at_a_time(service, api)
        jobs = many_jobs(service, api, idle)
    out = Report("start")
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        baseline = Baseline("ray_job_submit", percentile(ray_jobs_s, q))
        out.figure(f"submit_to_running_{name}_s", percentile(jobs_s, q), "s", baseline, n=len(jobs_s))
    plain = "plain_ray_tasks"
    out.figure("all_50_running_s", jobs.all_running_s, "s", Baseline(plain, tasks.all_running_s), n=MANY)
    out.figure(
        "memory_per_job_mib", jobs.memory_each_mib, "MiB", Baseline(plain, tasks.memory_each_mib), n=MANY
    )
    out.figure("memory_idle_mib", idle, "MiB", Baseline("ray_alone", ray_alone), n=1)


def idle_memory(service: Service) -> tuple[float, float]:
    """Of the whole service before its first job, and of Ray's own part of it: head and dashboard."""
    time.sleep(SETTLE_S)
    everything = processes(service)
    return memory_mib(everything), memory_mib(p for p in everything if is_rays_own(p))


def is_rays_own(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        words = process.cmdline()
        return bool(words) and not words[0].startswith("ray::") and "/ray/" in " ".join(words)
    return False


def one_at_a_time(service: Service, api: httpx.Client) -> tuple[list[float], list[float]]:
    """Seconds to running of jobs, and of Ray's own jobs, in turns."""
    agent = service.agent(api, entrypoint="trainers:nothing")
    ray_jobs = JobSubmissionClient(f"http://127.0.0.1:{service.environment['GAELP_DASHBOARD_PORT']}")
    for _ in range(WARM_UPS):
        job_to_running(service, api, agent)
    ray_job_to_running(ray_jobs)
    jobs_s: list[float] = []
    ray_jobs_s: list[float] = []
    for number in range(1, ROUNDS + 1):
        jobs_s += [job_to_running(service, api, agent) for _ in range(JOBS_PER_ROUND)]
        ray_jobs_s.append(ray_job_to_running(ray_jobs))
        shown = ", ".join(f"{s:.3f}" for s in jobs_s[-JOBS_PER_ROUND:])
        say(f"round {number}: jobs {shown} s, ray job submit {ray_jobs_s[-1]:.3f} s")
    return jobs_s, ray_jobs_s


def job_to_running(service: Service, api: httpx.Client, agent: dict[str, Any]) -> float:
    ended = service.wait(api, service.submit(api, agent))
    if ended["status"] != "completed":
        raise RuntimeError(f"job {ended['id']} {ended['status']}: {ended['message']}")
    time.sleep(PAUSE_S)
    return (claimed_at(api, ended) - submitted_at(ended)).total_seconds()


def submitted_at(job: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(job["submitted_at"])


def claimed_at(api: httpx.Client, job: dict[str, Any]) -> datetime:
    """When its process took it: the moment it became running."""
    events = api.get(f"/jobs/{job['id']}/events").raise_for_status().json()["items"]
    return next(datetime.fromisoformat(e["at"]) for e in events if e["event"] == "claim")


def ray_job_to_running(ray_jobs: JobSubmissionClient) -> float:
    """Ray notes only when a job was asked for, so its status is watched."""
    started = time.monotonic()
    name = ray_jobs.submit_job(entrypoint=_EMPTY_SCRIPT)
    eventually(lambda: ray_jobs.get_job_status(name) in _RAY_HAS_BEGUN, what="Ray's job runs")
    took = time.monotonic() - started
    eventually(lambda: ray_jobs.get_job_status(name) in _RAY_HAS_ENDED, what="Ray's job ends")
    time.sleep(PAUSE_S)
    return took


def many_jobs(service: Service, api: httpx.Client, idle_mib: float) -> Crowd:
    """Submit fifty jobs at once, weigh them while all run, and cancel them."""
    resources = {"cpu": f"{CPUS * 1000:.0f}m", "memory": f"{MEMORY_MIB}Mi"}
    agent = service.agent(api, entrypoint="trainers:wait", resource_requirements=resources)
    say(f"{MANY} jobs at once")
    jobs = at_once(lambda _: service.submit(api, agent))
    wait_all(api, agent, "running")
    all_running_s = (max(claimed_at(api, job) for job in jobs) - min(map(submitted_at, jobs))).total_seconds()
    time.sleep(SETTLE_S)
    each = (memory_mib(processes(service)) - idle_mib) / MANY
    at_once(lambda number: api.post(f"/jobs/{jobs[number]['id']}/cancel").raise_for_status())
    wait_all(api, agent, "cancelled")
    return Crowd(all_running_s, each)


def at_once(call: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(max_workers=MANY) as threads:
        return list(threads.map(call, range(MANY)))


def wait_all(api: httpx.Client, agent: dict[str, Any], status: str) -> None:
    wanted = {"agent_id": agent["id"], "status": status, "limit": MANY}

    def there() -> bool:
        return len(api.get("/jobs", params=wanted).raise_for_status().json()["items"]) == MANY

    eventually(there, within_s=ALL_RUN_S, what=f"{MANY} jobs are {status}")


def many_tasks(service: Service, idle_mib: float) -> Crowd:
    """The same number of plain Ray tasks. Their workers end with their driver and leave nothing warm."""
    say(f"{MANY} plain Ray tasks at once")
    with plain_tasks(service) as all_running_s:
        time.sleep(SETTLE_S)
        each = (memory_mib(processes(service)) - idle_mib) / MANY
    eventually(lambda: not service.processes("ray::arrive"), what="the tasks have ended")
    return Crowd(all_running_s, each)


@contextmanager
def plain_tasks(service: Service) -> Iterator[float]:
    """Seconds until all ran; they run until the end of the block."""
    address = f"127.0.0.1:{service.environment['GAELP_RAY_PORT']}"
    given = [address, str(MANY), str(CPUS), str(MEMORY_MIB * 1024**2)]
    command = [sys.executable, "-m", "tests.benchmarks.plain_tasks", *given]
    with (
        tempfile.TemporaryDirectory(prefix="gaelp-bench-plain-") as folder,
        subprocess.Popen([*command, folder], stdout=subprocess.PIPE, text=True) as driver,
    ):
        assert driver.stdout is not None
        try:
            line = next((line for line in driver.stdout if line.startswith(ALL_RUN)), None)
            if line is None:
                raise RuntimeError("the plain Ray tasks did not run; see above")
            yield float(line.removeprefix(ALL_RUN))
        finally:
            driver.kill()


if __name__ == "__main__":
    main()
