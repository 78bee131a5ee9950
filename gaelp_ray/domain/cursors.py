"""Cursors: where the next page of a list begins. What they say is for this module alone."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

from gaelp_ray.domain import ids
from gaelp_ray.domain.errors import InvalidInput

MAX_CURSOR = 800


def write(pages: str, position: str | int) -> str:
    """The cursor behind a position in the list named ``pages``."""
    return urlsafe_b64encode(f"{pages}:{position}".encode()).decode().rstrip("=")


def read(pages: str, cursor: str) -> str:
    """The position that a cursor of that list stands for; raises ``InvalidInput`` for any other text."""
    try:
        given = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode()
    except (ValueError, binascii.Error):
        raise foreign() from None
    owner, _, position = given.partition(":")
    if owner != pages or write(pages, position) != cursor:
        raise foreign()
    return position


def read_id(pages: str, cursor: str) -> int:
    """As ``read``, of a list in the order of ids."""
    found = ids.known(read(pages, cursor))
    if found is None:
        raise foreign()
    return found


def foreign() -> InvalidInput:
    return InvalidInput("`cursor` must be the `next_cursor` of the page before, of the same list.")
