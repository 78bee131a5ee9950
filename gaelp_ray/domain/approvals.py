"""Approvals: other people agree before something risky is done, once, within a time.

requested ── enough approve ──> approved ── used ──> used
    │                              └─── time is up ──> expired
    ├── one rejects ──> rejected
    ├── the requester withdraws ──> withdrawn
    └── time is up ──> expired
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gaelp_ray.domain import ids, names, subjects
from gaelp_ray.domain.access import Principal, person
from gaelp_ray.domain.errors import Conflict, Forbidden, InvalidInput, NotEligible
from gaelp_ray.domain.ledger import MAX_REASON, check_currency
from gaelp_ray.domain.money import whole_micros
from gaelp_ray.domain.roles import Role, require
from gaelp_ray.domain.windows import Period

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


#: What approvals may be asked for, and what is to be done there.
_SUBJECTS = {
    Purpose.SPEND: (frozenset({"agent"}), "`agent 7`"),
    Purpose.PROMOTION: (frozenset({"version"}), "`version 12`"),
    Purpose.LIMIT: (
        frozenset({"account", "agent"}),
        "`account 3`, or `agent 7` for a budget in another currency",
    ),
    Purpose.POLICY: (frozenset({"policy"}), "`policy caps`"),
}
_CHANGE = re.compile(r"(attach [1-9][0-9]{0,9} to|detach from) (?P<place>agent .+|type [a-z_]+|global)")


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
    #: Which limit of an account.
    period: Period | None = None
    #: What is done with a policy, such as ``attach 2 to global`` or ``detach from agent 7``.
    change: str | None = None
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
        if self.currency is not None:
            check_currency(self.currency)
        self._check_scope()

    def _check_scope(self) -> None:
        """An approval is good for exactly one thing, so it says which."""
        kinds, example = _SUBJECTS[self.purpose]
        kind, _, name = self.subject.partition(" ")
        if kind not in kinds or not name:
            raise InvalidInput(
                f"`subject` of an approval for {self.purpose} reads like {example}; got "
                f"{self.subject[:60]!r}."
            )
        subjects.read(self.subject)
        if self.purpose is Purpose.POLICY:
            names.label(name, field="subject")
        if self.purpose in {Purpose.SPEND, Purpose.LIMIT} and self.amount_micros is None:
            raise InvalidInput(
                f"An approval for {self.purpose} names the most that it is good for: give `amount_micros` "
                "and `currency`."
            )
        of_account = self.subject.startswith("account ")
        if of_account and self.period is None:
            raise InvalidInput(
                "An approval for a limit names which one: give its `period`, such as 'day' or 'total'."
            )
        if self.period is not None and not of_account:
            raise InvalidInput("`period` is given for a limit of an account only; leave it out.")
        if (self.purpose is Purpose.POLICY) != (self.change is not None):
            raise InvalidInput(
                "`change` is given for a policy, and only there: what is to be done, such as "
                "'attach 2 to global' or 'detach from agent 7'."
            )
        if self.change is not None and not _is_change(self.change):
            raise InvalidInput(
                "`change` must read like 'attach 2 to global', 'attach 1 to type real_deployment' or "
                f"'detach from agent 7'; got {self.change[:60]!r}."
            )


def _is_change(change: str) -> bool:
    found = _CHANGE.fullmatch(change)
    kind, _, name = (found["place"] if found else "").partition(" ")
    return found is not None and (kind != "agent" or ids.known(name) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What must have been approved before something is done."""

    purpose: Purpose
    subject: str
    people: int = TWO_PEOPLE
    amount_micros: int | None = None
    currency: str | None = None
    period: Period | None = None
    change: str | None = None
    #: When what it is asked for last changed: who approved before had another state of things in mind.
    since: datetime | None = None

    def refusal(self, why: Sequence[str] = ()) -> NotEligible:
        """Names what is to be asked for; ``why``: what is wrong with the approvals that are there."""
        asked = {
            "purpose": str(self.purpose),
            "subject": self.subject,
            "amount_micros": self.amount_micros,
            "currency": self.currency,
            "period": None if self.period is None else str(self.period),
            "change": self.change,
            "needed": self.people,
        }
        given = {name: value for name, value in asked.items() if value is not None}
        which = self.change or (f"the {self.period} limit" if self.period else "")
        what = f"{self.purpose} of {self.subject}" + (f" ({which})" if which else "")
        more = "".join(f" {each}" for each in why)
        return NotEligible(
            f"No valid approval of {self.people} people covers {what}; ask for one first.{more}", **given
        )


@dataclass(frozen=True, slots=True)
class Vote:
    voter: str
    approves: bool
    reason: str
    at: datetime
    #: Cast with an admin's token, and until when that token holds; None: no end of it is known.
    by_admin: bool = False
    admin_until: datetime | None = None

    def stands(self, approvers: Collection[str], now: datetime) -> bool:
        """Whether its voter has the right to vote at a moment: the role, or an admin's token."""
        as_admin = self.by_admin and (self.admin_until is None or now < self.admin_until)
        return as_admin or self.voter in approvers


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
    period: Period | None = None
    change: str | None = None
    votes: tuple[Vote, ...] = ()

    def at(self, now: datetime) -> Approval:
        """As it stands at a moment: one whose time is up is expired, whether or not anybody noted it."""
        open_still = self.state in {ApprovalState.REQUESTED, ApprovalState.APPROVED}
        return replace(self, state=ApprovalState.EXPIRED) if open_still and now >= self.expires_at else self


@dataclass(frozen=True, slots=True)
class Electorate:
    """Whose votes count."""

    #: Those who have the role now.
    approvers: Collection[str] = ()
    #: Those with a stake in it, each with the reason: owners, and who recorded the evidence.
    interested: Mapping[str, str] = field(default_factory=dict)

    def bars(self, user: str) -> str | None:
        """Why a person may not vote, whatever their role; None if nothing speaks against it."""
        return next((why for name, why in self.interested.items() if person(name) == person(user)), None)


def vote(
    approval: Approval,
    *,
    approves: bool,
    reason: str,
    by: Principal,
    roles: Collection[Role],
    now: datetime,
    electorate: Electorate | None = None,
) -> Approval:
    """The approval with one more vote; one rejection rejects it, ``needed`` approvals approve it.

    Of earlier votes those count whose voters still have the right; ``electorate`` tells, and without one all
    do. Raises ``Forbidden`` for the requester, for who has a stake in it and for those without the role,
    ``Conflict`` for a second vote and for an approval that is no longer open.
    """
    if person(by.user) == person(approval.requested_by):
        raise Forbidden("You asked for this approval, so another person must decide on it.")
    if electorate is not None and (why := electorate.bars(by.user)) is not None:
        raise Forbidden(f"{why}, so another person must decide on it.")
    require(Role.APPROVER, roles, by)
    _text(reason, MAX_REASON, field="reason")
    _require_state(approval, ApprovalState.REQUESTED, now)
    if any(person(by.user) == person(each.voter) for each in approval.votes):
        raise Conflict(f"You voted on approval {approval.id} before; a vote is not changed.")
    cast = Vote(by.user, approves, reason, now, by.admin, by.until if by.admin else None)
    votes = (*approval.votes, cast)
    voted = replace(approval, votes=votes)
    if not approves:
        return replace(voted, state=ApprovalState.REJECTED, decided_at=now)
    if agreeing(voted, electorate, now) >= approval.needed:
        return replace(voted, state=ApprovalState.APPROVED, decided_at=now)
    return voted


def agreeing(
    approval: Approval, electorate: Electorate | None, now: datetime, *, but: str | None = None
) -> int:
    """How many people agree whose votes count; without an electorate all do. ``but``: nor does this one's."""
    barred = {person(approval.requested_by)} | ({person(but)} if but is not None else set())
    people = {
        person(each.voter) for each in approval.votes if each.approves and _counts(each, electorate, now)
    }
    return len(people - barred)


def _counts(vote: Vote, electorate: Electorate | None, now: datetime) -> bool:
    if electorate is None:
        return True
    return vote.stands(electorate.approvers, now) and electorate.bars(vote.voter) is None


def withdraw(approval: Approval, *, by: Principal, now: datetime) -> Approval:
    """Raises ``Forbidden`` unless the requester asks, ``Conflict`` when it is no longer open."""
    if by.user != approval.requested_by:
        raise Forbidden("Only who asked for an approval may withdraw it; reject it instead.")
    _require_state(approval, ApprovalState.REQUESTED, now)
    return replace(approval, state=ApprovalState.WITHDRAWN, decided_at=now)


def lacking(
    approval: Approval, need: Need, electorate: Electorate, now: datetime, *, by: str | None = None
) -> str | None:
    """Why an approval does not do for what is needed, as a sentence; None: it does.

    ``by``: who wants to use it; the vote of the one who does is none of the others'.
    """
    wrong = next(_faults(approval, need, electorate, now, by), None)
    return None if wrong is None else f"Approval {approval.id} {wrong}."


def _faults(
    approval: Approval, need: Need, electorate: Electorate, now: datetime, by: str | None
) -> Iterator[str]:
    if approval.purpose is not need.purpose or not subjects.same(approval.subject, need.subject):
        yield f"is for {approval.purpose} of {approval.subject}"
    if (approval.period, approval.change) != (need.period, need.change):
        named = approval.change or (f"the {approval.period} limit" if approval.period else "nothing exactly")
        yield f"is for {named}"
    state = approval.at(now).state
    if state is not ApprovalState.APPROVED:
        yield f"is {state}"
    if need.amount_micros is not None and not covers(approval, need.amount_micros, need.currency):
        yield f"is good for {approval.amount_micros} {approval.currency} micros"
    if need.since is not None and approval.requested_at < need.since:
        yield f"was asked for before the limit was last changed, at {need.since.isoformat()}"
    if approval.needed < need.people:
        yield f"asks {approval.needed} people, and {need.people} are needed"
    count = agreeing(approval, electorate, now, but=by)
    if count < max(need.people, approval.needed):
        yield f"has {count} votes that count now, and {max(need.people, approval.needed)} are needed"


def use(approval: Approval, *, used_for: str) -> Approval:
    """The approval used up. Whoever calls this holds its row and has found that nothing is lacking."""
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
