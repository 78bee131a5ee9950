"""Approvals: other people agree before something risky is done, once, within a time.

requested ── enough approve ──> approved ── used ──> used
    │                              └─── time is up ──> expired
    ├── one rejects ──> rejected
    ├── the requester withdraws ──> withdrawn
    └── time is up ──> expired
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Conflict, Forbidden, InvalidInput, NotEligible
from gaelp_ray.domain.ledger import MAX_REASON
from gaelp_ray.domain.money import whole_micros
from gaelp_ray.domain.roles import Role, require

MAX_TTL = timedelta(days=30)
#: People who must agree; the one who asks is none of them.
TWO_PEOPLE = 2


class Purpose(StrEnum):
    SPEND = "spend"
    PROMOTION = "promotion"
    LIMIT = "limit"
    POLICY = "policy"


class ApprovalState(StrEnum):
    REQUESTED = "requested"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    USED = "used"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewApproval:
    purpose: Purpose
    #: What may be done, such as ``agent 7`` or ``version 12``.
    subject: str
    reason: str
    ttl: timedelta
    #: The most it is good for; None where no money is asked for.
    amount_micros: int | None = None
    currency: str | None = None
    needed: int = TWO_PEOPLE

    def __post_init__(self) -> None:
        _text(self.subject, 200, field="subject")
        _text(self.reason, MAX_REASON, field="reason")
        if not timedelta(0) < self.ttl <= MAX_TTL:
            raise InvalidInput(f"`ttl` must be above 0 and at most {MAX_TTL.days} days; got {self.ttl}.")
        if isinstance(self.needed, bool) or not isinstance(self.needed, int) or not 1 <= self.needed <= 10:
            raise InvalidInput(f"`needed` must be 1 to 10 people; got {self.needed}.")
        if (self.amount_micros is None) != (self.currency is None):
            raise InvalidInput("`amount_micros` and `currency` are given together or not at all.")
        if self.amount_micros is not None:
            whole_micros(self.amount_micros)


@dataclass(frozen=True, slots=True)
class Vote:
    voter: str
    approves: bool
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    id: int
    purpose: Purpose
    subject: str
    amount_micros: int | None
    currency: str | None
    reason: str
    needed: int
    state: ApprovalState
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    used_for: str | None = None
    votes: tuple[Vote, ...] = ()

    def at(self, now: datetime) -> Approval:
        """As it stands at a moment: one whose time is up is expired, whether or not anybody noted it."""
        open_still = self.state in {ApprovalState.REQUESTED, ApprovalState.APPROVED}
        return replace(self, state=ApprovalState.EXPIRED) if open_still and now >= self.expires_at else self


def vote(
    approval: Approval,
    *,
    approves: bool,
    reason: str,
    by: Principal,
    roles: Collection[Role],
    now: datetime,
) -> Approval:
    """The approval with one more vote; one rejection rejects it, ``needed`` approvals approve it.

    Raises ``Forbidden`` for the requester and for those without the role, ``Conflict`` for a second vote and
    for an approval that is no longer open.
    """
    if by.user == approval.requested_by:
        raise Forbidden("You asked for this approval, so another person must decide on it.")
    require(Role.APPROVER, roles, by)
    _text(reason, MAX_REASON, field="reason")
    _require_state(approval, ApprovalState.REQUESTED, now)
    if any(by.user == each.voter for each in approval.votes):
        raise Conflict(f"You voted on approval {approval.id} before; a vote is not changed.")
    votes = (*approval.votes, Vote(by.user, approves, reason, now))
    if not approves:
        return replace(approval, votes=votes, state=ApprovalState.REJECTED, decided_at=now)
    if sum(each.approves for each in votes) >= approval.needed:
        return replace(approval, votes=votes, state=ApprovalState.APPROVED, decided_at=now)
    return replace(approval, votes=votes)


def withdraw(approval: Approval, *, by: Principal, now: datetime) -> Approval:
    """Raises ``Forbidden`` unless the requester asks, ``Conflict`` when it is no longer open."""
    if by.user != approval.requested_by:
        raise Forbidden("Only who asked for an approval may withdraw it; reject it instead.")
    _require_state(approval, ApprovalState.REQUESTED, now)
    return replace(approval, state=ApprovalState.WITHDRAWN, decided_at=now)


def use(
    approval: Approval,
    *,
    purpose: Purpose,
    subject: str,
    used_for: str,
    now: datetime,
    amount_micros: int | None = None,
    currency: str | None = None,
) -> Approval:
    """The approval used up. Raises ``NotEligible`` where it does not cover what is to be done."""
    if (approval.purpose, approval.subject) != (purpose, subject):
        raise NotEligible(
            f"Approval {approval.id} is for {approval.purpose} of {approval.subject}, not for {purpose} of "
            f"{subject}."
        )
    if approval.at(now).state is not ApprovalState.APPROVED:
        raise NotEligible(f"Approval {approval.id} is {approval.at(now).state}; ask for a new one.")
    if amount_micros is not None and not covers(approval, amount_micros, currency):
        raise NotEligible(
            f"Approval {approval.id} is good for {approval.amount_micros} {approval.currency} micros, not "
            f"for {amount_micros} {currency}; ask for a new one."
        )
    return replace(approval, state=ApprovalState.USED, used_for=used_for)


def covers(approval: Approval, amount_micros: int, currency: str | None) -> bool:
    return (
        approval.amount_micros is not None
        and approval.currency == currency
        and amount_micros <= approval.amount_micros
    )


def _require_state(approval: Approval, state: ApprovalState, now: datetime) -> None:
    found = approval.at(now).state
    if found is not state:
        raise Conflict(f"Approval {approval.id} is {found}, so nothing about it can be decided any more.")


def _text(value: str, most: int, *, field: str) -> None:
    if not 0 < len(value) <= most or not value.isprintable():
        raise InvalidInput(f"`{field}` must be a text of 1 to {most} printable characters.")
