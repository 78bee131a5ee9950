"""How long one decision takes as the queue grows: 1,000 nodes with 10,000 GPUs, 1,000 users.

Every round some running jobs end, one plan is made, what it starts runs, and as many new jobs come. The
baseline does the least a planner without lanes must do: put the whole queue in order once.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from datetime import timedelta
from pathlib import Path

from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.ledger import Scope
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.requests import Request
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    Part,
    Queue,
    QueuedJob,
    SchedulingPolicy,
    Snapshot,
    lane_of,
    plan,
)
from gaelp_ray.domain.scheduling.funds import Fund, Funds
from gaelp_ray.domain.scheduling.ordering import effective_priority
from gaelp_ray.domain.windows import Period
from tests.benchmarks.output import Baseline, Report, percentile, say
from tests.builders import T0

GIB = 1024**3
NODES, GPUS_EACH, USERS = 1_000, 10, 1_000
NODE = Resources(cpu_milli=128_000, memory_bytes=1024 * GIB, gpu_milli=GPUS_EACH * 1000)
#: CPU cores, GiB of memory, thousandths of a GPU; share of the jobs.
REQUESTS = ((4, 16, 500, 40), (8, 32, 1000, 40), (16, 64, 2000, 15), (64, 256, 8000, 5))
#: Running jobs that end between two plans, as a share.
CHURN = 0.02
TARGET_MS = 250.0
#: A budget for everybody, which is never used up.
FUNDS = Funds(
    Terms(PriceTable("USD", 40_000, 5_000, {"*": 2_500_000})),
    {(Scope.USER, f"user-{user:04d}"): Fund(10**15, 10**15, Period.MONTH) for user in range(USERS)},
)


class World:
    """A full cluster and a queue of a given length that never runs dry."""

    def __init__(self, length: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._ids = iter(range(1, 10**9))
        self.now = T0
        self.nodes = tuple(Node(f"node-{n:04d}", NODE) for n in range(NODES))
        self.policy = SchedulingPolicy(starts=10**6)
        self.running: dict[int, Claim] = {}
        self.queue = Queue(self.job() for _ in range(NODES * GPUS_EACH))
        while self.step(ending=0):
            pass
        for _ in range(length - len(self.queue)):
            self.queue.put(self.job())
        self._length = length

    def job(self) -> QueuedJob:
        rng = self._rng
        cpu, memory, gpu, _ = rng.choices(REQUESTS, weights=[share for *_, share in REQUESTS])[0]
        request = Request(Resources(cpu * 1000, memory * GIB, gpu))
        user = rng.randrange(USERS)
        owner, priority, preemptible = f"user-{user:04d}", rng.choice((3, 5, 8)), user % 4 == 0
        submitted = self.now - timedelta(seconds=rng.random() * 3600)
        expected_s = float(300 * 2 ** (user % 5))
        lane = lane_of(
            owner=owner,
            team=None,
            agent_id=user,
            priority=priority,
            request=request,
            preemptible=preemptible,
            expected_s=expected_s,
        )
        return QueuedJob(
            next(self._ids), 1, lane, owner, None, user, priority, submitted, submitted, request,
            preemptible=preemptible, expected_s=expected_s, expected_p90_s=expected_s * 3,
        )  # fmt: skip

    def step(self, ending: int) -> float:
        """Let some end, plan, start; returns the seconds the plan took, 0 when it started nothing."""
        for job_id in self._rng.sample(list(self.running), min(ending, len(self.running))):
            del self.running[job_id]
        claims = tuple(self.running.values())
        snapshot = Snapshot(self.nodes, claims, self.queue, policy=self.policy, funds=FUNDS)
        began = time.perf_counter()
        made = plan(snapshot, self.now)
        took = time.perf_counter() - began
        for start in made.starts:
            job = start.job
            self.queue.remove(job.id)
            parts = tuple(Part(p.node_id, p.resources, p.gpus) for p in start.placement)
            end = self.now + timedelta(seconds=job.expected_s or 0)
            self.running[job.id] = Claim(
                job.id, job.owner, None, job.agent_id, job.priority, job.preemptible, parts, self.now,
                expected_end=end,
            )  # fmt: skip
        self.now += timedelta(seconds=1)
        if ending:
            for _ in range(self._length - len(self.queue)):
                self.queue.put(self.job())
        return took if made.starts else 0.0

    def sort_everything(self) -> float:
        """Seconds to put every waiting job in order by effective priority and time."""
        began = time.perf_counter()
        sorted(
            self.queue,
            key=lambda job: (-effective_priority(job, self.policy, self.now), job.submitted_at, job.id),
        )
        return time.perf_counter() - began


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lengths", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    options.add_argument("--rounds", type=int, default=40)
    options.add_argument("--plot", type=Path, help="draw the growth (.png)")
    given = options.parse_args()
    report, grown = Report("scheduler"), []
    for length in given.lengths:
        world = World(length, seed=length)
        gc.collect()
        gc.freeze()
        ending = int(len(world.running) * CHURN)
        took = [world.step(ending) for _ in range(given.rounds)]
        baseline = Baseline(
            "sort_whole_queue_ms", percentile([world.sort_everything() for _ in range(3)], 0.5) * 1000
        )
        lanes = sum(1 for _ in world.queue.lanes())
        p50, p99 = percentile(took, 0.5) * 1000, percentile(took, 0.99) * 1000
        where = f"{length:>9,} queued in {lanes:,} lanes, {len(world.running):,} running"
        say(f"{where}: p50 {p50:.0f} ms, p99 {p99:.0f} ms")
        report.figure(f"plan_{length}_p50_ms", p50, "ms", baseline, n=len(took))
        report.figure(f"plan_{length}_p99_ms", p99, "ms", baseline, n=len(took))
        grown.append((length, p50, p99, baseline.value))
        gc.unfreeze()
    at_target = [p99 for length, _, p99, _ in grown if length == 100_000]
    for p99 in at_target:
        say(f"target at 100,000: p99 under {TARGET_MS:.0f} ms: {'reached' if p99 < TARGET_MS else 'missed'}")
    if given.plot:
        draw(grown, given.plot)


def draw(grown: list[tuple[int, float, float, float]], path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    lengths, p50, p99, whole = zip(*grown, strict=True)
    for values, label in ((p50, "plan p50"), (p99, "plan p99"), (whole, "sorting the whole queue")):
        axes.plot(lengths, values, marker="o", label=label)
    axes.set(xscale="log", yscale="log", xlabel="queued jobs", ylabel="ms", title="One decision, 1,000 nodes")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
