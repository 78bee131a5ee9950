"""Why the jobs of a lane wait: one row for each lane, written when the reason changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from gaelp_ray.store.tables import lanes

#: Code and message.
Reason = tuple[str, str]

_TELL = text(
    """
    INSERT INTO lanes (lane, wait_code, wait_message, changed_at)
    SELECT lane, code, message, :now FROM unnest(:lanes, :codes, :messages) AS given (lane, code, message)
    ON CONFLICT (lane) DO UPDATE
    SET wait_code = excluded.wait_code, wait_message = excluded.wait_message, changed_at = excluded.changed_at
    """
).bindparams(
    bindparam("lanes", type_=ARRAY(Text)),
    bindparam("codes", type_=ARRAY(Text)),
    bindparam("messages", type_=ARRAY(Text)),
)


def read(connection: Connection) -> dict[str, Reason]:
    found = connection.execute(select(lanes.c.lane, lanes.c.wait_code, lanes.c.wait_message))
    return {row.lane: (row.wait_code, row.wait_message) for row in found}


def tell(tx: Connection, reasons: Mapping[str, Reason], *, now: datetime) -> None:
    if not reasons:
        return
    codes, messages = zip(*reasons.values(), strict=True)
    given = {"lanes": list(reasons), "codes": list(codes), "messages": list(messages)}
    tx.execute(_TELL, {**given, "now": now})


def forget(tx: Connection, names: Collection[str]) -> None:
    """These lanes are empty."""
    if names:
        tx.execute(delete(lanes).where(lanes.c.lane == func.any(list(names))))
