"""What an agent wants to do, what is known of it, and what may come of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gaelp_ray.domain.windows import Period


class Severity(StrEnum):
    """What a broken rule leads to, mildest first."""

    #: The action is made smaller until it keeps the rule.
    CLIP = "clip"
    #: The action does not happen.
    DENY = "deny"
    #: The action does not happen, nor does any other until somebody releases the agent.
    HALT = "halt"


RANK = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """Something that costs real money. Not checked when made: ``review`` refuses what is no number."""

    agent_id: int
    currency: str
    #: The most that it is to cost; what is held on top of that is in ``Measured``.
    amount_micros: int
    #: The most that is paid for one click or impression; None where nothing is bid.
    bid_micros: int | None = None
    campaign: str = ""
    #: ISO 3166 code such as ``DE`` or ``US-CA``.
    region: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What rules are held against. What a rule needs and is missing here denies the action."""

    #: Held and spent in the present window of each period.
    spent_micros: Mapping[Period, int] = field(default_factory=dict)
    #: Held and spent in the last 60 minutes, and in the 60 before.
    last_hour_micros: int | None = None
    hour_before_micros: int | None = None
    #: Earned less spent since the agent began, now and at its best.
    profit_micros: int | None = None
    peak_profit_micros: int | None = None
    #: Recent values by metric, oldest first.
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    #: The most that a valid approval lets one action cost, with its margin.
    approved_micros: int = 0
    #: What is held on top of the action's amount: it may be spent as well, so rules judge both together.
    margin_micros: int = 0

    def whole_micros(self, action: Action) -> int:
        """The most that may be spent on an action."""
        margin = self.margin_micros if is_whole(self.margin_micros) else 0
        return action.amount_micros + max(0, margin)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that an action breaks. The ceilings are what an action that is only clipped is cut to."""

    code: str
    message: str
    severity: Severity
    max_bid_micros: int | None = None
    max_amount_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """A finding with the policy it comes from; None where the action itself is malformed."""

    code: str
    message: str
    severity: Severity
    policy: str | None = None
    policy_id: int | None = None


@dataclass(frozen=True, slots=True)
class Allow:
    action: Action


@dataclass(frozen=True, slots=True)
class Clip:
    """Do this instead."""

    action: Action
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Halt:
    reasons: tuple[Reason, ...]


Verdict = Allow | Clip | Deny | Halt


def is_whole(value: object) -> bool:
    """An ``int`` and nothing that only looks like one: a NaN passes every comparison with a cap."""
    return type(value) is int


def unmeasured(rule: str, what: str) -> Finding:
    """Nothing is allowed on the strength of a number that nobody has."""
    return Finding("unmeasured", f"Rule {rule} needs {what}, which is not known.", Severity.DENY)
