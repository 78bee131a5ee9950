"""Lives of launcher actors."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.store.tables import attempts, launchers


def register(tx: Connection, name: str, *, cluster: str, incarnation: UUID, now: datetime) -> None:
    """Begin a new life of a launcher."""
    values = {
        "cluster": cluster,
        "incarnation": incarnation,
        "registered_at": now,
        "seen_at": now,
        "retired": False,
    }
    tx.execute(
        insert(launchers)
        .values(name=name, **values)
        .on_conflict_do_update(index_elements=["name"], set_=values)
    )


def seen(tx: Connection, name: str, incarnation: UUID, *, now: datetime) -> bool:
    """Show a sign of life; False means this life was retired and must stop its tasks."""
    alive = tx.execute(
        update(launchers)
        .where(launchers.c.name == name, launchers.c.incarnation == incarnation, ~launchers.c.retired)
        .values(seen_at=now)
    )
    return alive.rowcount == 1


def retire(tx: Connection, name: str) -> None:
    tx.execute(update(launchers).where(launchers.c.name == name).values(retired=True))


def lock_foreign(tx: Connection, cluster: str, *, silent_since: datetime) -> list[str]:
    """Launchers of other clusters that were not seen since, their rows held."""
    query = (
        select(launchers.c.name)
        .where(launchers.c.cluster != cluster, ~launchers.c.retired, launchers.c.seen_at < silent_since)
        .order_by(launchers.c.name)
        .with_for_update(skip_locked=True)
    )
    return list(tx.execute(query).scalars())


def attempts_of_retired(connection: Connection, cluster: str, *, limit: int) -> list[int]:
    """Live attempts of retired launchers of other clusters."""
    query = (
        select(attempts.c.id)
        .join(launchers, launchers.c.name == attempts.c.launcher)
        .where(launchers.c.cluster != cluster, launchers.c.retired, attempts.c.ended_at.is_(None))
        .order_by(attempts.c.id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def loads(connection: Connection, cluster: str) -> dict[str, int]:
    """Live attempts of each launcher of a cluster."""
    live = attempts.c.ended_at.is_(None) & (attempts.c.launcher == launchers.c.name)
    query = (
        select(launchers.c.name, func.count(attempts.c.id).label("live"))
        .outerjoin(attempts, live)
        .where(launchers.c.cluster == cluster, ~launchers.c.retired)
        .group_by(launchers.c.name)
    )
    return {row.name: row.live for row in connection.execute(query)}
