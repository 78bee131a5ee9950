"""Use cases of staged spend: a promoted version begins with a little, and is rolled back by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import ramps as rules
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.agents import AgentStatus, AgentVersion
from gaelp_ray.domain.errors import Conflict, InvalidInput, NotFound
from gaelp_ray.domain.ledger import Account, Money, Scope
from gaelp_ray.domain.money import whole_micros
from gaelp_ray.domain.ramps import LIVE_RAMPS, Health, Ramp, RampState, Stage, Watch
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.verdicts import Severity
from gaelp_ray.domain.switches import EVERYTHING, Switch, SwitchScope, Target, check_reason
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, audit, loosening, promotions, roles
from gaelp_ray.store import accounts as account_store
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import audit as audit_store
from gaelp_ray.store import ramps as ramp_store
from gaelp_ray.store import reviews as review_store
from gaelp_ray.store import switches as switch_store
from gaelp_ray.store.ramps import StoredRamp


def start(
    tx: Connection,
    version_id: int,
    account_id: int | None,
    full_day_micros: int,
    *,
    watch: Watch,
    by: Principal,
    now: datetime,
    stages: Sequence[Stage] = rules.DEFAULT_STAGES,
) -> StoredRamp:
    """Make a promoted version current, and limit its agent's day to the first share of the whole.

    The limit is one of ``account_id``, by default of the agent's main account. Needs the role of an operator.
    A ramp that ends above the daily limit of now loosens it, and passes ``loosening.permit`` like that limit
    itself. Raises ``NotEligible`` for a version that was not promoted, ``Conflict`` for an agent that has a
    ramp already.
    """
    roles.require(tx, Role.OPERATOR, by=by)
    promotions.require_promoted(tx, version_id)
    version = agent_store.version_by_id(tx, version_id)
    ramp = rules.begin(stages, whole_micros(full_day_micros, field="full_day_micros"), now)
    agent_store.lock(tx, version.agent_id)
    agent = agent_store.get(tx, version.agent_id)
    assert agent is not None
    account = accounts.account(tx, agent.account_id if account_id is None else account_id)
    _require_own(account, agent.id)
    if ramp_store.live_of_agent(tx, agent.id):
        raise Conflict(f"Agent {agent.id} has a live ramp already; roll it back, or wait until it has ended.")
    account_store.lock(tx, [account.id])
    raised = accounts.loosened(tx, account, Period.DAY, ramp.full_day_micros)
    loosening.permit(tx, raised, by=by, now=now)
    stored = ramp_store.add(
        tx,
        ramp,
        agent_id=agent.id,
        version_id=version_id,
        previous_version_id=agent.current.id if agent.current.id != version_id else None,
        account_id=account.id,
        watch=watch,
        by=by.user,
        now=now,
    )
    agent_store.point_to(tx, agent.id, version_id, now=now)
    _limit(tx, stored, ramp, by, now)
    _audit(tx, "ramp.start", stored, None, ramp, by, now)
    return stored


def version(connection: Connection, agent_id: int, name: str, *, by: Principal) -> AgentVersion:
    """What ``start`` takes, by its name; an operator need not own the agent."""
    roles.require(connection, Role.OPERATOR, by=by)
    found = agent_store.find_version(connection, agent_id, name)
    if found is None:
        raise NotFound(f"There is no agent {agent_id} with a version {name[:64]!r}.")
    return found


def advance(tx: Connection, ramp_id: int, *, now: datetime) -> StoredRamp:
    """Take a ramp one step: up when its stage was held and healthy, back at the first trouble.

    Trouble is a kill switch of the agent that was engaged since the ramp began, released or not; a halt by a
    policy since then; another version that was made current since then; the end of the agent; or values of
    the watched metric of this stage that are below the bar. A rollback points the agent to its version before
    and lets it spend nothing more. While a switch of more than the agent is engaged the ramp stays as
    it is, while its agent is paused it does not go up, and its stage begins anew after either.
    """
    stored = _locked(tx, ramp_id)
    if stored.ramp.state not in LIVE_RAMPS:
        return stored
    if (trouble := _trouble(tx, stored)) is None and (moved := _wide_switch(tx, stored)) is not None:
        why = f"The kill switch of {moved.target} was engaged."
        return stored if moved.engaged else _begin_stage_anew(tx, stored, why, now)
    values = ramp_store.stage_values(tx, ramp_id, now=now)
    health, why = rules.assess(values, stored.watch.bar, trouble=trouble)
    if health is not Health.UNHEALTHY and _is_paused(tx, stored):
        return stored
    if health is not Health.UNHEALTHY and _was_paused(tx, stored):
        return _begin_stage_anew(tx, stored, "Its agent was paused.", now)
    return _step(tx, stored, rules.step(stored.ramp, health, why, now), SYSTEM, now)


def roll_back(tx: Connection, ramp_id: int, *, reason: str, by: Principal, now: datetime) -> StoredRamp:
    """Roll a live ramp back by hand. Needs the role of an operator."""
    roles.require(tx, Role.OPERATOR, by=by)
    check_reason(reason)
    stored = _locked(tx, ramp_id)
    if stored.ramp.state not in LIVE_RAMPS:
        raise Conflict(f"Ramp {ramp_id} is {stored.ramp.state}; only a live one is rolled back.")
    rolled_back = replace(stored.ramp, state=RampState.ROLLED_BACK, stage_since=now, reason=reason)
    return _step(tx, stored, rolled_back, by, now)


def get(connection: Connection, ramp_id: int, *, by: Principal = SYSTEM) -> StoredRamp:
    """Raises ``NotFound`` unless the caller owns the agent or has a role."""
    found = ramp_store.get(connection, ramp_id)
    if found is None or found not in _visible(connection, [found], by):
        raise NotFound(f"There is no ramp {ramp_id}, or you may not see it.")
    return found


def live(connection: Connection, *, by: Principal = SYSTEM) -> list[StoredRamp]:
    """Those that still go up or back: of the caller's agents, or for who has a role all."""
    return _visible(connection, ramp_store.live(connection), by)


def of_agent(
    connection: Connection, agent_id: int, *, by: Principal, before: int | None = None, limit: int
) -> list[StoredRamp]:
    """Live and ended ones, newest first."""
    found = ramp_store.page(connection, agent_id=agent_id, before=before, limit=limit)
    return _visible(connection, found, by)


def live_ids(connection: Connection, *, now: datetime, limit: int) -> list[int]:
    """Ramps that still go up or back, the first of them."""
    return ramp_store.live_ids(connection, limit=limit)


def _visible(connection: Connection, found: Sequence[StoredRamp], by: Principal) -> list[StoredRamp]:
    if by.admin or roles.of_user(connection, by.user):
        return list(found)
    agents = agent_store.get_many(connection, sorted({each.agent_id for each in found}))
    return [each for each in found if each.agent_id in agents and agents[each.agent_id].owner == by.user]


def _step(tx: Connection, stored: StoredRamp, ramp: Ramp, by: Principal, now: datetime) -> StoredRamp:
    if ramp == stored.ramp:
        return stored
    ramp_store.save(tx, stored.id, ramp)
    if ramp.state is RampState.ROLLED_BACK and stored.previous_version_id is not None:
        agent = agent_store.get(tx, stored.agent_id)
        # Where somebody made another version current by hand, it stays so.
        if agent is not None and agent.current.id == stored.version_id:
            agent_store.point_to(tx, stored.agent_id, stored.previous_version_id, now=now)
    _limit(tx, stored, ramp, by, now)
    _audit(tx, f"ramp.{ramp.state}", stored, stored.ramp, ramp, by, now)
    return replace(stored, ramp=ramp)


def _begin_stage_anew(tx: Connection, stored: StoredRamp, why: str, now: datetime) -> StoredRamp:
    """What was held and measured before a stop counts no longer."""
    again = replace(stored.ramp, stage_since=now, reason=why)
    ramp_store.save(tx, stored.id, again)
    _audit(tx, "ramp.stage_anew", stored, stored.ramp, again, SYSTEM, now)
    return replace(stored, ramp=again)


def _trouble(tx: Connection, stored: StoredRamp) -> str | None:
    """What has happened since the ramp began that ends it, whether or not it is over by now."""
    agent = agent_store.get(tx, stored.agent_id)
    if agent is None or agent.status is AgentStatus.ARCHIVED:
        return "Its agent was deleted."
    if agent.current.id != stored.version_id:
        return "Another version of the agent is current now."
    if _was_replaced(tx, stored):
        return "Another version of the agent was made current since it began."
    switch = switch_store.get(tx, Target(SwitchScope.AGENT, str(stored.agent_id)))
    if switch is not None and switch.engaged:
        return f"The kill switch of {switch.target} is engaged: {switch.reason}"
    if switch is not None and switch.changed_at >= stored.started_at:
        return f"The kill switch of {switch.target} was engaged, and released: {switch.reason}"
    halts = review_store.violations_page(
        tx, agent_id=stored.agent_id, severity=Severity.HALT, since=stored.started_at, limit=1
    )
    return halts[0].message if halts else None


def _was_replaced(tx: Connection, stored: StoredRamp) -> bool:
    """Whether another version was current at any time since the ramp began, as its agent's audit tells."""
    own = agent_store.version_by_id(tx, stored.version_id).spec.version
    began = audit_store.last(tx, subject=f"ramp {stored.id}", actions=["ramp.start"])
    made = audit_store.told(
        tx, subject=f"agent {stored.agent_id}", actions=["agent.version", "agent.rollback"], after=began
    )
    return any(each.get("version") != own for each in made)


def _is_paused(tx: Connection, stored: StoredRamp) -> bool:
    agent = agent_store.get(tx, stored.agent_id)
    return agent is None or agent.status is not AgentStatus.ACTIVE


def _was_paused(tx: Connection, stored: StoredRamp) -> bool:
    """Whether the agent was paused at any time since the stage began."""
    began = audit_store.last(tx, subject=f"ramp {stored.id}")
    changes = audit_store.told(tx, subject=f"agent {stored.agent_id}", actions=["agent.change"], after=began)
    return any(each.get("status", AgentStatus.ACTIVE) != AgentStatus.ACTIVE for each in changes)


def _wide_switch(tx: Connection, stored: StoredRamp) -> Switch | None:
    """The switch of more than the agent that is engaged, or was since the stage began."""
    owner = agent_store.owner(tx, stored.agent_id)
    targets = [EVERYTHING, *([Target(SwitchScope.USER, owner)] if owner is not None else [])]
    found = [switch for target in targets if (switch := switch_store.get(tx, target)) is not None]
    moved = [each for each in found if each.engaged or each.changed_at >= stored.ramp.stage_since]
    return max(moved, key=lambda each: each.engaged, default=None)


def _locked(tx: Connection, ramp_id: int) -> StoredRamp:
    """Agents are locked before their ramps, and ramps before their accounts."""
    found = ramp_store.get(tx, ramp_id)
    if found is not None:
        agent_store.lock(tx, found.agent_id)
        found = ramp_store.lock(tx, ramp_id)
    if found is None:
        raise NotFound(f"There is no ramp {ramp_id}.")
    return found


def _limit(tx: Connection, stored: StoredRamp, ramp: Ramp, by: Principal, now: datetime) -> None:
    accounts.set_limit(tx, stored.account_id, Period.DAY, ramp.day_micros, by=by, now=now)


def _audit(
    tx: Connection,
    action: str,
    stored: StoredRamp,
    before: Ramp | None,
    after: Ramp,
    by: Principal,
    now: datetime,
) -> None:
    was = None if before is None else _facts(before)
    about = {"agent_id": stored.agent_id, "version_id": stored.version_id, "watch": asdict(stored.watch)}
    audit.record(tx, action, f"ramp {stored.id}", by=by, now=now, before=was, after=_facts(after) | about)


def _facts(ramp: Ramp) -> dict[str, object]:
    return {
        "state": ramp.state,
        "stage": ramp.stage,
        "day_micros": ramp.day_micros,
        "cap_micros": ramp.cap_micros,
        "reason": ramp.reason,
    }


def _require_own(account: Account, agent_id: int) -> None:
    if (account.scope, account.subject, account.money) != (Scope.AGENT, str(agent_id), Money.REAL):
        raise InvalidInput(f"Account {account.id} is not an account of real money of agent {agent_id}.")
