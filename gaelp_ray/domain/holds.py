"""Holds: an operator or owner keeps jobs from starting, and may have the running ones make room."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gaelp_ray.domain import ids, names
from gaelp_ray.domain.errors import InvalidInput


class HoldScope(StrEnum):
    GLOBAL = "global"
    TEAM = "team"
    USER = "user"
    AGENT = "agent"


class HoldMode(StrEnum):
    #: Nothing new starts; what runs goes on.
    HOLD = "hold"
    #: Nothing new starts, and what runs saves its work and goes back to the queue.
    HOLD_AND_DRAIN = "hold_and_drain"


@dataclass(frozen=True)
class Hold:
    scope: HoldScope
    #: The user's or team's name, the agent's id as text; empty for global.
    name: str
    mode: HoldMode
    reason: str
    by: str
    at: datetime

    def sentence(self) -> str:
        whom = {"global": "everything", "agent": f"agent {self.name}"}.get(
            self.scope, f"{self.scope} {self.name}"
        )
        return f"{self.by} put {whom} on hold: {self.reason or 'no reason given'}"


class Holds:
    """Every hold in force, found by what it holds."""

    def __init__(self, holds: Iterable[Hold] = ()) -> None:
        self._holds = {(hold.scope, hold.name): hold for hold in holds}

    def on(self, *, owner: str, team: str | None, agent_id: int) -> Hold | None:
        """The widest hold on a job of this agent; one that drains before one that does not."""
        if not self._holds:
            return None
        keys = ((HoldScope.GLOBAL, ""), (HoldScope.TEAM, team or ""), (HoldScope.USER, owner))
        found = [self._holds.get(key) for key in (*keys, (HoldScope.AGENT, str(agent_id)))]
        holds = [hold for hold in found if hold is not None]
        return next((h for h in holds if h.mode is HoldMode.HOLD_AND_DRAIN), holds[0] if holds else None)

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._holds.values())


def check_hold(scope: HoldScope, name: str) -> str:
    """The name in the one form in which it is kept; raises ``InvalidInput`` for what cannot be held."""
    if scope is HoldScope.GLOBAL and name:
        raise InvalidInput("A global hold has no `name`; leave it out.")
    if scope is not HoldScope.GLOBAL and not name:
        raise InvalidInput(f"A hold on a {scope} needs its `name`.")
    match scope:
        case HoldScope.AGENT:
            return str(ids.read(name, field="name"))
        case HoldScope.USER:
            return names.bearer(name, field="name")
        case HoldScope.TEAM:
            return names.team(name, field="name")
        case HoldScope.GLOBAL:
            return ""
