"""A service that has seen some use: agents, jobs and metrics, put straight into its database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, text

from gaelp_ray.cli import database
from gaelp_ray.domain.agents import AgentType, NewAgent, VersionSpec
from gaelp_ray.domain.jobs import EndCause, JobState
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.resources import Resources
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import metrics as metric_store
from gaelp_ray.store import rows, tables
from gaelp_ray.store.engine import Store
from tests.service import Service

AGENTS = 1_000
JOBS = 10_000
WAITING = 1_000
POINTS_PER_AGENT = 20
#: No node of a benchmark is so large: such a job waits for ever.
TOO_MANY_CPUS = 100

_SPEC = VersionSpec(
    version="1.0.0",
    entrypoint="trainers:count",
    config={"model": "policy-gradient", "layers": [64, 64], "optimizer": {"name": "adam", "lr": 0.001}},
    resources=Resources(cpu_milli=1000 * TOO_MANY_CPUS, memory_bytes=1024**3),
    environment_vars={"MODE": "train"},
)
_ENDS = (
    (JobState.SUCCEEDED, EndCause.SUCCESS),
    (JobState.FAILED, EndCause.USER_ERROR),
    (JobState.CANCELLED, EndCause.CANCELLED),
)


@dataclass(frozen=True)
class Population:
    """What was stored, by id."""

    agents: list[int]
    jobs: list[int]


def populate(service: Service, owner: str) -> Population:
    """Fill the database of a running service; everything belongs to ``owner``."""
    store = Store(database.start(service.home), pool_size=1)
    try:
        population = store.transact(_store, owner)
        with store.connection() as connection:
            connection.execute(text("ANALYZE"))
    finally:
        store.close()
    return population


def _store(tx: Connection, owner: str) -> Population:
    now = datetime.now(UTC)
    agents = [_agent(tx, number, owner, now) for number in range(AGENTS)]
    versions = tx.execute(select(tables.agents.c.id, tables.agents.c.current_version_id))
    version_of = {row.id: row.current_version_id for row in versions}
    tx.execute(insert(tables.jobs), list(_jobs(agents, version_of, owner, now)))
    jobs = list(tx.execute(select(tables.jobs.c.id)).scalars())
    metric_store.add(tx, [_point(agent, step, now) for agent in agents for step in range(POINTS_PER_AGENT)])
    return Population(agents, jobs)


def _agent(tx: Connection, number: int, owner: str, now: datetime) -> int:
    new = NewAgent(f"agent {number}", AgentType.SIMULATION, _SPEC, "One of many.", budget_limit_micros=10**9)
    return agent_store.add(tx, new, owner=owner, now=now)


def _jobs(
    agents: list[int], version_of: dict[int, int], owner: str, now: datetime
) -> Iterator[dict[str, Any]]:
    """Rows, most of them ended, the waiting ones strewn among them."""
    chosen = random.Random(1)
    waiting = set(chosen.sample(range(JOBS), WAITING))
    for number in range(JOBS):
        agent = agents[number % len(agents)]
        yield {
            "agent_id": agent,
            "version_id": version_of[agent],
            "owner": owner,
            "name": f"job {number}",
            "priority": 1 + number % 10,
            **rows.resources_values(_SPEC.resources),
            "lane": f"{agent}/{1 + number % 10}",
            "entrypoint": _SPEC.entrypoint,
            "hyperparameters": {"epochs": 10, "learning_rate": 0.001},
            "training_config": {},
            "environment_vars": {},
            "seed": number,
            "max_retries": 3,
            "submitted_at": now - timedelta(seconds=JOBS - number),
            "queued_at": now - timedelta(seconds=JOBS - number),
            **(_WAITING if number in waiting else _ended(number, now)),
        }


_WAITING: dict[str, Any] = {
    "state": JobState.QUEUED,
    "attempt_number": 0,
    "step": None,
    "total_steps": None,
    "latest_metrics": {},
    "cause": None,
    "started_at": None,
    "finished_at": None,
}


def _ended(number: int, now: datetime) -> dict[str, Any]:
    state, cause = _ENDS[number % len(_ENDS)]
    return {
        "state": state,
        "attempt_number": 1,
        "step": 10,
        "total_steps": 10,
        "latest_metrics": {"reward": number / JOBS, "loss": 1 - number / JOBS},
        "cause": cause,
        "started_at": now - timedelta(seconds=JOBS - number - 1),
        "finished_at": now,
    }


def _point(agent: int, step: int, now: datetime) -> MetricPoint:
    values = {"ctr": 0.03 + step / 1000, "cpa": 4.0 - step / 100, "roas": 2.0}
    return MetricPoint(agent, now, values, step=step, source="external")
