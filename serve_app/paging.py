"""Pages by cursor: stable under inserts, and as quick on page 1000 as on the first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.store.positions import Position

#: What belongs to no page that was ever answered.
_WRONG = "`cursor` must be the `next_cursor` of the page before."

Limit = Annotated[int, Query(ge=1, le=1000, description="Items on a page.")]
Cursor = Annotated[str | None, Query(max_length=40, description="`next_cursor` of the page before.")]


def before(cursor: str | None) -> int | None:
    """The id below which the page begins."""
    if not cursor:
        return None
    if not cursor.isdigit() or int(cursor) >= 2**63:
        raise InvalidInput("`cursor` must be the `next_cursor` of the page before.")
    return int(cursor)


def after(cursor: str | None) -> int:
    """The id above which the page begins, in lists that go forward."""
    return before(cursor) or 0


def after_position(cursor: str | None) -> Position | None:
    """The place after which the page begins, in lists that many write at once."""
    if not cursor:
        return None
    first, dot, last = cursor.partition(".")
    # An id alone is of a row from before such rows knew their transactions.
    xid, row_id = (first, last) if dot else ("0", first)
    if not all(part.isascii() and part.isdigit() and int(part) < 2**63 for part in (xid, row_id)):
        raise InvalidInput(_WRONG)
    return Position(int(xid), int(row_id))


def next_position(positions: list[Position], limit: int) -> str | None:
    """The cursor of the next page; None when this page is not full."""
    if not positions or len(positions) < limit:
        return None
    return f"{positions[-1].xid}.{positions[-1].id}"


def next_cursor(ids: list[int], limit: int) -> str | None:
    """The cursor of the next page; None when this page is not full."""
    return str(ids[-1]) if ids and len(ids) == limit else None
