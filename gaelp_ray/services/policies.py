"""Use cases of safety policies: written in versions, attached, tried on the past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gaelp_ray.domain import loosening as looser
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.errors import InvalidInput, NotFound
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety import policies as rules
from gaelp_ray.domain.safety.dry_run import Replayed, replay
from gaelp_ray.domain.safety.policies import Attach, Attachment, Policy
from gaelp_ray.services import agents, audit, loosening, roles
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import policies as policy_store
from gaelp_ray.store import reviews as review_store

#: Actions that one dry run looks at.
MAX_HISTORY = 50_000


def write(tx: Connection, name: str, document: Mapping[str, Any], *, by: Principal, now: datetime) -> Policy:
    """Store the next version of a policy. What is attached stays attached in its own version."""
    roles.require(tx, Role.OPERATOR, by=by)
    policy_store.lock_name(tx, name)
    policy = rules.propose(policy_store.spelled(tx, name), document)
    audit.number(tx)
    policy = policy_store.add(tx, policy, by=by.user, now=now)
    audit.record(tx, "policy.write", f"policy {policy.label}", by=by, now=now, after=rules.write(policy))
    return policy


def attach(
    tx: Connection, name: str, version: int | None, to: Attachment, *, by: Principal, now: datetime
) -> Policy:
    """Attach a version, the newest unless named, in place of any other version of the same policy there.

    Another version may ask for less: in place of one that binds real money it passes ``loosening.permit``, as
    does a first one that asks for less evidence than is asked for where no policy does.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    to, policy = to.canonical(), get(tx, name, version)
    name = policy.name
    if to.scope is Attach.AGENT and agent_store.get(tx, int(to.subject)) is None:
        raise NotFound(f"There is no agent {to.subject}.")
    if _binds_real_money(tx, to):
        # Two that are attached at once are judged one after the other.
        policy_store.lock(tx)
    weaker = _opens_the_gate(tx, policy, to)
    replaced = policy_store.detach(tx, name, to, by=by.user, now=now)
    policy_store.attach(tx, policy, to, by=by.user, now=now)
    if weaker or replaced not in {None, policy.id}:
        _permit(tx, name, to, f"attach {policy.version} to {_place(to)}", by, now)
    before = None if replaced is None else {"policy_id": replaced}
    after = {"policy_id": policy.id, "policy": policy.label}
    audit.record(tx, "policy.attach", _place(to), by=by, now=now, before=before, after=after)
    return policy


def detach(tx: Connection, name: str, to: Attachment, *, by: Principal, now: datetime) -> None:
    """Take a policy away. Raises ``NotFound`` if no version of it is attached there.

    Where it binds real money this passes ``loosening.permit``.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    to, name = to.canonical(), policy_store.spelled(tx, name)
    removed = policy_store.detach(tx, name, to, by=by.user, now=now)
    if removed is None:
        raise NotFound(f"Policy {name[:140]!r} is not attached to {_place(to)}.")
    _permit(tx, name, to, f"detach from {_place(to)}", by, now)
    before = {"policy_id": removed, "name": name}
    audit.record(tx, "policy.detach", _place(to), by=by, now=now, before=before)


def get(connection: Connection, name: str, version: int | None = None) -> Policy:
    """The newest version unless one is named."""
    found = policy_store.get(connection, policy_store.spelled(connection, name), version)
    if found is None:
        raise NotFound(f"There is no policy {name[:140]!r}" + (f" in version {version}." if version else "."))
    return found


def page(connection: Connection, *, name: str | None = None, after: int = 0, limit: int) -> list[Policy]:
    wanted = None if name is None else policy_store.spelled(connection, name)
    return policy_store.page(connection, name=wanted, after=after, limit=limit)


def places(connection: Connection, policies: Sequence[Policy]) -> dict[int, list[Attachment]]:
    """What each of these versions is attached to now, by its id."""
    found: dict[int, list[Attachment]] = {policy.id: [] for policy in policies}
    for policy_id, place in policy_store.attachments(connection, list(found)):
        found[policy_id].append(place)
    return found


def binding(connection: Connection, agent_id: int, *, by: Principal) -> list[Policy]:
    """As ``of_agent``, for those who may see the agent."""
    agents.known(connection, agent_id, by=by)
    return of_agent(connection, agent_id)


def of_agent(connection: Connection, agent_id: int) -> list[Policy]:
    """All that an agent must keep: its own, those of its type, and the global ones."""
    agent = agent_store.get(connection, agent_id)
    if agent is None:
        raise NotFound(f"There is no agent {agent_id}.")
    return policy_store.attached(
        connection,
        [
            Attachment(Attach.AGENT, str(agent_id)),
            Attachment(Attach.TYPE, str(agent.type)),
            Attachment(Attach.GLOBAL),
        ],
    )


def of_type(connection: Connection, kind: AgentType) -> list[Policy]:
    """What every agent of a type must keep."""
    places = [Attachment(Attach.TYPE, str(kind)), Attachment(Attach.GLOBAL)]
    return policy_store.attached(connection, places)


def dry_run(
    connection: Connection,
    agent_id: int,
    policy: Policy,
    *,
    by: Principal,
    since: datetime,
    until: datetime,
    timezone: str = "UTC",
) -> list[Replayed]:
    """What a policy would have said to the actions that an agent asked for; nothing is stored.

    Raises ``InvalidInput`` for a time in which there were more than ``MAX_HISTORY``.
    """
    agents.known(connection, agent_id, by=by)
    history = review_store.history(connection, agent_id, since=since, until=until, limit=MAX_HISTORY + 1)
    if len(history) > MAX_HISTORY:
        raise InvalidInput(
            f"Agent {agent_id} asked for more than {MAX_HISTORY} actions in that time; choose a shorter one."
        )
    return replay([policy], history, timezone=timezone)


def _permit(tx: Connection, name: str, to: Attachment, change: str, by: Principal, now: datetime) -> None:
    if _binds_real_money(tx, to):
        loosening.permit(tx, looser.of_policy(name, change), by=by, now=now)


def _opens_the_gate(connection: Connection, policy: Policy, to: Attachment) -> bool:
    """Whether a policy takes the place of the default gate for some agent, and asks for less."""
    in_force = of_type(connection, AgentType.REAL_DEPLOYMENT)
    if to.scope is Attach.AGENT:
        in_force = of_agent(connection, int(to.subject)) + in_force
    # What stands in its own way is about to be replaced.
    return looser.asks_for_less(policy, [each for each in in_force if each.name != policy.name])


def _binds_real_money(connection: Connection, to: Attachment) -> bool:
    if to.scope is Attach.AGENT:
        agent = agent_store.get(connection, int(to.subject))
        return agent is not None and agent.type is AgentType.REAL_DEPLOYMENT
    return to.scope is Attach.GLOBAL or to.subject == AgentType.REAL_DEPLOYMENT


def _place(to: Attachment) -> str:
    return f"{to.scope} {to.subject}".rstrip()
