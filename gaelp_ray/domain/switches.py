"""Kill switches: while one is engaged, nothing new is held for what it covers.

Money that was held before may still be posted or settled: it may have been spent in the world already, and
what was spent is always recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from gaelp_ray.domain import names
from gaelp_ray.domain.errors import Halted, InvalidInput
from gaelp_ray.domain.ledger import MAX_REASON, Hold, Request


class SwitchScope(StrEnum):
    AGENT = "agent"
    USER = "user"
    CAMPAIGN = "campaign"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """What a switch covers."""

    scope: SwitchScope
    #: The agent's id, the user's or the campaign's name; empty for everything.
    subject: str = ""

    def __post_init__(self) -> None:
        if (self.scope is SwitchScope.GLOBAL) != (self.subject == ""):
            raise InvalidInput(
                "`subject` names what is switched off, and is empty for the global switch only."
            )
        if len(self.subject) > 200 or not self.subject.isprintable():
            raise InvalidInput("`subject` must be a text of at most 200 printable characters.")

    def __str__(self) -> str:
        return f"{self.scope} {self.subject}".rstrip()

    def canonical(self) -> Target:
        """The target in the form in which it is kept; raises ``InvalidInput`` for what is no name.

        An agent that is written in another way than its id is left as it is: there is none of that id.
        """
        match self.scope:
            case SwitchScope.USER:
                return Target(self.scope, names.bearer(self.subject, field="subject"))
            case SwitchScope.CAMPAIGN:
                return Target(self.scope, names.campaign(self.subject, field="subject"))
            case _:
                return self


EVERYTHING = Target(SwitchScope.GLOBAL)


@dataclass(frozen=True, slots=True)
class Covered:
    """What a switch stops as things are; what comes later under the same name is stopped as well."""

    #: Ids, the first ``MAX_COVERED`` of each kind.
    agents: tuple[int, ...] = ()
    accounts: tuple[int, ...] = ()
    #: How many in all.
    agent_count: int = 0
    account_count: int = 0
    #: Jobs that have not ended.
    job_count: int = 0


#: Ids that an answer names.
MAX_COVERED = 100


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch as it was last moved."""

    target: Target
    engaged: bool
    reason: str
    changed_by: str
    changed_at: datetime

    def sentence(self) -> str:
        return (
            f"The kill switch of {self.target} is engaged since {self.changed_at.isoformat()} "
            f"({self.reason}); nothing new is held until it is released."
        )

    def refusal(self) -> Halted:
        return Halted(
            self.sentence(),
            scope=str(self.target.scope),
            subject=self.target.subject,
            reason=self.reason,
        )


def check_reason(reason: str) -> str:
    """Whoever stops or releases something says why."""
    if not 0 < len(reason) <= MAX_REASON or not reason.isprintable():
        raise InvalidInput(f"`reason` must be a text of 1 to {MAX_REASON} printable characters.")
    return reason


def covering(targets: Collection[Target], engaged: Iterable[Switch]) -> Switch | None:
    """The engaged switch that stops these targets, the widest first; None if none does."""
    wide_first = sorted((s for s in engaged if s.engaged), key=lambda s: _WIDTH[s.target.scope])
    for switch in wide_first:
        if switch.target == EVERYTHING or switch.target in targets:
            return switch
    return None


_WIDTH = {scope: width for width, scope in enumerate(reversed(SwitchScope))}


@dataclass(frozen=True, slots=True)
class Board:
    """Engaged switches by the accounts and jobs that they stop.

    A guard remembers one, to refuse without asking the database; it may be a moment behind. The transaction
    reads its own, under lock.
    """

    everything: Switch | None = None
    accounts: Mapping[int, Switch] = field(default_factory=dict)
    jobs: Mapping[int, Switch] = field(default_factory=dict)

    def refusal(self, request: Request) -> Halted | None:
        """None for what is to be asked of the ledger: anything but a hold that is stopped."""
        switch = self.stopping(request.account_ids, request.job_id) if isinstance(request, Hold) else None
        return switch.refusal() if switch is not None else None

    def stopping(self, account_ids: Iterable[int], job_id: int | None = None) -> Switch | None:
        """The switch that stops holds on these accounts; None if none does."""
        if self.everything is not None:
            return self.everything
        if job_id is not None and job_id in self.jobs:
            return self.jobs[job_id]
        return next((self.accounts[i] for i in account_ids if i in self.accounts), None)
