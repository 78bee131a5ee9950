"""Values that are right in every respect but the one a test names, and a world to move them through."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any, TypeVar

from sqlalchemy import select

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentType, NewAgent, VersionSpec
from gaelp_ray.domain.attempts import Attempt, LaunchOrder, Outcome
from gaelp_ray.domain.checkpoints import CheckpointRecord, Retention
from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.duties import EXPIRE_JOBS, WAKE, Duty
from gaelp_ray.domain.jobs import EndCause, Job, JobEdit, JobState, NewJob
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.quotas import FIELDS, UNLIMITED, Amounts, Quota, QuotaKind
from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET, Request, Selector, Spot
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.retries import RetryPolicy
from gaelp_ray.domain.scheduling import (
    Claim,
    Node,
    Part,
    Plan,
    Queue,
    QueuedJob,
    SchedulingPolicy,
    Snapshot,
    lane_of,
    plan,
)
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import duties as duty_service
from gaelp_ray.services import jobs as job_service
from gaelp_ray.services import launching, scheduling, submissions
from gaelp_ray.services import mirror as mirror_service
from gaelp_ray.services import quotas as quota_service
from gaelp_ray.services.duties import Report
from gaelp_ray.services.forecasts import JobDefaults
from gaelp_ray.services.mirror import Mirror
from gaelp_ray.services.scheduling import Applied
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import tables
from gaelp_ray.store.engine import Store
from gaelp_ray.store.leases import Lease

R = TypeVar("R")

T0 = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
MIB, GIB = 1024**2, 1024**3

ANN = Principal(user="ann")
BOB = Principal(user="bob")
ADMIN = Principal(user="root", admin=True)

CLUSTER = "cluster-a"
LAUNCHER = "cluster-a/launcher-0"


def at(seconds: float) -> datetime:
    """A moment so many seconds after the beginning of every test."""
    return T0 + timedelta(seconds=seconds)


def resources(cpu: float = 1, memory_gib: float = 1, gpu: float = 0) -> Resources:
    return Resources(
        cpu_milli=round(cpu * 1000), memory_bytes=round(memory_gib * GIB), gpu_milli=round(gpu * 1000)
    )


def a_node(
    name: str = "node-1", cpu: float = 4, memory_gib: float = 16, gpu: float = 0, **labels: str
) -> Node:
    return Node(id=name, total=resources(cpu, memory_gib, gpu), labels=labels)


def a_spot_node(name: str = "spot-1", cpu: float = 4, memory_gib: float = 16, gpu: float = 0) -> Node:
    return Node(id=name, total=resources(cpu, memory_gib, gpu), labels={MARKET_LABEL: SPOT_MARKET})


def a_request(
    cpu: float = 1, memory_gib: float = 1, gpu: float = 0, *, workers: int = 1, **fields: Any
) -> Request:
    return Request(resources(cpu, memory_gib, gpu), workers, **fields)


def a_claim(
    node: str | None = "node-1",
    cpu: float = 1,
    memory_gib: float = 1,
    gpu: float = 0,
    *,
    job: int = 999,
    owner: str = "ann",
    **fields: Any,
) -> Claim:
    given: dict[str, Any] = {
        "team": None,
        "agent_id": 1,
        "priority": 5,
        "preemptible": False,
        "parts": (Part(node, resources(cpu, memory_gib, gpu)),),
        "started_at": T0 - timedelta(hours=1),
    }
    return Claim(job_id=job, owner=owner, **given | fields)


def a_job(  # a waiting one, as the planner sees it
    job_id: int = 1,
    *,
    owner: str = "ann",
    team: str | None = None,
    agent: int = 1,
    priority: int = 5,
    submitted_s: float = 0,
    cpu: float = 1,
    memory_gib: float = 1,
    gpu: float = 0,
    workers: int = 1,
    selector: Selector = (),
    spot: Spot = Spot.AVOID,
    preemptible: bool = False,
    expected_s: float | None = None,
    **fields: Any,
) -> QueuedJob:
    request = a_request(cpu, memory_gib, gpu, workers=workers, selector=selector, spot=spot)
    given: dict[str, Any] = {
        "row_version": 1,
        "lane": lane_of(
            owner=owner,
            team=team,
            agent_id=agent,
            priority=priority,
            request=request,
            preemptible=preemptible,
            expected_s=expected_s,
        ),
        "submitted_at": at(submitted_s),
        "queued_at": at(submitted_s),
    }
    return QueuedJob(
        id=job_id,
        owner=owner,
        team=team,
        agent_id=agent,
        priority=priority,
        request=request,
        preemptible=preemptible,
        expected_s=expected_s,
        **given | fields,
    )


def a_snapshot(
    *queue: QueuedJob, nodes: Iterable[Node] | None = None, claims: Iterable[Claim] = (), **fields: Any
) -> Snapshot:
    return Snapshot(
        nodes=tuple([a_node()] if nodes is None else nodes),
        claims=tuple(claims),
        queue=Queue(queue),
        **fields,
    )


def a_checkpoint(step: int, *, record_id: int | None = None, **metrics: float) -> CheckpointRecord:
    return CheckpointRecord(
        id=record_id if record_id is not None else step,
        job_id=1,
        attempt=1,
        step=step,
        uri=f"memory://checkpoints/{step}",
        digest="0" * 64,
        size_bytes=1,
        metrics=metrics,
        created_at=at(step),
    )


def a_version(version: str = "1.0.0", **fields: Any) -> VersionSpec:
    return VersionSpec(version=version, **fields)


def an_agent(name: str = "bidder", *, limit_micros: int | None = None, **version: Any) -> NewAgent:
    return NewAgent(
        name=name, type=AgentType.SIMULATION, spec=a_version(**version), budget_limit_micros=limit_micros
    )


def an_order(entrypoint: str, **fields: Any) -> LaunchOrder:
    """An order to run one attempt, as a worker gets it."""
    given: dict[str, Any] = {
        "attempt_id": 1,
        "token": str(uuid.UUID(int=1)),
        "job_id": 7,
        "agent_id": 3,
        "number": 1,
        "config": {},
        "hyperparameters": {},
        "seed": 0,
        "resources": Resources(cpu_milli=1000, memory_bytes=GIB),
        "node_id": "node-1",
        "stop_grace_s": 5.0,
    }
    return LaunchOrder(entrypoint=entrypoint, **given | fields)


def a_point(step: int | None = 1, *, agent: int = 1, job: int | None = 1, **values: float) -> MetricPoint:
    return MetricPoint(
        agent_id=agent,
        at=at(step or 0),
        values=values or {"reward": float(step or 0)},
        job_id=job,
        attempt=1 if job is not None else None,
        step=step,
    )


def at_once(count: int, call: Callable[[int], R]) -> list[R | Exception]:
    """Call with 0, 1, ... from as many threads, all let go at the same moment; errors come back as values."""
    barrier = Barrier(count)

    def one(number: int) -> R | Exception:
        barrier.wait(timeout=30)
        try:
            return call(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(max_workers=count) as threads:
        return list(threads.map(one, range(count)))


class World:
    """The services on a database, one step at a time, with one scheduler and a clock of its own."""

    def __init__(self, store: Store, *, nodes: Iterable[Node] | None = None) -> None:
        self.store = store
        self.now = T0
        self.nodes = tuple([a_node(cpu=64, memory_gib=256)] if nodes is None else nodes)
        self.policy = RetryPolicy(base_s=60, cap_s=3600)
        self.rules = SchedulingPolicy()
        self.defaults = JobDefaults(timeout_s=None, max_retries=3, queue_limit=1000)
        #: How running time is paid for; None where it is free.
        self.terms: Terms | None = None
        self.life = uuid.uuid4()
        #: Of the scheduler of ``tick``; None before its first one.
        self.mirror: Mirror | None = None
        self._names = itertools.count(1)

    def wait(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def agent(self, *, by: Principal = ANN, **fields: Any) -> Agent:
        new = an_agent(**{"name": f"agent {next(self._names)}"} | fields)
        return self.store.transact(agent_service.register, new, currency="USD", by=by, now=self.now)

    def submit(
        self, agent: Agent | None = None, *, key: str | None = None, by: Principal = ANN, **fields: Any
    ) -> Job:
        new = NewJob(agent_id=(agent or self.agent(by=by)).id, **{"name": "job"} | fields)
        return self.store.transact(
            submissions.submit, new, by=by, now=self.now, defaults=self.defaults, key=key
        )

    def job(self, job: Job | int) -> Job:
        found = self.store.read(job_store.get, job if isinstance(job, int) else job.id)
        assert found is not None
        return found

    def attempts(self, job: Job | int) -> list[Attempt]:
        return self.store.read(attempt_store.of_job, job if isinstance(job, int) else job.id)

    def register(self, launcher: str = LAUNCHER, *, cluster: str = CLUSTER) -> int:
        """A launcher begins a new life; returns how many attempts died with its last."""
        self.life = uuid.uuid4()
        return self.store.transact(
            launching.register,
            launcher,
            cluster=cluster,
            incarnation=self.life,
            policy=self.policy,
            now=self.now,
        )

    def lead(self, holder: str = "scheduler", *, epoch: int | None = None) -> Lease:
        lease = self.store.transact(
            scheduling.lead, holder, epoch=epoch, ttl=timedelta(seconds=10), now=self.now
        )
        assert lease is not None
        return lease

    def load(self) -> Mirror:
        """A scheduler takes over: it reads the queue anew."""
        self.mirror = self.store.transact(mirror_service.load)
        return self.mirror

    def look(self) -> Snapshot:
        """What a scheduler plans on, its mirror caught up."""
        mirror = self.mirror or self.load()
        self.store.read(mirror_service.refresh, mirror)
        return self.store.read(
            scheduling.look, mirror, nodes=self.nodes, policy=self.rules, terms=self.terms, now=self.now
        )

    def apply(self, decided: Plan, seen: Snapshot, lease: Lease, **loads: int) -> Applied:
        """Write a plan; ``loads`` are those of the launchers, unless given."""
        assert self.mirror is not None
        applied = self.store.transact(
            scheduling.apply,
            decided,
            seen,
            self.mirror,
            holder=lease.holder,
            epoch=lease.epoch,
            loads=loads or self.store.read(scheduling.launcher_loads, CLUSTER),
            make_token=uuid.uuid4,
            now=self.now,
        )
        scheduling.remember(self.mirror, applied)
        return applied

    def tick(self) -> Applied:
        """What the scheduler does, in its order."""
        lease = self.lead()
        self.duty(WAKE, scheduling.due, partial(scheduling.wake, now=self.now))
        self.duty(EXPIRE_JOBS, scheduling.past_deadline, partial(scheduling.expire, now=self.now))
        seen = self.look()
        return self.apply(plan(seen, self.now), seen, lease)

    def duty(self, duty: Duty, look: Any, do: Any, *, limit: int = 500) -> Report:
        """One round of a duty."""
        return duty_service.in_turn(self.store, duty, look, do, now=self.now, limit=limit)

    def carry_out(self, launcher: str = LAUNCHER) -> launching.Orders:
        """The launcher takes its orders and hands its launches to Ray."""
        orders = self.store.read(launching.take_orders, launcher, stop_grace_s=5.0, now=self.now)
        launched = [order.attempt_id for order in orders.launches]
        self.store.transact(launching.deliver, orders, launched=launched, incarnation=self.life, now=self.now)
        return orders

    def token(self, attempt_id: int) -> uuid.UUID:
        column = tables.attempts.c
        query = select(column.token).where(column.id == attempt_id)
        return self.store.read(lambda connection: connection.execute(query).scalar_one())

    def claim(
        self,
        attempt: Attempt,
        *,
        token: uuid.UUID | None = None,
        claimant: uuid.UUID | None = None,
        resumed_from: int | None = None,
    ) -> bool:
        asked = attempt_service.Claim(
            attempt.id,
            token or self.token(attempt.id),
            claimant or uuid.uuid4(),
            attempt.node_id or "node-1",
            resumed_from,
            others=attempt.placement[1:],
        )
        return self.store.transact(attempt_service.claim, asked, incarnation=self.life, now=self.now)

    def running(self, job: Job | None = None, **fields: Any) -> Attempt:
        """The attempt of a job that was started and claimed."""
        job = job or self.submit(**fields)
        self.register() if not self.store.read(scheduling.launcher_loads, CLUSTER) else None
        assert job.id in self.tick().started
        attempt = self.attempts(job)[-1]
        assert self.claim(attempt)
        return attempt

    def finish(
        self, attempt: Attempt, cause: EndCause, *, token: uuid.UUID | None = None, **outcome: Any
    ) -> JobState | None:
        return self.store.transact(
            attempt_service.finish,
            attempt.id,
            Outcome(cause, **outcome),
            token=token,
            policy=self.policy,
            now=self.now,
        )

    def save_checkpoint(
        self,
        attempt: Attempt,
        step: int,
        *,
        keep: Retention | None = None,
        metrics: Mapping[str, float] | None = None,
        points: Iterable[MetricPoint] = (),
        uri: str = "",
        address: str = "",
    ) -> list[CheckpointRecord] | None:
        return self.store.transact(
            attempt_service.save_checkpoint,
            attempt.id,
            self.token(attempt.id),
            step=step,
            uri=uri or f"memory://job-{attempt.job_id}/attempt-{attempt.number}/step-{step}",
            address=address,
            digest=f"{step:064d}",
            size_bytes=step,
            metrics=metrics or {},
            points=list(points),
            keep=keep or Retention(),
            now=self.now,
        )

    def cancel(self, job: Job | int, *, by: Principal = ANN) -> job_service.Cancelled:
        job_id = job if isinstance(job, int) else job.id
        return self.store.transact(job_service.cancel, job_id, by=by, now=self.now)

    def edit(self, job: Job | int, *, by: Principal = ANN, **change: Any) -> Job:
        job_id = job if isinstance(job, int) else job.id
        return self.store.transact(
            job_service.edit, job_id, JobEdit(**change), by=by, now=self.now, defaults=self.defaults
        )

    def quota(self, name: str, *, kind: QuotaKind = QuotaKind.USER, **fields: Any) -> None:
        """Set a quota: limits by the name of the resource, the other fields as ``Quota`` has them."""
        limit = Amounts(**{each: fields.pop(each, UNLIMITED) for each in FIELDS})
        self.store.transact(quota_service.put, Quota(kind, name, limit, **fields), by=ADMIN, now=self.now)
