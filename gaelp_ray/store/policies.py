"""Policies, what they are attached to, and what was reviewed under them, in the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, tuple_, update

from gaelp_ray.domain.safety import policies as policy_rules
from gaelp_ray.domain.safety.policies import Attach, Attachment, Policy
from gaelp_ray.store.tables import policies, policy_attachments


def add(tx: Connection, policy: Policy, *, by: str, now: datetime) -> Policy:
    """Store the next version of a policy; two at the same moment conflict."""
    columns = policies.c
    newest = select(func.coalesce(func.max(columns.version), 0)).where(columns.name == policy.name)
    version = tx.execute(newest).scalar_one() + 1
    values = {"name": policy.name, "version": version, "document": policy_rules.write(policy)}
    added = insert(policies).values(**values, created_by=by, created_at=now).returning(policies)
    return _policy(tx.execute(added).one())


def lock_name(tx: Connection, name: str) -> None:
    """Let those who write policies of one name take turns until the transaction ends."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"policy {name.lower()}", 0))))


def spelled(connection: Connection, name: str) -> str:
    """The name as the policy was first written, in whatever case it is asked for; itself if there is none."""
    columns = policies.c
    query = (
        select(columns.name)
        .where(func.lower(columns.name) == name.lower())
        # Some of before names were compared so may differ in case alone: those are found as they are written.
        .order_by((columns.name == name).desc(), columns.id)
        .limit(1)
    )
    found: str | None = connection.execute(query).scalar_one_or_none()
    return name if found is None else found


def get(connection: Connection, name: str, version: int | None = None) -> Policy | None:
    """The newest version unless one is named."""
    columns = policies.c
    query = select(policies).where(columns.name == name).order_by(columns.version.desc()).limit(1)
    if version is not None:
        query = query.where(columns.version == version)
    row = connection.execute(query).one_or_none()
    return _policy(row) if row else None


def page(connection: Connection, *, name: str | None, after: int, limit: int) -> list[Policy]:
    """In the order in which they were stored, ids above ``after``."""
    query = select(policies).where(policies.c.id > after).order_by(policies.c.id).limit(limit)
    if name is not None:
        query = query.where(policies.c.name == name)
    return [_policy(row) for row in connection.execute(query)]


def lock(tx: Connection) -> None:
    """Let nobody else change what is attached until the transaction ends."""
    tx.execute(text("LOCK TABLE policy_attachments IN SHARE ROW EXCLUSIVE MODE"))


def attach(tx: Connection, policy: Policy, to: Attachment, *, by: str, now: datetime) -> None:
    values = {"policy_id": policy.id, "name": policy.name, "scope": to.scope, "subject": to.subject}
    tx.execute(insert(policy_attachments).values(**values, attached_by=by, attached_at=now))


def detach(tx: Connection, name: str, to: Attachment, *, by: str, now: datetime) -> int | None:
    """The id of the version that was attached; None if none was."""
    columns = policy_attachments.c
    ended = (
        update(policy_attachments)
        .where(
            columns.name == name,
            columns.scope == to.scope,
            columns.subject == to.subject,
            columns.detached_at.is_(None),
        )
        .values(detached_by=by, detached_at=now)
        .returning(columns.policy_id)
    )
    found: int | None = tx.execute(ended).scalar_one_or_none()
    return found


def attached(connection: Connection, to: Iterable[Attachment]) -> list[Policy]:
    """Every policy that is attached to any of these, each once."""
    places = [(each.scope, each.subject) for each in to]
    columns = policy_attachments.c
    ids = select(columns.policy_id).where(
        columns.detached_at.is_(None), tuple_(columns.scope, columns.subject).in_(places)
    )
    query = select(policies).where(policies.c.id.in_(ids)).order_by(policies.c.id)
    return [_policy(row) for row in connection.execute(query)]


def attachments(connection: Connection, policy_ids: Sequence[int]) -> list[tuple[int, Attachment]]:
    """Where versions are attached now."""
    columns = policy_attachments.c
    query = (
        select(columns.policy_id, columns.scope, columns.subject)
        .where(columns.policy_id.in_(policy_ids), columns.detached_at.is_(None))
        .order_by(columns.id)
    )
    return [(row.policy_id, Attachment(Attach(row.scope), row.subject)) for row in connection.execute(query)]


def _policy(row: Any) -> Policy:
    return policy_rules.read(row.name, row.document, version=row.version, policy_id=row.id)
