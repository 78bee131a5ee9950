"""Holds in the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, select
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.domain.holds import Hold, HoldMode, HoldScope
from gaelp_ray.store.tables import holds


def put(tx: Connection, hold: Hold) -> None:
    """Place a hold, or replace the one on the same thing."""
    values = {"mode": hold.mode, "reason": hold.reason, "by": hold.by, "at": hold.at}
    tx.execute(
        insert(holds)
        .values(scope=hold.scope, name=hold.name, **values)
        .on_conflict_do_update(index_elements=["scope", "name"], set_=values)
    )


def remove(tx: Connection, scope: HoldScope, name: str) -> None:
    tx.execute(delete(holds).where(holds.c.scope == scope, holds.c.name == name))


def get(connection: Connection, scope: HoldScope, name: str) -> Hold | None:
    query = select(holds).where(holds.c.scope == scope, holds.c.name == name)
    row = connection.execute(query).one_or_none()
    return _hold(row) if row else None


def all_in_force(connection: Connection) -> list[Hold]:
    """Newest first."""
    query = select(holds).order_by(holds.c.at.desc(), holds.c.scope, holds.c.name)
    return [_hold(row) for row in connection.execute(query)]


def _hold(row: Row[Any]) -> Hold:
    return Hold(HoldScope(row.scope), row.name, HoldMode(row.mode), row.reason, row.by, row.at)
