"""The revision of what plans go by: a plan made on an older one is void."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from gaelp_ray.store.tables import scheduling_revision as table


def get(connection: Connection) -> int:
    return int(connection.execute(select(table.c.revision)).scalar_one())


def bump(tx: Connection) -> None:
    """Quotas, holds or paused agents change in this transaction. To be called before any job is locked."""
    tx.execute(update(table).values(revision=table.c.revision + 1))


def hold(tx: Connection, revision: int) -> bool:
    """Whether this revision is still the newest; it stays so until the transaction ends."""
    query = select(table.c.revision).where(table.c.revision == revision).with_for_update(read=True)
    return tx.execute(query).one_or_none() is not None
