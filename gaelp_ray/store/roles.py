"""Granted roles in the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.domain.roles import Role
from gaelp_ray.store.tables import role_grants


@dataclass(frozen=True, slots=True)
class Grant:
    user: str
    role: Role
    by: str
    at: datetime


def add(tx: Connection, user: str, role: Role, *, by: str, now: datetime) -> bool:
    """False: the user has it already."""
    added = upsert(role_grants).values(user_name=user, role=role, granted_by=by, granted_at=now)
    return tx.execute(added.on_conflict_do_nothing()).rowcount > 0


def remove(tx: Connection, user: str, role: Role) -> bool:
    """False: the user has it not."""
    columns = role_grants.c
    return tx.execute(delete(role_grants).where(columns.user_name == user, columns.role == role)).rowcount > 0


def grants(connection: Connection, *, user: str | None) -> list[Grant]:
    """By user and role; None: of everybody."""
    query = select(role_grants).order_by(role_grants.c.user_name, role_grants.c.role)
    if user is not None:
        query = query.where(role_grants.c.user_name == user)
    return [
        Grant(row.user_name, Role(row.role), row.granted_by, row.granted_at)
        for row in connection.execute(query)
    ]


def of_user(connection: Connection, user: str) -> frozenset[Role]:
    query = select(role_grants.c.role).where(role_grants.c.user_name == user)
    return frozenset(map(Role, connection.execute(query).scalars()))


def having(connection: Connection, role: Role, users: Collection[str]) -> frozenset[str]:
    """Those of the users who have a role."""
    columns = role_grants.c
    query = select(columns.user_name).where(columns.role == role, columns.user_name.in_(users))
    return frozenset(connection.execute(query).scalars()) if users else frozenset()
