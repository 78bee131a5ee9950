"""Members of budgets in the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.store.tables import account_members


@dataclass(frozen=True, slots=True)
class Member:
    user: str
    by: str
    at: datetime


def add(tx: Connection, account_id: int, user: str, *, by: str, now: datetime) -> bool:
    """False: the user is one already."""
    added = upsert(account_members).values(account_id=account_id, user_name=user, added_by=by, added_at=now)
    return tx.execute(added.on_conflict_do_nothing()).rowcount > 0


def remove(tx: Connection, account_id: int, user: str) -> bool:
    """False: the user is none."""
    columns = account_members.c
    gone = delete(account_members).where(columns.account_id == account_id, columns.user_name == user)
    return tx.execute(gone).rowcount > 0


def is_member(connection: Connection, account_id: int, user: str) -> bool:
    columns = account_members.c
    query = select(columns.user_name).where(columns.account_id == account_id, columns.user_name == user)
    return connection.execute(query).one_or_none() is not None


def of_account(connection: Connection, account_id: int) -> list[Member]:
    """By name."""
    columns = account_members.c
    query = select(account_members).where(columns.account_id == account_id).order_by(columns.user_name)
    return [Member(row.user_name, row.added_by, row.added_at) for row in connection.execute(query)]
