"""The currency of compute in the database."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert as upsert

from gaelp_ray.store.tables import compute_currency


def get(connection: Connection) -> str | None:
    """As of the last start; None before the first."""
    found: str | None = connection.execute(select(compute_currency.c.currency)).scalar_one_or_none()
    return found


def put(tx: Connection, currency: str) -> None:
    written = upsert(compute_currency).values(id=1, currency=currency)
    tx.execute(written.on_conflict_do_update(index_elements=["id"], set_={"currency": currency}))
