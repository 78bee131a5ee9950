"""Leadership: one holder at a time, each with a larger epoch than the one before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, select
from sqlalchemy.dialects.postgresql import insert

from gaelp_ray.store.tables import leases


@dataclass(frozen=True)
class Lease:
    name: str
    holder: str
    epoch: int
    expires_at: datetime


def acquire(
    tx: Connection, name: str, holder: str, *, epoch: int | None, ttl: timedelta, now: datetime
) -> Lease | None:
    """Renew the lease when it still has ``epoch``; else take it if it is free, run out, or the holder's own.

    Taking it begins a new epoch. None: another holds it.
    """
    renews = leases.c.epoch == (epoch if epoch is not None else -1)
    fresh = insert(leases).values(name=name, holder=holder, epoch=1, expires_at=now + ttl)
    row = tx.execute(
        fresh.on_conflict_do_update(
            index_elements=["name"],
            set_={
                "holder": holder,
                "epoch": leases.c.epoch + case((renews & (leases.c.holder == holder), 0), else_=1),
                "expires_at": now + ttl,
            },
            where=(leases.c.holder == holder) | (leases.c.expires_at <= now),
        ).returning(*leases.c)
    ).one_or_none()
    return Lease(row.name, row.holder, row.epoch, row.expires_at) if row else None


def hold(tx: Connection, name: str, holder: str, epoch: int) -> bool:
    """Whether this epoch still leads; the row is held so that nobody takes over before the commit."""
    query = (
        select(leases.c.epoch)
        .where(leases.c.name == name, leases.c.holder == holder, leases.c.epoch == epoch)
        .with_for_update()
    )
    return tx.execute(query).one_or_none() is not None


def get(connection: Connection, name: str) -> Lease | None:
    row = connection.execute(select(leases).where(leases.c.name == name)).one_or_none()
    return Lease(row.name, row.holder, row.epoch, row.expires_at) if row else None
