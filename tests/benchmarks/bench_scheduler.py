"""Admissions per second, and how fast a new scheduler takes over a long queue.

The work has the shape of Kueue's performance test (its `large-scale` generator): users with a quota of 20 CPU
each, in teams of a hundred who lend to each other, each with small, medium and large jobs that end as soon as
they start. Plans are made and applied by the same functions as in production, on a PostgreSQL that waits for
its disk. Launchers are not measured: nothing runs, and the ends of attempts are written in bulk.

Kueue's own figure, about 42 a second, is for objects in a Kubernetes API server; these are rows.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import random
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from sqlalchemy import Connection, insert, text

from gaelp_ray.actors.duties import round_of
from gaelp_ray.cli import database
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType, NewAgent, VersionSpec
from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.duties import EXPIRE_JOBS, WAKE
from gaelp_ray.domain.jobs import JobState
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.quotas import EVERYTHING, Quota, QuotaKind
from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node, Plan, SchedulingPolicy, Snapshot, lane_of, plan
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, launching, scheduling
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import mirror as mirror_service
from gaelp_ray.services.mirror import Mirror
from gaelp_ray.store import migrate, rows, tables
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store.engine import Store
from gaelp_ray.store.leases import Lease
from tests.benchmarks.output import Baseline, Report, percentile, say

CLUSTER, LAUNCHERS = "bench", [f"bench/launcher-{n}" for n in range(4)]
USERS, TEAM_SIZE = 1_000, 100
GIB = 1024**3
NODE = Resources(cpu_milli=20_000, memory_bytes=64 * GIB)
#: Name, share of the jobs, priority, CPUs.
CLASSES = (("small", 20, 3, 1), ("medium", 7, 5, 5), ("large", 3, 8, 20))
KUEUE_PER_S = 42.4
TARGET_PER_S = 500.0
TAKE_OVER_TARGET_S = 10.0
#: Admissions of the baseline; it goes at the same pace all the time.
ONE_BY_ONE = 2_000
TTL = timedelta(seconds=60)
TERMS = Terms(PriceTable("USD", 40_000, 5_000))
BUDGET_MICROS = 10**12
_NO_LENDER_LIMIT = replace(EVERYTHING, cpu=100_000)

# What launchers and processes write in the life of an attempt that succeeds at once.
_END_ALL = text(
    """
    WITH ended AS (
        UPDATE attempts SET claimed_at = :now, ended_at = :now, cause = 'success'
        WHERE ended_at IS NULL
        RETURNING id, job_id, number
    ), done AS (
        UPDATE jobs SET state = 'succeeded', row_version = row_version + 1, finished_at = :now,
            started_at = :now, cause = 'success'
        FROM ended WHERE jobs.id = ended.job_id
        RETURNING jobs.id, jobs.agent_id, ended.number
    ), told AS (
        INSERT INTO job_events (job_id, agent_id, attempt, event, from_state, to_state, actor, at)
        SELECT id, agent_id, number, 'succeed', 'admitted', 'succeeded', 'bench', :now FROM done
    ), delivered AS (
        UPDATE outbox SET delivered_at = :now FROM ended
        WHERE outbox.attempt_id = ended.id AND delivered_at IS NULL
    )
    SELECT count(*) FROM done
    """
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--jobs", type=int, default=50_000)
    asked.add_argument("--queued", type=int, default=100_000)
    given = asked.parse_args()
    report = Report("scheduler")
    with fresh_database() as store:
        one_by_one = measure_admissions(store, ONE_BY_ONE, apply=in_single_transactions)
        free = measure_admissions(store, given.jobs // 5, apply=Scheduler.apply, terms=None)
        measure_and_report_admissions(report, store, given.jobs, one_by_one, free)
    with fresh_database() as store:
        measure_take_over(report, store, given.queued)


@contextmanager
def fresh_database() -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="gaelp-bench-", ignore_cleanup_errors=True) as home:
        store = Store(database.start(Path(home)), pool_size=4)
        try:
            migrate.upgrade(store.engine)
            yield store
        finally:
            store.close()
            database.stop(Path(home))


@dataclass
class Scheduler:
    """One scheduler's ticks, as its actor makes them."""

    store: Store
    lease: Lease
    mirror: Mirror
    nodes: tuple[Node, ...]
    policy: SchedulingPolicy
    #: How running time is paid for; None where it is free.
    terms: Terms | None = TERMS

    @staticmethod
    def take_over(store: Store) -> Scheduler:
        lease = store.transact(scheduling.lead, "bench", epoch=None, ttl=TTL, now=now())
        assert lease is not None
        mirror = store.transact(mirror_service.load)
        nodes = tuple(Node(f"node-{n:04}", NODE) for n in range(USERS))
        return Scheduler(store, lease, mirror, nodes, SchedulingPolicy())

    def tick(self, apply: Apply) -> int:
        """How many jobs it started."""
        lease = self.store.transact(
            scheduling.lead, self.lease.holder, epoch=self.lease.epoch, ttl=TTL, now=now()
        )
        assert lease is not None
        round_of(self.store, WAKE, scheduling.due, partial(scheduling.wake, now=now()))
        round_of(self.store, EXPIRE_JOBS, scheduling.past_deadline, partial(scheduling.expire, now=now()))
        self.store.read(mirror_service.refresh, self.mirror)
        seen = self.look()
        return apply(self, plan(seen, now()), seen)

    def look(self) -> Snapshot:
        return self.store.read(
            scheduling.look,
            self.mirror,
            nodes=self.nodes,
            policy=self.policy,
            terms=self.terms,
            now=now(),
        )

    def apply(self, decided: Plan, seen: Snapshot) -> int:
        applied = self.store.transact(
            scheduling.apply,
            decided,
            seen,
            self.mirror,
            holder=self.lease.holder,
            epoch=self.lease.epoch,
            loads=self.store.read(scheduling.launcher_loads, CLUSTER),
            make_token=uuid.uuid4,
            now=now(),
        )
        scheduling.remember(self.mirror, applied)
        return len(applied.started)


Apply = Callable[[Scheduler, Plan, Snapshot], int]


def in_single_transactions(scheduler: Scheduler, decided: Plan, seen: Snapshot) -> int:
    """The same plan, each start in a transaction of its own."""
    return sum(scheduler.apply(Plan(starts=(start,)), seen) for start in decided.starts)


@dataclass(frozen=True)
class Pace:
    per_s: float
    ticks_s: tuple[float, ...]


def measure_admissions(store: Store, jobs: int, *, apply: Apply, terms: Terms | None = TERMS) -> Pace:
    """Queue so many jobs and admit them all, while another process ends what has started."""
    say(f"queueing {jobs} jobs of {USERS} users")
    store.transact(populate, jobs)
    with ending(store), store.connection() as connection:
        connection.execute(text("ANALYZE"))
        scheduler = Scheduler.take_over(store)
        scheduler.terms = terms
        started, ticks = 0, []
        begun = time.perf_counter()
        while started < jobs:
            at = time.perf_counter()
            started += scheduler.tick(apply)
            ticks.append(time.perf_counter() - at)
        return Pace(jobs / (time.perf_counter() - begun), tuple(ticks))


def measure_and_report_admissions(
    report: Report, store: Store, jobs: int, one_by_one: Pace, free: Pace
) -> None:
    pace = measure_admissions(store, jobs, apply=Scheduler.apply)
    baselines = (
        Baseline("one_transaction_each", one_by_one.per_s),
        Baseline("free_of_charge", free.per_s),
        Baseline("kueue_published", KUEUE_PER_S),
        Baseline("target", TARGET_PER_S),
    )
    report.figure("admissions_per_s", pace.per_s, "1/s", *baselines, n=jobs)
    for name, q in (("tick_p50", 0.5), ("tick_p99", 0.99)):
        report.figure(
            name,
            1000 * percentile(pace.ticks_s, q),
            "ms",
            Baseline("one_transaction_each", 1000 * percentile(one_by_one.ticks_s, q)),
            n=len(pace.ticks_s),
        )


@contextmanager
def ending(store: Store) -> Iterator[None]:
    """Another process ends attempts as fast as they start, inside the block."""
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    url = store.engine.url.render_as_string(hide_password=False)
    process = spawn.Process(target=end_attempts, args=(url, stop))
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


def end_attempts(url: str, stop: Event) -> None:
    store = Store(url.replace("postgresql+psycopg2", "postgresql"), pool_size=1)
    while not stop.is_set():
        ended = store.transact(lambda tx: tx.execute(_END_ALL, {"now": now()}).scalar_one())
        if not ended:
            stop.wait(0.01)
    store.close()


def measure_take_over(report: Report, store: Store, queued: int) -> None:
    """From nothing to the first plan, in processes of their own so that each begins small."""
    store.transact(populate, queued)
    with store.connection() as connection:
        connection.execute(text("ANALYZE"))
    url = store.engine.url.render_as_string(hide_password=False)
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(1, maxtasksperchild=1) as pool:
        takes = pool.map(take_over, [url] * 3, chunksize=1)
    target = Baseline("target", TAKE_OVER_TARGET_S)
    report.figure("take_over", median(take.seconds for take in takes), "s", target, n=len(takes))
    report.figure(
        "memory_per_queued_job",
        median(take.grown_bytes for take in takes) / queued,
        "bytes",
        Baseline("kueue_visibility_worst_case", 1400.0),
        n=queued,
    )


@dataclass(frozen=True)
class TakeOver:
    seconds: float
    grown_bytes: int


def take_over(url: str) -> TakeOver:
    store = Store(url.replace("postgresql+psycopg2", "postgresql"), pool_size=2)
    store.read(scheduling.leader)
    before, begun = _memory(), time.perf_counter()
    scheduler = Scheduler.take_over(store)
    scheduler.look()
    seconds = time.perf_counter() - begun
    taken = TakeOver(seconds, _memory() - before)
    store.close()
    return taken


def _memory() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def populate(tx: Connection, count: int) -> None:
    """Users, teams, agents, launchers once; and so many waiting jobs."""
    at = now()
    if not tx.execute(text("SELECT count(*) FROM agents")).scalar_one():
        for number in range(USERS):
            _user(tx, number, at)
        for launcher in LAUNCHERS:
            launching.launcher_store.register(tx, launcher, cluster=CLUSTER, incarnation=uuid.uuid4(), now=at)
    agents = tx.execute(text("SELECT id, owner, current_version_id FROM agents ORDER BY id")).all()
    found = [_job(agents[n % USERS], n, count, at) for n in range(count)]
    random.Random(1).shuffle(found)
    for first in range(0, count, 5_000):
        tx.execute(insert(tables.jobs), found[first : first + 5_000])


def _user(tx: Connection, number: int, at: datetime) -> None:
    user, team = f"user-{number:04}", f"team-{number // TEAM_SIZE:02}"
    spec = VersionSpec(version="1.0.0", entrypoint="trainers:count")
    agent_service.register(
        tx, NewAgent("bidder", AgentType.SIMULATION, spec), currency="USD", by=Principal(user), now=at
    )
    payer = accounts.of_user(tx, user, "USD", now=at)
    accounts.set_limit(tx, payer.id, Period.MONTH, BUDGET_MICROS, now=at)
    limit = replace(EVERYTHING, cpu=NODE.cpu_milli)
    quota = Quota(QuotaKind.USER, user, limit, team=team, borrowing=_NO_LENDER_LIMIT)
    quota_store.put(tx, quota, by="bench", now=at)


def _job(agent: Any, number: int, count: int, at: datetime) -> dict[str, Any]:
    priority, cpus = _class_of(number // USERS)
    request = Request(Resources(cpu_milli=1000 * cpus, memory_bytes=GIB))
    submitted = at - timedelta(seconds=(count - number) / 1000)
    lane = lane_of(
        owner=agent.owner,
        team=None,
        agent_id=agent.id,
        priority=priority,
        request=request,
        preemptible=False,
        expected_s=None,
    )
    return {
        "agent_id": agent.id,
        "version_id": agent.current_version_id,
        "owner": agent.owner,
        "name": f"job {number}",
        "state": JobState.QUEUED,
        "priority": priority,
        **rows.resources_values(request.resources),
        "lane": lane,
        "entrypoint": "trainers:count",
        "hyperparameters": {"epochs": 10, "learning_rate": 0.001},
        "training_config": {},
        "environment_vars": {},
        "seed": number,
        "max_retries": 3,
        "submitted_at": submitted,
        "queued_at": submitted,
    }


def _class_of(turn: int) -> tuple[int, int]:
    """Priority and CPUs of a user's so-manieth job, in the shares of ``CLASSES``."""
    place = turn * 13 % sum(share for _, share, _, _ in CLASSES)
    for _, share, priority, cpus in CLASSES:
        if place < share:
            return priority, cpus
        place -= share
    raise AssertionError("unreachable")


def now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
