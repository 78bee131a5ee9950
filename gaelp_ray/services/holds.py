"""Use cases of holds: place, lift, list."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden, NotFound
from gaelp_ray.domain.holds import Hold, HoldMode, HoldScope, check_hold
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import audit
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import holds as hold_store
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store import revision


def place(
    tx: Connection,
    scope: HoldScope,
    name: str,
    mode: HoldMode,
    *,
    reason: str,
    by: Principal,
    now: datetime,
) -> Hold:
    """Keep jobs from starting from the next plan on; a second hold on the same thing replaces the first.

    Users may hold themselves and their agents, admins everything.
    """
    name = check_hold(scope, name)
    _require_right(tx, scope, name, by)
    if scope is HoldScope.AGENT:
        agent_service.get(tx, int(name), by=by)
    before = hold_store.get(tx, scope, name)
    _require_not_anothers(before, by)
    hold = Hold(scope, name, mode, reason, by.user, now)
    revision.bump(tx)
    hold_store.put(tx, hold)
    was = None if before is None else _facts(before)
    audit.record(tx, "hold.place", _subject(hold), by=by, now=now, before=was, after=_facts(hold))
    return hold


def lift(tx: Connection, scope: HoldScope, name: str, *, by: Principal, now: datetime) -> None:
    """Let jobs start again, of a deleted agent too. What an admin holds only an admin lets go."""
    name = check_hold(scope, name)
    _require_right(tx, scope, name, by)
    hold = hold_store.get(tx, scope, name)
    if hold is None:
        raise NotFound(f"There is no hold on {scope} {name[:140]!r}.")
    _require_not_anothers(hold, by)
    revision.bump(tx)
    hold_store.remove(tx, scope, name)
    audit.record(tx, "hold.lift", _subject(hold), by=by, now=now, before=_facts(hold))


def in_force(connection: Connection, *, by: Principal) -> list[Hold]:
    """Every hold, newest first; a user sees those that bind his jobs."""
    holds = hold_store.all_in_force(connection)
    if by.admin:
        return holds
    team = quota_store.book_of(connection, by.user).team_of(by.user)
    held = [int(hold.name) for hold in holds if hold.scope is HoldScope.AGENT]
    owned = {
        str(agent.id) for agent in agent_store.get_many(connection, held).values() if agent.owner == by.user
    }
    mine: dict[HoldScope, set[str]] = {
        HoldScope.GLOBAL: {""},
        HoldScope.USER: {by.user},
        HoldScope.TEAM: {team} if team else set(),
        HoldScope.AGENT: owned,
    }
    return [hold for hold in holds if hold.name in mine[hold.scope]]


def _subject(hold: Hold) -> str:
    return f"hold on {hold.scope} {hold.name}".rstrip()


def _facts(hold: Hold) -> dict[str, object]:
    return {"mode": hold.mode, "reason": hold.reason, "by": hold.by}


def _require_right(connection: Connection, scope: HoldScope, name: str, by: Principal) -> None:
    if scope is HoldScope.AGENT:
        # A hold on a deleted agent can be lifted as any other.
        agent_service.known(connection, int(name), by=by)
    elif not (scope is HoldScope.USER and name == by.user):
        by.require_admin()


def _require_not_anothers(hold: Hold | None, by: Principal) -> None:
    if hold is not None and hold.by != by.user and not by.admin:
        raise Forbidden(f"{hold.by} placed this hold; ask {hold.by} or an admin to lift it.")
