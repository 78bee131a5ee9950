"""Approvals and votes in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, update

from gaelp_ray.domain.approvals import Approval, ApprovalState, NewApproval, Purpose, Vote
from gaelp_ray.domain.subjects import policy as policy_of
from gaelp_ray.domain.windows import Period
from gaelp_ray.store.tables import approval_votes, approvals


def add(tx: Connection, new: NewApproval, *, by: str, now: datetime) -> Approval:
    added = (
        insert(approvals)
        .values(
            purpose=new.purpose,
            subject=new.subject,
            amount_micros=new.amount_micros,
            currency=new.currency,
            period=new.period,
            change=new.change,
            reason=new.reason,
            needed=new.needed,
            state=ApprovalState.REQUESTED,
            requested_by=by,
            requested_at=now,
            expires_at=now + new.ttl,
        )
        .returning(approvals)
    )
    return _approval(tx.execute(added).one(), ())


def lock(tx: Connection, approval_id: int) -> Approval | None:
    """Hold the row until the end of the transaction."""
    return _one(tx, select(approvals).where(approvals.c.id == approval_id).with_for_update())


def get(connection: Connection, approval_id: int) -> Approval | None:
    return _one(connection, select(approvals).where(approvals.c.id == approval_id))


def page(
    connection: Connection,
    *,
    purpose: Purpose | None = None,
    subject: str | None = None,
    requested_by: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int = 0,
    limit: int,
) -> list[Approval]:
    """In the order in which they were asked for, ids above ``after``."""
    columns = approvals.c
    query = select(approvals).where(columns.id > after).order_by(columns.id).limit(limit)
    if purpose is not None:
        query = query.where(columns.purpose == purpose)
    if subject is not None:
        query = query.where(_is(subject))
    if requested_by is not None:
        query = query.where(columns.requested_by == requested_by)
    if since is not None:
        query = query.where(columns.requested_at >= since)
    if until is not None:
        query = query.where(columns.requested_at < until)
    return _with_votes(connection, connection.execute(query).all())


def valid(connection: Connection, purpose: Purpose, subject: str, *, now: datetime) -> list[Approval]:
    """Approved and not used, the largest amount last."""
    return _with_votes(connection, connection.execute(_valid(purpose, subject, now)).all())


def lock_valid(tx: Connection, purpose: Purpose, subject: str, *, now: datetime) -> list[Approval]:
    """As ``valid``; held until the end of the transaction."""
    return _with_votes(tx, tx.execute(_valid(purpose, subject, now).with_for_update()).all())


def _valid(purpose: Purpose, subject: str, now: datetime) -> Select[Any]:
    columns = approvals.c
    return (
        select(approvals)
        .where(
            columns.purpose == purpose,
            _is(subject),
            columns.state == ApprovalState.APPROVED,
            columns.expires_at > now,
        )
        .order_by(columns.amount_micros.nulls_first(), columns.id)
    )


def _is(subject: str) -> ColumnElement[bool]:
    """Those of a subject; of a policy in whatever case its name was asked for."""
    found = approvals.c.subject
    if policy_of(subject) is None:
        return found == subject
    return func.lower(found) == subject.lower()


def save(tx: Connection, approval: Approval) -> None:
    """Write the state of an approval whose row the caller holds."""
    tx.execute(
        update(approvals)
        .where(approvals.c.id == approval.id)
        .values(state=approval.state, decided_at=approval.decided_at, used_for=approval.used_for)
    )


def add_vote(tx: Connection, approval_id: int, vote: Vote) -> None:
    tx.execute(
        insert(approval_votes).values(
            approval_id=approval_id,
            voter=vote.voter,
            approves=vote.approves,
            reason=vote.reason,
            at=vote.at,
            by_admin=vote.by_admin,
            admin_until=vote.admin_until,
        )
    )


def expire_due(tx: Connection, *, now: datetime) -> list[int]:
    """Note the end of those whose time is up; what is used or decided against is left."""
    columns = approvals.c
    waiting = [ApprovalState.REQUESTED, ApprovalState.APPROVED]
    ended = (
        update(approvals)
        .where(columns.state.in_(waiting), columns.expires_at <= now)
        .values(state=ApprovalState.EXPIRED)
        .returning(columns.id)
    )
    return sorted(tx.execute(ended).scalars())


def _one(connection: Connection, query: Any) -> Approval | None:
    found = _with_votes(connection, connection.execute(query).all())
    return found[0] if found else None


def _with_votes(connection: Connection, rows: Any) -> list[Approval]:
    columns = approval_votes.c
    ids = [row.id for row in rows]
    query = select(approval_votes).where(columns.approval_id.in_(ids)).order_by(columns.at, columns.voter)
    votes: dict[int, list[Vote]] = {}
    for row in connection.execute(query) if ids else ():
        vote = Vote(row.voter, row.approves, row.reason, row.at, row.by_admin, row.admin_until)
        votes.setdefault(row.approval_id, []).append(vote)
    return [_approval(row, tuple(votes.get(row.id, ()))) for row in rows]


def _approval(row: Any, votes: tuple[Vote, ...]) -> Approval:
    return Approval(
        id=row.id,
        purpose=Purpose(row.purpose),
        subject=row.subject,
        amount_micros=row.amount_micros,
        currency=row.currency,
        reason=row.reason,
        needed=row.needed,
        state=ApprovalState(row.state),
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        decided_at=row.decided_at,
        used_for=row.used_for,
        period=None if row.period is None else Period(row.period),
        change=row.change,
        votes=votes,
    )
