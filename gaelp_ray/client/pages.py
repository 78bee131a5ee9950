"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from gaelp_ray.client.models import Page
from gaelp_ray.client.wire import read

T = TypeVar("T")

#: The most items that the service puts on a page.
WHOLE_PAGE = 1000


@dataclass(frozen=True)
class _Listing:
    items: tuple[Any, ...]
    next_cursor: str | None = None


def read_page(model: type[T], data: Any) -> Page[T]:
    listing = read(_Listing, data)
    return Page(tuple(read(model, item) for item in listing.items), listing.next_cursor)


def read_items(model: type[T], data: Any) -> tuple[T, ...]:
    return read_page(model, data).items


def each(fetch: Callable[[str | None], Page[T]]) -> Iterator[T]:
    """Every item of every page; the next page is asked for when the one before is used up."""
    cursor: str | None = None
    while True:
        page = fetch(cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
