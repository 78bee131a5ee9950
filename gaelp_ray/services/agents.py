"""Use cases of agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import (
    Agent,
    AgentStatus,
    AgentVersion,
    NewAgent,
    VersionSpec,
    check_name,
    check_version_spec,
)
from gaelp_ray.domain.errors import Conflict, IllegalTransition, NotFound
from gaelp_ray.domain.ledger import money_of
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, audit
from gaelp_ray.services import jobs as job_service
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import revision
from gaelp_ray.store.agents import AgentFilter
from gaelp_ray.store.jobs import JobFilter


def register(tx: Connection, new: NewAgent, *, currency: str, by: Principal, now: datetime) -> Agent:
    """Store an agent with its first version; its name must be free among its owner's.

    With it open the accounts that it spends from, and its owner's for compute.
    """
    check_name(new.name)
    check_version_spec(new.spec)
    agent_store.lock_name(tx, by.user, new.name)
    if agent_store.page(tx, AgentFilter(owner=by.user, name=new.name), before=None, limit=1):
        raise Conflict(f"You have an agent named {new.name!r} already; choose another name or delete it.")
    agent = _existing(tx, agent_store.add(tx, new, owner=by.user, now=now), by)
    accounts.of_user(tx, agent.owner, currency, now=now)
    account = accounts.of_agent(tx, agent, money_of(new.type), currency, now=now)
    agent_store.set_fields(tx, agent.id, {"account_id": account.id}, now=now)
    if new.budget_limit_micros is not None:
        accounts.set_limit(tx, account.id, Period.TOTAL, new.budget_limit_micros, by=by, now=now)
    after = {"name": new.name, "type": new.type, "version": new.spec.version, "account_id": account.id}
    audit.record(tx, "agent.register", f"agent {agent.id}", by=by, now=now, after=after)
    return _existing(tx, agent.id, by)


def get(connection: Connection, agent_id: int, *, by: Principal) -> Agent:
    """Raises ``NotFound`` for a missing, deleted or foreign agent."""
    return visible(agent_store.get(connection, agent_id), agent_id, by)


def known(connection: Connection, agent_id: int, *, by: Principal) -> Agent:
    """As ``get``, deleted or not: for whoever reads its history, or takes back what still binds it."""
    return recorded(agent_store.get(connection, agent_id), agent_id, by)


def visible(agent: Agent | None, agent_id: int, by: Principal) -> Agent:
    """The agent if it was not deleted and the caller may see it; else ``NotFound``."""
    if agent is not None and agent.status is AgentStatus.ARCHIVED:
        agent = None
    return recorded(agent, agent_id, by)


def recorded(agent: Agent | None, agent_id: int, by: Principal) -> Agent:
    """The agent, deleted or not, if the caller may see it; else ``NotFound``."""
    if agent is None:
        raise NotFound(f"There is no agent {agent_id}, or you may not see it.")
    by.require_owner(agent.owner, f"agent {agent_id}")
    return agent


def owner(connection: Connection, agent_id: int) -> str:
    """Whose an agent is, deleted or not; raises ``NotFound`` for one that never was."""
    found = agent_store.owner(connection, agent_id)
    if found is None:
        raise NotFound(f"There is no agent {agent_id}.")
    return found


def page(
    connection: Connection, wanted: AgentFilter, *, by: Principal, before: int | None, limit: int
) -> list[Agent]:
    """Agents newest first; an admin sees everybody's."""
    if not by.admin:
        wanted = replace(wanted, owner=by.user)
    return agent_store.page(connection, wanted, before=before, limit=limit)


def change(
    tx: Connection,
    agent_id: int,
    *,
    by: Principal,
    now: datetime,
    status: AgentStatus | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Agent:
    """Pause, resume, describe or limit an agent. ``fields``: description, budget_limit_micros."""
    agent = _locked(tx, agent_id, by)
    if status is AgentStatus.ARCHIVED:
        raise IllegalTransition("An agent is archived by DELETE, not by a change of status.")
    values = dict(fields or {}) | ({"status": status} if status is not None else {})
    if status is not None:
        revision.bump(tx)
    if not values:
        return agent
    limited, limit = "budget_limit_micros" in values, values.pop("budget_limit_micros", None)
    agent_store.set_fields(tx, agent_id, values, now=now)
    if limited:
        accounts.change_limit(tx, agent.account_id, Period.TOTAL, limit, by=by, now=now)
    if values:
        before = {name: getattr(agent, name) for name in values}
        audit.record(tx, "agent.change", f"agent {agent_id}", by=by, now=now, before=before, after=values)
    return _existing(tx, agent_id, by)


def delete(tx: Connection, agent_id: int, *, by: Principal, now: datetime) -> list[str]:
    """Archive an agent and cancel its jobs; its history stays. Returns the launchers to wake."""
    agent = _locked(tx, agent_id, by)
    agent_store.set_fields(tx, agent_id, {"status": AgentStatus.ARCHIVED}, now=now)
    its_jobs = JobFilter(agent_id=agent_id)
    reason = "Its agent was deleted."
    cancelled = job_service.cancel_many(tx, its_jobs, by=by, now=now, limit=None, reason=reason)
    before = {"name": agent.name, "status": agent.status}
    audit.record(tx, "agent.delete", f"agent {agent_id}", by=by, now=now, before=before)
    return sorted(cancelled.launchers)


def add_version(
    tx: Connection, agent_id: int, spec: VersionSpec, *, by: Principal, now: datetime
) -> AgentVersion:
    """Store a new immutable version and make it current."""
    agent = _locked(tx, agent_id, by)
    check_version_spec(spec)
    if agent_store.find_version(tx, agent_id, spec.version):
        raise Conflict(f"Version {spec.version!r} exists and cannot change; choose a new version.")
    version_id = agent_store.add_version(tx, agent_id, spec, by=by.user, now=now)
    agent_store.point_to(tx, agent_id, version_id, now=now)
    _audit_version(tx, "agent.version", agent, spec.version, by, now)
    return agent_store.version_by_id(tx, version_id)


def roll_back(tx: Connection, agent_id: int, version: str, *, by: Principal, now: datetime) -> Agent:
    """Make an existing version the current one again."""
    agent = _locked(tx, agent_id, by)
    found = agent_store.find_version(tx, agent_id, version)
    if found is None:
        raise NotFound(f"Agent {agent_id} has no version {version!r}.")
    agent_store.point_to(tx, agent_id, found.id, now=now)
    _audit_version(tx, "agent.rollback", agent, version, by, now)
    return _existing(tx, agent_id, by)


def version(connection: Connection, agent_id: int, name: str, *, by: Principal) -> AgentVersion:
    """Of a deleted agent too."""
    known(connection, agent_id, by=by)
    found = agent_store.find_version(connection, agent_id, name)
    if found is None:
        raise NotFound(f"Agent {agent_id} has no version {name[:64]!r}.")
    return found


def versions(
    connection: Connection,
    agent_id: int,
    *,
    by: Principal,
    before: int | None = None,
    limit: int | None = None,
) -> list[AgentVersion]:
    """Newest first, without what is large of them; of a deleted agent too."""
    known(connection, agent_id, by=by)
    return agent_store.versions(connection, agent_id, before=before, limit=limit)


def _audit_version(
    tx: Connection, action: str, agent: Agent, version: str, by: Principal, now: datetime
) -> None:
    before, after = {"version": agent.current.spec.version}, {"version": version}
    audit.record(tx, action, f"agent {agent.id}", by=by, now=now, before=before, after=after)


def _locked(tx: Connection, agent_id: int, by: Principal) -> Agent:
    agent_store.lock(tx, agent_id)
    return _existing(tx, agent_id, by)


def _existing(tx: Connection, agent_id: int, by: Principal) -> Agent:
    return visible(agent_store.get(tx, agent_id), agent_id, by)
