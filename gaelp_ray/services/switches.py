"""Use cases of kill switches: engaged at once by whoever may, released by an operator."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import ids
from gaelp_ray.domain.access import Principal, person
from gaelp_ray.domain.agents import Agent
from gaelp_ray.domain.errors import Forbidden, NotFound
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.switches import EVERYTHING, Board, Covered, Switch, SwitchScope, Target, check_reason
from gaelp_ray.services import audit, roles
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import switches as switch_store


def engage(tx: Connection, target: Target, *, reason: str, by: Principal, now: datetime) -> Switch:
    """Stop a target: once this is committed no hold is made for it any more, and none is being made.

    Owners may stop themselves and their agents, operators everything. Engaging what is engaged changes
    nothing. Comes before anything in its transaction that locks accounts.
    """
    check_reason(reason)
    target = target.canonical()
    agent = _agent(tx, target)
    own = agent is not None and agent.owner == by.user
    if not own and target != Target(SwitchScope.USER, by.user):
        roles.require(tx, Role.OPERATOR, by=by)
    if agent is None and target.scope is SwitchScope.AGENT:
        raise NotFound(
            f"There is no agent {target.subject:.60}; the subject is its id in plain digits, such as 50."
        )
    wanted = Switch(target, True, reason, by.user, now)
    return _move(tx, wanted, by) or _known(tx, target)


def release(tx: Connection, target: Target, *, reason: str, by: Principal, now: datetime) -> Switch:
    """Let a target spend again. Needs the role of an operator; raises ``NotFound`` if it is not engaged.

    A release is the word of somebody else: raises ``Forbidden`` for an operator whom the switch itself stops,
    or whose agent.
    """
    check_reason(reason)
    roles.require(tx, Role.OPERATOR, by=by)
    target = target.canonical()
    if not by.admin and person(_whose(tx, target) or "") == person(by.user):
        raise Forbidden(f"The kill switch of {target} stops you; another operator or an admin releases it.")
    released = _move(tx, Switch(target, False, reason, by.user, now), by)
    if released is None:
        raise NotFound(f"The kill switch of {target} is not engaged.")
    return released


def engaged(connection: Connection) -> list[Switch]:
    return switch_store.engaged(connection)


def visible(connection: Connection, *, by: Principal) -> list[Switch]:
    """Engaged switches: those that stop the caller, or for an operator or auditor all."""
    found = switch_store.engaged(connection)
    if by.admin or roles.of_user(connection, by.user) & {Role.OPERATOR, Role.AUDITOR}:
        return found
    named = [ids.known(each.target.subject) for each in found if each.target.scope is SwitchScope.AGENT]
    agents = agent_store.get_many(connection, [agent_id for agent_id in named if agent_id is not None])
    own = {Target(SwitchScope.AGENT, str(i)) for i, agent in agents.items() if agent.owner == by.user}
    own |= {EVERYTHING, Target(SwitchScope.USER, by.user)}
    return [each for each in found if each.target in own or each.target.scope is SwitchScope.CAMPAIGN]


def covered(connection: Connection, target: Target) -> Covered:
    """What a switch of this target stops now, whether or not it is engaged."""
    return switch_store.covered(connection, target)


def board(connection: Connection) -> Board:
    """All engaged switches by the accounts that they stop, for a guard to remember."""
    return switch_store.board(connection)


def _whose(connection: Connection, target: Target) -> str | None:
    """Whom a switch of a user or of an agent stops."""
    if target.scope is SwitchScope.USER:
        return target.subject
    agent = _agent(connection, target)
    return None if agent is None else agent.owner


def _move(tx: Connection, wanted: Switch, by: Principal) -> Switch | None:
    """None: it stands so already."""
    switch_store.lock(tx)
    before = switch_store.get(tx, wanted.target)
    was_engaged = before is not None and before.engaged
    if was_engaged == wanted.engaged:
        return None
    switch_store.put(tx, wanted)
    audit.record(
        tx,
        "switch.engage" if wanted.engaged else "switch.release",
        str(wanted.target),
        by=by,
        now=wanted.changed_at,
        before={"engaged": was_engaged},
        after={"engaged": wanted.engaged, "reason": wanted.reason},
    )
    return wanted


def _known(tx: Connection, target: Target) -> Switch:
    found = switch_store.get(tx, target)
    assert found is not None
    return found


def _agent(tx: Connection, target: Target) -> Agent | None:
    agent_id = ids.known(target.subject) if target.scope is SwitchScope.AGENT else None
    return None if agent_id is None else agent_store.get(tx, agent_id)
