"""Places in lists that only grow, of rows that many write at once.

An id is drawn before its transaction commits, so whoever asks for ids above the last that was seen never sees
one that was drawn earlier and committed later. Such lists are read in the order of transactions, up to the
first that is under way: see docs/decisions/0008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, Table, literal_column, text, tuple_


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A row and its transaction; everything at or before it has been read."""

    xid: int
    id: int

    @property
    def text(self) -> str:
        return f"{self.xid}.{self.id}"


def feed(query: Select[Any], table: Table, after: Position | None, *, limit: int) -> Select[Any]:
    """The rows after a position of transactions before which no other is under way, in their order.

    Each has its place as ``position_xid`` and ``id``.
    """
    xid: ColumnElement[int] = literal_column(f"{table.name}.xid::text::bigint", BigInteger)
    query = (
        query.add_columns(xid.label("position_xid"))
        .where(literal_column(f"{table.name}.xid < pg_snapshot_xmin(pg_current_snapshot())"))
        .order_by(table.c.xid, table.c.id)
        .limit(limit)
    )
    if after is None:
        return query
    return query.where(
        # The first condition uses the index, the second is exact.
        text(f"{table.name}.xid >= CAST(CAST(:after_xid AS text) AS xid8)").bindparams(after_xid=after.xid),
        tuple_(xid, table.c.id) > tuple_(after.xid, after.id),
    )
