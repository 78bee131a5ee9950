"""Pages by cursor: stable under inserts, as quick on page 1000 as on the first, and never large."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from fastapi.responses import Response
from pydantic import BaseModel, BeforeValidator, Field

from gaelp_ray.domain import cursors, ids
from gaelp_ray.store.positions import Position
from serve_app.schemas.common import by

#: A page ends with the item that takes it past so many bytes.
MAX_BYTES = 2_000_000

Limit = Annotated[
    int,
    Field(ge=1, le=1000),
    BeforeValidator(by(ids.whole)),
    Query(description="Items on a page at most; a page of large items ends sooner."),
]
Cursor = Annotated[
    str | None, Query(max_length=cursors.MAX_CURSOR, description="`next_cursor` of the page before.")
]


@dataclass(frozen=True)
class Pages:
    """The pages of one list; a cursor of another is refused."""

    name: str

    def position(self, cursor: str | None) -> str | None:
        """Where the page begins; None for the first."""
        if cursor is None:
            return None
        return cursors.read(self.name, cursor)

    def before(self, cursor: str | None) -> int | None:
        """The id below which the page begins."""
        return None if cursor is None else cursors.read_id(self.name, cursor)

    def after(self, cursor: str | None) -> int:
        """The id above which the page begins, in lists that go forward."""
        return self.before(cursor) or 0

    def after_position(self, cursor: str | None) -> Position | None:
        """The place after which the page begins, in lists that many write at once."""
        place = self.position(cursor)
        if place is None:
            return None
        xid, _, row_id = place.partition(".")
        # Rows from before such rows knew their transactions have none.
        found = 0 if xid == "0" else ids.known(xid), ids.known(row_id)
        if found[0] is None or found[1] is None:
            raise cursors.foreign()
        return Position(found[0], found[1])

    def answer(self, items: Iterable[tuple[str | int, BaseModel]], limit: int) -> Response:
        """A page of items, each with its position; what does not fit waits for the next page."""
        found = list(items)
        written: list[bytes] = []
        size = 0
        for _, item in found:
            if size >= MAX_BYTES:
                break
            written.append(item.__pydantic_serializer__.to_json(item))
            size += len(written[-1])
        more = len(written) < len(found) or len(found) >= limit
        following = f'"{cursors.write(self.name, found[len(written) - 1][0])}"' if found and more else "null"
        body = b'{"items":[' + b",".join(written) + b'],"next_cursor":' + following.encode() + b"}"
        return Response(body, media_type="application/json")
