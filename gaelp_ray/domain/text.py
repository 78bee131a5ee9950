"""Text as it is taken from anybody: what cannot be stored or shown again is refused."""

from __future__ import annotations

import re
from typing import Any

from gaelp_ray.domain.errors import InvalidInput

#: Levels of lists and objects in a document.
MAX_DEPTH = 20
#: No number of a document is larger: every one is a finite float as well.
MAX_NUMBER = 1.7e308
#: What PostgreSQL or UTF-8 cannot hold.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str, *, field: str) -> str:
    """Raise ``InvalidInput`` for NUL characters and halves of surrogate pairs."""
    if _UNSTORABLE.search(text):
        raise InvalidInput(f"`{field}` may not hold NUL characters or half of a surrogate pair.", field=field)
    return text


def line(text: object, *, most: int, field: str) -> str:
    """A text of 1 to ``most`` printable characters, on one line."""
    if not isinstance(text, str) or not 0 < len(text) <= most or not text.isprintable():
        raise InvalidInput(f"`{field}` must be a text of 1 to {most} printable characters.", field=field)
    return text


def check_document(value: Any, *, field: str = "body") -> None:
    """Raise ``InvalidInput`` for what could not be stored and read again of a JSON document.

    Text, keys too, follows ``storable``; numbers are finite and at most ``MAX_NUMBER``; nothing is nested
    deeper than ``MAX_DEPTH`` levels.
    """
    waiting: list[tuple[Any, str, int]] = [(value, field, 0)]
    while waiting:
        each, where, depth = waiting.pop()
        if isinstance(each, str):
            storable(each, field=where)
        elif isinstance(each, dict | list):
            if depth == MAX_DEPTH:
                raise InvalidInput(f"`{where}` is nested deeper than {MAX_DEPTH} levels.", field=where)
            if isinstance(each, dict):
                for key, item in each.items():
                    storable(key, field=where)
                    waiting.append((item, f"{where}.{key:.100}" if depth else key[:100], depth + 1))
            else:
                waiting.extend((item, f"{where}[{n}]", depth + 1) for n, item in enumerate(each))
        elif isinstance(each, int | float) and not -MAX_NUMBER <= each <= MAX_NUMBER:
            raise InvalidInput(f"`{where}` must be a finite number of at most {MAX_NUMBER:g}.", field=where)
