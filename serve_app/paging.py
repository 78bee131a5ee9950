"""Pages by cursor: stable under inserts, and as quick on page 1000 as on the first."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from gaelp_ray.domain.errors import InvalidInput

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


def next_cursor(ids: list[int], limit: int) -> str | None:
    """The cursor of the next page; None when this page is not full."""
    return str(ids[-1]) if ids and len(ids) == limit else None
