"""A deleted agent takes nothing more; what it did can be read, and what binds it can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.agents import Agent, AgentStatus
from gaelp_ray.domain.errors import NotFound
from gaelp_ray.domain.holds import HoldMode, HoldScope
from gaelp_ray.domain.jobs import EndCause, Job, JobState
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.switches import SwitchScope, Target
from gaelp_ray.services import (
    accounts,
    agents,
    attempts,
    budgets,
    holds,
    jobs,
    logs,
    metrics,
    policies,
    promotions,
    ramps,
    reviews,
    roles,
    statements,
    switches,
)
from gaelp_ray.store.agents import AgentFilter
from gaelp_ray.store.jobs import JobFilter
from tests.builders import ADMIN, ANN, BOB, World, a_point, a_version

Ask = Callable[[World, Agent, Job], Any]


@pytest.fixture
def gone(world: World) -> tuple[Agent, Job]:
    """An agent that was trained, held and stopped, then deleted; and its job."""
    agent = world.agent(name="gone")
    job = world.submit(agent)
    attempt = world.running(job)
    world.store.transact(attempts.append_log, attempt.id, 0, b"hello\n", now=world.now)
    world.store.transact(metrics.store, [a_point(1, agent=agent.id, job=job.id, reward=1.0)])
    world.finish(attempt, EndCause.SUCCESS)
    world.store.transact(
        holds.place, HoldScope.AGENT, str(agent.id), HoldMode.HOLD, reason="x", by=ANN, now=world.now
    )
    target = Target(SwitchScope.AGENT, str(agent.id))
    world.store.transact(switches.engage, target, reason="odd", by=ANN, now=world.now)
    world.store.transact(agents.delete, agent.id, by=ANN, now=world.now)
    return agent, job


READ: dict[str, Ask] = {
    "its metrics": lambda w, a, _: w.store.read(
        metrics.page, a.id, by=ANN, job_id=None, since=None, before=None, limit=9
    ),
    "its versions": lambda w, a, _: w.store.read(agents.versions, a.id, by=ANN),
    "a version": lambda w, a, _: w.store.read(agents.version, a.id, "1.0.0", by=ANN),
    "the list of deleted agents": lambda w, *_: w.store.read(
        agents.page, AgentFilter(status=AgentStatus.ARCHIVED), by=ANN, before=None, limit=9
    ),
    "its jobs": lambda w, a, _: w.store.read(
        jobs.page, JobFilter(agent_id=a.id), by=ANN, before=None, limit=9
    ),
    "a job": lambda w, _, j: w.store.read(jobs.get, j.id, by=ANN),
    "its events": lambda w, _, j: w.store.read(jobs.events, j.id, by=ANN, after=0, limit=9),
    "its attempts": lambda w, _, j: w.store.read(jobs.attempts, j.id, by=ANN),
    "its log": lambda w, _, j: w.store.read(logs.tail, w.attempts(j)[0].id, lines=9).content,
    "its budget": lambda w, a, _: w.store.read(budgets.visible, a.account_id, by=ANN),
    "the usage of its budget": lambda w, a, _: w.store.read(accounts.usages, a.account_id, now=w.now),
    "its policies": lambda w, a, _: (w.store.read(policies.binding, a.id, by=ANN), True),
    "its violations": lambda w, a, _: (
        w.store.read(reviews.violations, by=ANN, agent_id=a.id, limit=9),
        True,
    ),
    "how far a version is from real money": lambda w, a, _: w.store.read(
        promotions.standing, a.current.id, by=ANN, now=w.now
    ),
    "evidence of it": lambda w, a, _: (w.store.read(promotions.evidence, a.current.id, by=ANN), True),
    "its ramps": lambda w, a, _: (w.store.read(ramps.of_agent, a.id, by=ANN, limit=9), True),
    "its hold": lambda w, *_: w.store.read(holds.in_force, by=ANN),
    "its kill switch": lambda w, *_: w.store.read(switches.visible, by=ANN),
}


@pytest.mark.parametrize("what", READ)
def test_of_a_deleted_agent_can_be_read(world: World, gone: tuple[Agent, Job], what: str) -> None:
    assert READ[what](world, *gone)


REFUSED: dict[str, Ask] = {
    "get": lambda w, a, _: w.store.read(agents.get, a.id, by=ANN),
    "change": lambda w, a, _: w.store.transact(
        agents.change, a.id, by=ANN, now=w.now, status=AgentStatus.ACTIVE
    ),
    "delete again": lambda w, a, _: w.store.transact(agents.delete, a.id, by=ANN, now=w.now),
    "add a version": lambda w, a, _: w.store.transact(
        agents.add_version, a.id, a_version("2.0.0"), by=ANN, now=w.now
    ),
    "roll back": lambda w, a, _: w.store.transact(agents.roll_back, a.id, "1.0.0", by=ANN, now=w.now),
    "submit": lambda w, a, _: w.submit(a),
    "record metrics": lambda w, a, _: w.store.transact(
        metrics.record_external, a.id, {"x": 1.0}, by=ANN, now=w.now
    ),
    "hold": lambda w, a, _: w.store.transact(
        holds.place, HoldScope.AGENT, str(a.id), HoldMode.HOLD, reason="x", by=ANN, now=w.now
    ),
    "promote": lambda w, a, _: w.store.transact(promotions.promote, a.current.id, by=ANN, now=w.now),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_deleted_agent_takes_no(world: World, gone: tuple[Agent, Job], what: str) -> None:
    with pytest.raises(NotFound):
        REFUSED[what](world, *gone)


@pytest.mark.parametrize("by", [ANN, ADMIN], ids=["its owner", "an admin"])
def test_a_hold_on_a_deleted_agent_is_lifted_by(world: World, gone: tuple[Agent, Job], by: Any) -> None:
    agent, _ = gone
    with pytest.raises(NotFound):
        world.store.transact(holds.lift, HoldScope.AGENT, str(agent.id), by=BOB, now=world.now)
    world.store.transact(holds.lift, HoldScope.AGENT, str(agent.id), by=by, now=world.now)
    assert world.store.read(holds.in_force, by=ADMIN) == []


def test_the_kill_switch_of_a_deleted_agent_is_released(world: World, gone: tuple[Agent, Job]) -> None:
    target = Target(SwitchScope.AGENT, str(gone[0].id))
    world.store.transact(roles.grant, "bob", Role.OPERATOR, by=ADMIN, now=world.now)
    world.store.transact(switches.release, target, reason="over", by=BOB, now=world.now)
    assert world.store.read(switches.engaged) == []


def test_what_another_may_not_see_stays_so_when_it_is_deleted(world: World, gone: tuple[Agent, Job]) -> None:
    with pytest.raises(NotFound):
        world.store.read(metrics.page, gone[0].id, by=BOB, job_id=None, since=None, before=None, limit=9)
    with pytest.raises(NotFound):
        world.store.read(agents.versions, gone[0].id, by=BOB)


def test_its_name_is_free_again_and_the_new_agent_has_no_history(
    world: World, gone: tuple[Agent, Job]
) -> None:
    agent, _ = gone
    again = world.agent(name=agent.name)
    assert again.id != agent.id
    page = world.store.read(metrics.page, again.id, by=ANN, job_id=None, since=None, before=None, limit=9)
    assert page == []
    world.register()
    job = world.submit(again)
    assert job.id in world.tick().started, "the hold and the switch of the old one do not bind it"


def test_a_job_that_ends_after_its_agent_was_deleted_ends_as_any_other(world: World) -> None:
    agent = world.agent()
    attempt = world.running(world.submit(agent))
    world.store.transact(agents.delete, agent.id, by=ANN, now=world.now)
    assert world.job(attempt.job_id).state is JobState.STOPPING
    world.store.transact(metrics.store, [a_point(7, agent=agent.id, job=attempt.job_id)])
    world.wait(timedelta(seconds=1).total_seconds())
    assert world.finish(attempt, EndCause.CANCELLED) is JobState.CANCELLED
    assert world.store.read(statements.reconcile, now=world.now) == []


def test_a_policy_of_a_deleted_agent_is_still_told(world: World, gone: tuple[Agent, Job]) -> None:
    agent, _ = gone
    document = {"currency": "USD", "rules": [{"rule": "bid_cap", "max_micros": 5}]}
    world.store.transact(policies.write, "caps", document, by=ADMIN, now=world.now)
    to = Attachment(Attach.TYPE, "simulation")
    world.store.transact(policies.attach, "caps", None, to, by=ADMIN, now=world.now)
    assert len(world.store.read(policies.binding, agent.id, by=ANN)) == 1
