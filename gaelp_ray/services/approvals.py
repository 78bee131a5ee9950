"""Use cases of approvals: asked for, voted on, used once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import approvals as rules
from gaelp_ray.domain import subjects
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.approvals import Approval, Electorate, Need, NewApproval, Purpose
from gaelp_ray.domain.errors import NotFound
from gaelp_ray.domain.roles import Role
from gaelp_ray.services import audit, roles, stakes
from gaelp_ray.store import approvals as approval_store
from gaelp_ray.store import policies as policy_store
from gaelp_ray.store import roles as role_store

#: Approvals that a refusal says something about.
_TOLD = 3


def request(tx: Connection, new: NewApproval, *, by: Principal, now: datetime) -> Approval:
    """Ask other people to approve something. A policy is named as it was first written, in whatever case."""
    new = replace(new, subject=_spelled(tx, new.subject))
    audit.number(tx)
    approval = approval_store.add(tx, new, by=by.user, now=now)
    after = {
        "purpose": new.purpose,
        "subject": new.subject,
        "amount_micros": new.amount_micros,
        "currency": new.currency,
        "period": new.period,
        "change": new.change,
        "reason": new.reason,
        "needed": new.needed,
        "expires_at": approval.expires_at,
    }
    audit.record(tx, "approval.request", f"approval {approval.id}", by=by, now=now, after=after)
    return approval


def vote(
    tx: Connection, approval_id: int, *, approves: bool, reason: str, by: Principal, now: datetime
) -> Approval:
    """Approve or reject. Raises what ``domain.approvals.vote`` raises."""
    before = _locked(tx, approval_id)
    after = rules.vote(
        before,
        approves=approves,
        reason=reason,
        by=by,
        roles=roles.of_user(tx, by.user),
        now=now,
        electorate=_electorate(tx, before, by),
    )
    approval_store.add_vote(tx, approval_id, after.votes[-1])
    _save(tx, "approval.approve" if approves else "approval.reject", before, after, by, now, reason)
    return after


def withdraw(tx: Connection, approval_id: int, *, by: Principal, now: datetime) -> Approval:
    before = _locked(tx, approval_id)
    after = rules.withdraw(before, by=by, now=now)
    _save(tx, "approval.withdraw", before, after, by, now)
    return after


def find(tx: Connection, need: Need, *, by: Principal | None = None, now: datetime) -> Approval:
    """The smallest approval that does for what is needed, its row held; raises ``NotEligible`` if none does.

    ``by``: who does what was approved; theirs is none of the votes. It is used up by ``use`` once what it
    permits is really done.
    """
    why = []
    for each in approval_store.lock_valid(tx, need.purpose, need.subject, now=now):
        wrong = _lacking(tx, each, need, by, now)
        if wrong is None:
            return each
        why.append(wrong)
    raise need.refusal(why[-_TOLD:])


def use(tx: Connection, approval: Approval, *, used_for: str, by: Principal, now: datetime) -> Approval:
    """Use up an approval that ``find`` has found in this transaction."""
    used = rules.use(approval, used_for=used_for)
    _save(tx, "approval.use", approval, used, by, now)
    return used


def is_there(connection: Connection, need: Need, *, now: datetime) -> bool:
    """Whether ``find`` would find one now, whoever asks."""
    found = approval_store.valid(connection, need.purpose, need.subject, now=now)
    return any(_lacking(connection, each, need, None, now) is None for each in found)


def expire_due(tx: Connection, *, now: datetime) -> int:
    """Note the end of those whose time is up; nothing depends on when this runs."""
    ended = approval_store.expire_due(tx, now=now)
    for approval_id in ended:
        audit.record(tx, "approval.expire", f"approval {approval_id}", by=SYSTEM, now=now)
    return len(ended)


def get(connection: Connection, approval_id: int, *, by: Principal = SYSTEM, now: datetime) -> Approval:
    """Raises ``NotFound`` for an approval that somebody else asked for, unless the caller has a role."""
    found = approval_store.get(connection, approval_id)
    if found is None or (not _sees_all(connection, by) and found.requested_by != by.user):
        raise NotFound(f"There is no approval {approval_id}, or you may not see it.")
    return found.at(now)


def page(
    connection: Connection,
    *,
    by: Principal = SYSTEM,
    now: datetime,
    purpose: Purpose | None = None,
    subject: str | None = None,
    after: int = 0,
    limit: int,
) -> list[Approval]:
    """In the order in which they were asked for: the caller's, or for who has a role all."""
    subject = None if subject is None else _spelled(connection, subjects.read(subject))
    requested_by = None if _sees_all(connection, by) else by.user
    found = approval_store.page(
        connection, purpose=purpose, subject=subject, requested_by=requested_by, after=after, limit=limit
    )
    return [approval.at(now) for approval in found]


def _spelled(connection: Connection, subject: str) -> str:
    name = subjects.policy(subject)
    return subject if name is None else f"policy {policy_store.spelled(connection, name)}"


def _lacking(
    connection: Connection, approval: Approval, need: Need, by: Principal | None, now: datetime
) -> str | None:
    user = None if by is None else by.user
    return rules.lacking(approval, need, _electorate(connection, approval), now, by=user)


def _electorate(connection: Connection, approval: Approval, voter: Principal | None = None) -> Electorate:
    """Who has the role of approver now, of those who voted, and who has a stake in what is approved."""
    voters = {each.voter for each in approval.votes} | ({voter.user} if voter is not None else set())
    return Electorate(
        role_store.having(connection, Role.APPROVER, voters), stakes.of_approval(connection, approval)
    )


def _sees_all(connection: Connection, by: Principal) -> bool:
    return by.admin or bool(roles.of_user(connection, by.user))


def _locked(tx: Connection, approval_id: int) -> Approval:
    found = approval_store.lock(tx, approval_id)
    if found is None:
        raise NotFound(f"There is no approval {approval_id}.")
    return found


def _save(
    tx: Connection,
    action: str,
    before: Approval,
    after: Approval,
    by: Principal,
    now: datetime,
    reason: str | None = None,
) -> None:
    approval_store.save(tx, after)
    written = {"state": after.state, "reason": reason, "used_for": after.used_for}
    subject = f"approval {after.id}"
    audit.record(tx, action, subject, by=by, now=now, before={"state": before.state}, after=written)
