"""What agents spent, each row carrying the balance after it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, insert, select

from gaelp_ray.store.tables import spends


def find(tx: Connection, agent_id: int, key: str) -> int | None:
    """The amount in micros booked under a key."""
    query = select(spends.c.amount_micros).where(spends.c.agent_id == agent_id, spends.c.key == key)
    return tx.execute(query).scalar_one_or_none()


def balance(tx: Connection, agent_id: int) -> int:
    """Micros spent by the agent so far."""
    query = (
        select(spends.c.balance_micros)
        .where(spends.c.agent_id == agent_id)
        .order_by(spends.c.id.desc())
        .limit(1)
    )
    return tx.execute(query).scalar() or 0


def add(
    tx: Connection,
    *,
    agent_id: int,
    job_id: int | None,
    key: str,
    amount_micros: int,
    balance_micros: int,
    now: datetime,
) -> None:
    tx.execute(
        insert(spends).values(
            agent_id=agent_id,
            job_id=job_id,
            key=key,
            amount_micros=amount_micros,
            balance_micros=balance_micros,
            at=now,
        )
    )
