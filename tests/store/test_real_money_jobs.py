"""A job spends real money only for an agent that may, with a budget, once its version was promoted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gaelp_ray.domain.agents import Agent, AgentType
from gaelp_ray.domain.errors import Forbidden, InvalidInput
from gaelp_ray.domain.jobs import Job
from gaelp_ray.domain.ledger import Money, Spend
from gaelp_ray.domain.promotion import RequiredEvidence
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.scheduling import WaitCode
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, agents, launching, ledger, policies, promotions
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store.engine import Store
from tests import evidence
from tests.builders import ADMIN, ANN, LAUNCHER, World, a_version, an_agent


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    world.register()
    return world


def agent_of(world: World, kind: AgentType, *, limit: int | None = 100) -> Agent:
    new = replace(an_agent(limit_micros=limit), type=kind)
    return world.store.transact(agents.register, new, currency="USD", by=ANN, now=world.now)


def submit(world: World, agent: Agent) -> Job:
    return world.submit(agent, money=Money.REAL)


def promote(world: World, version_id: int) -> None:
    """With evidence, by a policy that asks nobody else."""
    document = {"currency": "USD", "rules": [{"rule": RequiredEvidence.kind, "approvals": 0}]}
    world.store.transact(policies.write, "evidence", document, by=ADMIN, now=world.now)
    everybody = Attachment(Attach.GLOBAL)
    world.store.transact(policies.attach, "evidence", None, everybody, by=ADMIN, now=world.now)
    agent_id = world.store.read(agent_store.version_by_id, version_id).agent_id
    evidence.record(world.store, agent_id, version_id, now=world.now)
    world.store.transact(promotions.promote, version_id, by=ANN, now=world.now)


@pytest.mark.parametrize("kind", [AgentType.SIMULATION, AgentType.EVALUATION, AgentType.RESEARCH])
def test_other_agents_never_spend_real_money(world: World, kind: AgentType) -> None:
    agent = agent_of(world, kind)
    with pytest.raises(Forbidden, match="only real_deployment agents spend real money"):
        submit(world, agent)
    assert world.store.read(job_store.page, job_store.JobFilter(), before=None, limit=9) == []


def test_without_a_budget_nothing_real_is_spent(world: World) -> None:
    agent = agent_of(world, AgentType.REAL_DEPLOYMENT, limit=None)
    with pytest.raises(InvalidInput, match="has no budget of real money"):
        submit(world, agent)
    world.store.transact(accounts.set_limit, agent.account_id, Period.DAY, 5, now=world.now)
    assert submit(world, agent).account_id == agent.account_id


def test_it_waits_until_its_version_is_promoted(world: World) -> None:
    agent = agent_of(world, AgentType.REAL_DEPLOYMENT)
    job, other = submit(world, agent), world.submit(agent)
    assert world.tick().started == {other.id}, "what is simulated needs nobody's leave"
    assert world.job(job).wait_code == WaitCode.APPROVAL_REQUIRED
    promote(world, job.version_id)
    assert world.tick().started == {job.id}
    orders = world.store.read(launching.take_orders, LAUNCHER, stop_grace_s=5.0, now=world.now).launches
    [order] = [each for each in orders if each.job_id == job.id]
    assert (order.money, order.currency) == (Money.REAL, "USD")
    payer = world.store.transact(accounts.of_user, ANN.user, "USD", now=world.now)
    assert set(order.account_ids) == {agent.account_id, payer.id}, "its owner is bound too"


def test_the_promotion_of_another_version_is_none_of_its_own(world: World) -> None:
    agent = agent_of(world, AgentType.REAL_DEPLOYMENT)
    old = submit(world, agent)
    version = world.store.transact(agents.add_version, agent.id, a_version("2.0.0"), by=ANN, now=world.now)
    new = submit(world, agent)
    promote(world, version.id)
    assert world.tick().started == {new.id}
    assert world.job(old).wait_code == WaitCode.APPROVAL_REQUIRED


def test_it_waits_while_the_budget_of_its_agent_is_used_up(world: World) -> None:
    agent = agent_of(world, AgentType.REAL_DEPLOYMENT)
    job = submit(world, agent)
    promote(world, job.version_id)
    spent = Spend(key="all of it", account_ids=(agent.account_id,), currency="USD", amount_micros=100)
    world.store.transact(ledger.apply, [spent], now=world.now)
    assert world.tick().started == frozenset()
    waits = world.job(job)
    assert waits.wait_code == WaitCode.BUDGET_EXCEEDED
    assert f"The budget of agent {agent.id}" in (waits.wait_message or "")
    world.store.transact(accounts.set_limit, agent.account_id, Period.TOTAL, 101, now=world.now)
    assert world.tick().started == {job.id}


def test_simulated_money_of_a_real_agent_is_counted_apart(world: World) -> None:
    agent = agent_of(world, AgentType.REAL_DEPLOYMENT)
    job = world.submit(agent)
    account = world.store.read(accounts.account, job.account_id or 0)
    assert (account.money, account.subject) == (Money.SIMULATED, str(agent.id))
    assert account.id != agent.account_id
    assert world.submit(agent).account_id == account.id


def test_each_version_waits_for_what_it_lacks_itself(world: World) -> None:
    agent = agent_of(world, AgentType.REAL_DEPLOYMENT)
    old = submit(world, agent)
    version = world.store.transact(agents.add_version, agent.id, a_version("2.0.0"), by=ANN, now=world.now)
    new = submit(world, agent)
    promote(world, version.id)
    spent = Spend(key="all of it", account_ids=(agent.account_id,), currency="USD", amount_micros=100)
    world.store.transact(ledger.apply, [spent], now=world.now)
    assert world.tick().started == frozenset()
    codes = [world.job(job).wait_code for job in (old, new)]
    assert codes == [WaitCode.APPROVAL_REQUIRED, WaitCode.BUDGET_EXCEEDED]
