"""Requests per second of the API, beside Serve's default proxy and beside a bare handler.

Three places take turns: the service, a second service behind Serve's default proxy with the same content,
and a handler that answers ``{"ok": true}`` behind the service's own proxy. Each figure is the median of its
rounds, and each ratio the median over the rounds of the figure against the one measured right beside it: what
else the machine does comes and goes within seconds.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks import bare
from tests.benchmarks.load import LoadResult, Request, run_load
from tests.benchmarks.output import Report, say
from tests.benchmarks.population import TOO_MANY_CPUS, Population, populate
from tests.benchmarks.running import running
from tests.service import Service

ROUNDS = 10
ROUND_S = 2.0
WARM_UP_S = 3.0
#: A cycle of requests this long repeats; it visits agents and jobs in a fixed random order.
CYCLE = 2_000
PAGE = 50
USER = "bench"

DEFAULT_PROXY = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}


@dataclass
class Place:
    """Somewhere to send requests, and what each round of them measured."""

    name: str
    port: int
    requests: Iterator[Request]
    rounds: list[LoadResult]

    @staticmethod
    def of(name: str, port: int, requests: list[Request]) -> Place:
        return Place(name, port, itertools.cycle(requests), [])

    def rps(self) -> list[float]:
        return [result.rps for result in self.rounds]

    def percentiles_ms(self, q: float) -> list[float]:
        return [result.percentile_ms(q) for result in self.rounds]

    @property
    def samples(self) -> int:
        return sum(len(result.latencies_s) for result in self.rounds)


def main() -> None:
    with running() as service, running(**DEFAULT_PROXY) as plain:
        say("storing agents and jobs")
        content = {each.port: (each.token(USER), populate(each, USER)) for each in (service, plain)}
        deploy_bare(service)
        for load, make in (("read", reads), ("mixed", mix)):
            places = [
                Place.of("service", service.port, make(*content[service.port])),
                Place.of("default_proxy", plain.port, make(*content[plain.port])),
                Place.of("bare_handler", service.port, [Request.build("GET", f"{bare.PREFIX}/")]),
            ]
            take_turns(load, places)
            report(load, *places)


def deploy_bare(service: Service) -> None:
    """In a process of its own, so that this one never becomes a part of the cluster."""
    command = [sys.executable, "-m", "tests.benchmarks.bare"]
    done = subprocess.run(
        command, env=service.environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the bare handler was not deployed: {done.stdout}{done.stderr}")


def reads(token: str, stored: Population) -> list[Request]:
    """Agents, one after another."""
    chosen = random.Random(2)
    return [_get(f"/agents/{chosen.choice(stored.agents)}", token) for _ in range(CYCLE)]


def mix(token: str, stored: Population) -> list[Request]:
    """70 % reads of agents, jobs and metrics, 20 % lists, 10 % submissions of jobs that cannot start."""
    chosen = random.Random(3)
    kinds = chosen.choices((_read, _list, _submit), weights=(70, 20, 10), k=CYCLE)
    return [kind(token, stored, chosen) for kind in kinds]


def _read(token: str, stored: Population, chosen: random.Random) -> Request:
    agent, job = chosen.choice(stored.agents), chosen.choice(stored.jobs)
    return _get(chosen.choice((f"/agents/{agent}", f"/jobs/{job}", f"/agents/{agent}/metrics")), token)


def _list(token: str, _stored: Population, chosen: random.Random) -> Request:
    return _get(f"/{chosen.choice(('agents', 'jobs'))}?limit={PAGE}", token)


def _submit(token: str, stored: Population, chosen: random.Random) -> Request:
    body = {
        "agent_id": chosen.choice(stored.agents),
        "priority": chosen.randint(1, 10),
        "hyperparameters": {"epochs": 10, "learning_rate": 0.001},
        "resource_requirements": {"cpu": TOO_MANY_CPUS, "memory": "1Gi"},
    }
    return Request.build("POST", "/api/v1/jobs", token=token, body=json.dumps(body).encode())


def _get(path: str, token: str) -> Request:
    return Request.build("GET", f"/api/v1{path}", token=token)


def take_turns(load: str, places: list[Place]) -> None:
    """A round here, a round there, and again, so that what else the machine does strikes them alike."""
    for place in places:
        run_load(place.requests, port=place.port, seconds=WARM_UP_S)
    for number in range(1, ROUNDS + 1):
        for place in places:
            result = run_load(place.requests, port=place.port, seconds=ROUND_S)
            place.rounds.append(result)
            say(
                f"{load} round {number} {place.name}: {result.rps:.0f}/s, p50 {result.percentile_ms(0.5):.1f}"
                f" ms, p99 {result.percentile_ms(0.99):.1f} ms, {dict(result.statuses)}, reopened"
                f" {result.reopened}"
            )


def report(load: str, service: Place, plain: Place, bare_handler: Place) -> None:
    out = Report("api")
    n = service.samples
    for other in (plain, bare_handler):
        out.paired(f"{load}_rps", service.rps(), "1/s", other.name, other.rps(), n=n)
    for name, q in (("p50", 0.5), ("p99", 0.99)):
        beside = plain.percentiles_ms(q)
        out.paired(f"{load}_{name}_ms", service.percentiles_ms(q), "ms", plain.name, beside, n=n)


if __name__ == "__main__":
    main()
