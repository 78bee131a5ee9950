"""Ids: whole numbers from 1, each with one way to write it."""

from __future__ import annotations

import re

from gaelp_ray.domain.errors import InvalidInput

#: What a signed 64-bit column holds.
MAX_ID = 2**63 - 1
_ID = re.compile(r"[1-9][0-9]{0,18}")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")


def read(value: object, *, field: str) -> int:
    """An id from text or a number; raises ``InvalidInput`` for every other way to write one.

    ``02``, ``+2``, `` 2``, ``2.0``, digits of other scripts and numbers past 64 bits are no ids.
    """
    found = known(value)
    if found is None:
        raise InvalidInput(
            f"`{field}` must be an id: a whole number from 1 to {MAX_ID} in plain digits; got {value!r:.60}.",
            field=field,
        )
    return found


def known(value: object) -> int | None:
    """The id, or None for what is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and _ID.fullmatch(value):
        value = int(value)
    return value if isinstance(value, int) and 1 <= value <= MAX_ID else None


def whole(value: object, *, field: str) -> int:
    """A whole number from the text of an address, written as JSON writes it; of 64 bits at most."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _WHOLE.fullmatch(value) and value != "-0" and abs(int(value)) <= MAX_ID:
        return int(value)
    raise InvalidInput(f"`{field}` must be a whole number in plain digits; got {value!r:.60}.", field=field)
