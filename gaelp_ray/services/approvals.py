"""Use cases of approvals: asked for, voted on, used once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import approvals as rules
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.approvals import Approval, NewApproval, Purpose
from gaelp_ray.domain.errors import NotEligible, NotFound
from gaelp_ray.services import audit, roles
from gaelp_ray.store import approvals as approval_store


def request(tx: Connection, new: NewApproval, *, by: Principal, now: datetime) -> Approval:
    """Ask other people to approve something."""
    approval = approval_store.add(tx, new, by=by.user, now=now)
    after = {
        "purpose": new.purpose,
        "subject": new.subject,
        "amount_micros": new.amount_micros,
        "currency": new.currency,
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
    held = roles.of_user(tx, by.user)
    after = rules.vote(before, approves=approves, reason=reason, by=by, roles=held, now=now)
    approval_store.add_vote(tx, approval_id, after.votes[-1])
    _save(tx, "approval.approve" if approves else "approval.reject", before, after, by, now, reason)
    return after


def withdraw(tx: Connection, approval_id: int, *, by: Principal, now: datetime) -> Approval:
    before = _locked(tx, approval_id)
    after = rules.withdraw(before, by=by, now=now)
    _save(tx, "approval.withdraw", before, after, by, now)
    return after


def use(
    tx: Connection,
    purpose: Purpose,
    subject: str,
    *,
    used_for: str,
    by: Principal,
    now: datetime,
    needed: int = rules.TWO_PEOPLE,
    amount_micros: int | None = None,
    currency: str | None = None,
) -> Approval:
    """Use up the smallest valid approval that covers this. Raises ``NotEligible`` if there is none."""
    for found in approval_store.lock_valid(tx, purpose, subject, now=now):
        enough = amount_micros is None or rules.covers(found, amount_micros, currency)
        if enough and found.needed >= needed:
            break
    else:
        raise NotEligible(
            f"No valid approval of {needed} people covers {purpose} of {subject}; ask for one first.",
            purpose=str(purpose),
            subject=subject,
        )
    used = rules.use(
        found,
        purpose=purpose,
        subject=subject,
        used_for=used_for,
        now=now,
        amount_micros=amount_micros,
        currency=currency,
    )
    _save(tx, "approval.use", found, used, by, now)
    return used


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
    requested_by = None if _sees_all(connection, by) else by.user
    found = approval_store.page(
        connection, purpose=purpose, subject=subject, requested_by=requested_by, after=after, limit=limit
    )
    return [approval.at(now) for approval in found]


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
