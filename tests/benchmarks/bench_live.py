"""From a report to a WebSocket: twenty agents with a job each that reports ten times a second.

One WebSocket an agent, so that the sockets spread over the API's replicas and every message has one reader.
In the same seconds each agent is polled once a second: the age of the newest point it sees is the baseline.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.benchmarks.output import Baseline, Report, percentile, say
from tests.benchmarks.running import running
from tests.service import Service

AGENTS = 20
HZ = 10
#: What a job takes; all of them fit on the node of a test service at once.
CPU = "200m"
MEASURED_S = 15.0
#: After the last has begun, starting them no longer disturbs.
SETTLE_S = 3.0
POLL_S = 1.0
ALL_RUN_S = 180.0
#: Far longer than anything measured; the service is stopped before.
JOB_S = 3600


@dataclass
class Seen:
    """What one agent's readers saw: seconds from each report to its arrival, and the steps that arrived."""

    latencies_s: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    polled_ages_s: list[float] = field(default_factory=list)

    @property
    def reported(self) -> int:
        """Reports between the first and the last that arrived: a job's steps have no gaps."""
        return max(self.steps) - min(self.steps) + 1 if self.steps else 0


def main() -> None:
    with running() as service, service.client() as api:
        agents = start_jobs(service, api)
        seen = asyncio.run(watch(service, agents))
    report(seen)


def start_jobs(service: Service, api: httpx.Client) -> list[int]:
    """Start a job for each agent, and return the agents when all run."""
    resources = {"cpu": CPU, "memory": "256Mi"}
    agents = [
        service.agent(api, entrypoint="trainers:chatter", resource_requirements=resources)
        for _ in range(AGENTS)
    ]
    work = {"hz": HZ, "seconds": JOB_S}
    jobs = [service.submit(api, agent, hyperparameters=work) for agent in agents]
    for job in jobs:
        service.wait(api, job, "running", within_s=ALL_RUN_S)
        service.wait_step(api, job, 1, within_s=ALL_RUN_S)
    say(f"{AGENTS} jobs report")
    time.sleep(SETTLE_S)
    return [agent["id"] for agent in agents]


async def watch(service: Service, agents: Sequence[int]) -> list[Seen]:
    """Read the sockets and poll, side by side, for the measured time."""
    headers = {"Authorization": f"Bearer {service.admin_token}"}
    async with httpx.AsyncClient(base_url=f"{service.url}/api/v1", headers=headers, timeout=30) as api:
        sockets = [
            await connect(f"ws://127.0.0.1:{service.port}/ws/{agent}", additional_headers=headers)
            for agent in agents
        ]
        seen = [Seen() for _ in agents]
        ends = time.time() + MEASURED_S
        async with asyncio.TaskGroup() as group:
            for number, agent in enumerate(agents):
                group.create_task(listen(sockets[number], seen[number], ends))
                group.create_task(poll(api, agent, seen[number], ends, delay_s=POLL_S * number / AGENTS))
        for socket in sockets:
            await socket.close()
    return seen


async def listen(socket: ClientConnection, seen: Seen, ends: float) -> None:
    """Until the time is over; a socket that stays silent for long raises ``TimeoutError``."""
    while (left := ends - time.time()) > 0:
        text = await asyncio.wait_for(socket.recv(), left + MEASURED_S)
        arrived = time.time()
        message: dict[str, Any] = json.loads(text)
        if message["type"] == "metrics":
            seen.latencies_s.append(arrived - message["metrics"]["reported_at"])
            seen.steps.append(message["step"])


async def poll(api: httpx.AsyncClient, agent: int, seen: Seen, ends: float, *, delay_s: float) -> None:
    """Once a second, the agents one after another."""
    due = time.time() + delay_s
    while due < ends:
        await asyncio.sleep(max(0.0, due - time.time()))
        answer = await api.get(f"/agents/{agent}/metrics", params={"limit": 1})
        newest = answer.raise_for_status().json()["items"][0]
        seen.polled_ages_s.append(time.time() - newest["metrics"]["reported_at"])
        due += POLL_S


def report(seen: list[Seen]) -> None:
    latencies_ms = [1000 * s for one in seen for s in one.latencies_s]
    ages_ms = [1000 * s for one in seen for s in one.polled_ages_s]
    reported = sum(one.reported for one in seen)
    arrived = sum(len(set(one.steps)) for one in seen)
    say(f"{arrived} of {reported} reports arrived, {len(latencies_ms) - arrived} of them twice")
    out, polling = Report("live"), Baseline("polling_1s_mean_age", mean(ages_ms))
    for name, q in (("p50", 0.5), ("p99", 0.99)):
        value = percentile(latencies_ms, q)
        out.figure(f"report_to_websocket_{name}_ms", value, "ms", polling, n=len(latencies_ms))
    out.figure("points_arrived", arrived, "1", Baseline("reported", reported), n=reported)


if __name__ == "__main__":
    main()
