"""Jobs that spend, on a real cluster and a real ledger, and what is left of it when processes die."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psutil
import pytest
import ray

from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentType
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.jobs import EndCause, Job, JobState
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.switches import SwitchScope, Target
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, approvals, platforms, promotions, roles, statements, switches
from gaelp_ray.training.platforms import registry
from gaelp_ray.training.platforms.sandbox import SandboxPlatform
from tests import evidence
from tests.builders import ADMIN, ANN, BOB
from tests.integration.plane import Plane, kill
from tests.service import eventually

UNIT = 1_000_000
CAROL = Principal("carol")
MANNERS = {
    "name": "sandbox",
    "lasts_s": 0.5,
    "runs_on_s": 0.2,
    "max_delay_s": 0.3,
    "outage_percent": 20,
    "duplicates_percent": 30,
}


class Books:
    """The plane's ledger, as tests look at it."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    def used(self, agent: Agent) -> tuple[int, int]:
        """Pending and posted."""
        found = self.plane.store.read(accounts.usages, agent.account_id, now=utc_now())
        (total,) = [usage for usage in found if usage.period is Period.TOTAL]
        return total.pending_micros, total.posted_micros

    def differences(self) -> list[str]:
        found = self.plane.store.read(statements.reconcile, now=utc_now())
        return [f"{each.kind} {each.subject}: {each.found}, not {each.expected}" for each in found]

    def never_past(self, agent: Agent, limit: int) -> bool:
        """Whether every line of its statement lies within the limit."""
        since, until = agent.created_at, utc_now()
        lines = self.plane.store.read(
            statements.statement, agent.account_id, since=since, until=until, limit=10_000
        )
        assert lines
        return all(line.pending_micros + line.posted_micros <= limit for line in lines)

    def promote(self, agent: Agent) -> None:
        """Through the whole gate: evidence, and the word of two others."""
        store, now, version = self.plane.store, utc_now(), agent.current.id
        evidence.record(store, agent.id, version, now=now)
        new = NewApproval(
            purpose=Purpose.PROMOTION,
            subject=f"version {version}",
            reason="good",
            ttl=approvals.rules.MAX_TTL,
        )
        asked = store.transact(approvals.request, new, by=ANN, now=now)
        for other in (BOB, CAROL):
            store.transact(roles.grant, other.user, Role.APPROVER, by=ADMIN, now=now)
            store.transact(approvals.vote, asked.id, approves=True, reason="good", by=other, now=now)
        store.transact(promotions.promote, version, by=ANN, now=now)


@pytest.fixture(scope="module")
def books(plane: Plane) -> Books:
    return Books(plane)


def real_agent(books: Books, budget: int) -> Agent:
    agent = books.plane.agent("trainers:order", kind=AgentType.REAL_DEPLOYMENT, budget=budget)
    books.promote(agent)
    return agent


def order(
    plane: Plane, agent: Agent, orders: int, platform: dict[str, Any] = MANNERS, **hyperparameters: Any
) -> Job:
    return plane.submit(
        agent,
        money=Money.REAL,
        hyperparameters={"orders": orders, **hyperparameters},
        training_config={"platform": platform},
    )


def worker_of(plane: Plane, job: Job) -> int:
    found = eventually(lambda: plane.job(job).progress.metrics.get("worker"), what="it reports its worker")
    assert found is not None
    return int(found)


def test_leases_are_spent_to_the_last_micro_that_fits(plane: Plane, books: Books) -> None:
    agent = plane.agent("trainers:lease", budget=10_000)
    job = plane.wait(plane.submit(agent, hyperparameters={"spends": 100_000}))
    assert (job.state, job.result) == (JobState.SUCCEEDED, {"spent": 10_000 // 7 * 7, "attempt": 1})
    assert books.used(agent) == (0, 10_000 // 7 * 7)
    assert books.differences() == []


def test_a_job_that_is_deaf_to_refusals_is_stopped_for_its_budget(plane: Plane, books: Books) -> None:
    agent = plane.agent("trainers:spend_deaf", budget=3_500_000)
    job = plane.wait(plane.submit(agent))
    assert (job.state, job.cause) == (JobState.FAILED, EndCause.BUDGET)
    assert "0.5 left of the total limit" in (job.message or "")
    assert books.used(agent) == (0, 3 * UNIT)


def test_real_orders_pass_the_gate_and_are_booked_as_reported(plane: Plane, books: Books) -> None:
    agent = real_agent(books, 10 * UNIT)
    job = plane.wait(order(plane, agent, 4))
    assert job.state is JobState.SUCCEEDED, job.message
    assert job.result is not None
    spent = job.result["spent"]
    assert len(spent) == 4
    assert all(UNIT <= each <= UNIT * 110 // 100 for each in spent.values())
    assert books.used(agent) == (0, sum(spent.values()))
    assert books.never_past(agent, 10 * UNIT)
    period = {"since": agent.created_at, "until": utc_now(), "now": utc_now()}
    assert plane.store.read(platforms.differences, "sandbox", **period) == []


def test_real_orders_past_the_budget_end_the_job(plane: Plane, books: Books) -> None:
    agent = real_agent(books, 3 * UNIT)
    job = plane.wait(order(plane, agent, 10))
    assert (job.state, job.cause) == (JobState.FAILED, EndCause.BUDGET)
    assert books.never_past(agent, 3 * UNIT)
    eventually(lambda: books.differences() == [])


def test_a_kill_switch_stops_an_agent_that_only_waits(plane: Plane, books: Books) -> None:
    agent = real_agent(books, 10 * UNIT)
    slow = MANNERS | {"lasts_s": 600, "outage_percent": 0}
    job = order(plane, agent, 1, slow)
    plane.wait_step(job, 1)
    target = Target(SwitchScope.AGENT, str(agent.id))
    plane.store.transact(switches.engage, target, reason="a test", by=ADMIN, now=utc_now())
    ended = plane.wait(job)
    assert (ended.state, ended.cause) == (JobState.FAILED, EndCause.BUDGET)
    assert "a test" in (ended.message or "")
    platform = registry.make(
        {"platform": slow}, registry.Site(job.id, 0, f"{plane.settings.storage_uri}/platforms")
    )
    assert isinstance(platform, SandboxPlatform)
    far = utc_now() + timedelta(seconds=600)
    assert platform.cost(f"job {job.id} order order-0", now=far) < UNIT, "its order was stopped"


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["worker", "launcher"])
def test_a_death_in_the_middle_of_leases_overspends_nothing(plane: Plane, books: Books, victim: str) -> None:
    agent = plane.agent("trainers:lease", budget=5_000)
    job = plane.submit(agent, hyperparameters={"spends": 60, "pause_s": 0.05, "ttl_s": 3.0})
    die(plane, job, victim)
    ended = plane.wait(job)
    assert (ended.state, ended.losses) == (JobState.SUCCEEDED, 1), ended.message
    assert ended.result == {"spent": 420, "attempt": 2}
    # What the dead attempt had leased counts as spent: nobody knows better.
    eventually(lambda: books.used(agent) == (0, 1420), what="the lease expires")
    assert books.never_past(agent, 5_000)
    assert books.differences() == []


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["worker", "launcher"])
def test_a_death_in_the_middle_of_orders_orders_nothing_twice(
    plane: Plane, books: Books, victim: str
) -> None:
    agent = real_agent(books, 20 * UNIT)
    job = order(plane, agent, 8, pause_s=0.2)
    die(plane, job, victim)
    ended = plane.wait(job)
    assert (ended.state, ended.losses) == (JobState.SUCCEEDED, 1), ended.message
    assert ended.result is not None
    assert ended.result["attempt"] == 2
    spent = ended.result["spent"]
    assert sorted(spent) == [f"order-{n}" for n in range(8)]
    assert books.used(agent) == (0, sum(spent.values()))
    assert books.never_past(agent, 20 * UNIT)
    assert books.differences() == []


def die(plane: Plane, job: Job, victim: str) -> None:
    """kill -9, once the job has done a little."""
    plane.wait_step(job, 3)
    if victim == "worker":
        kill(worker_of(plane, job))
        return
    (launcher,) = plane.actors.launchers.values()
    pid = ray.get(launcher.pid.remote())
    kill(pid)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
