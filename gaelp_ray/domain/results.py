"""What a job answers, as JSON that the database holds and every reader gets back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Of one result, as JSON. What is larger belongs into a checkpoint.
MAX_RESULT_BYTES = 1_000_000
#: Deeper than this is a mistake, or an attack on whoever reads it.
MAX_DEPTH = 50
#: Of the text of a key, and of a value that has no form in JSON.
_MAX_KEY, _MAX_TEXT = 200, 10_000
#: What a 64-bit reader takes.
_INT_END = 2**63


@dataclass(frozen=True)
class Kept:
    """A result as it is stored, and what to tell its owner about the rest."""

    values: dict[str, Any]
    notices: list[str] = field(default_factory=list)


def kept(returned: object) -> Kept:
    """What can be kept of anything that a training function returned. Never fails.

    Keys become text, numbers that are not finite become null, numbers past 64 bits and unknown objects become
    text. Entries that are too large are left out. All but the second is told in a notice.
    """
    told = _Notices()
    if returned is None:
        return Kept({})
    if not isinstance(returned, Mapping):
        kind = type(returned).__name__
        told.add(f"A training function returns a dict or None, not {kind}: its value is `returned` here.")
        returned = {"returned": returned}
    plain = _mapping(returned, told, path=(), depth=0)
    if not isinstance(plain, dict):
        return Kept({}, told.words)
    return Kept(_bounded(plain, told), told.words)


def size_of(value: object) -> int:
    """Bytes of it as JSON."""
    return len(json.dumps(value).encode())


def plain_text(value: object, *, most: int) -> str:
    """Text that PostgreSQL and UTF-8 hold: no NUL, no half of a surrogate pair, bounded."""
    try:
        text = value if type(value) is str else str(value)
    except BaseException:  # what its own __str__ raises is no reason to lose the rest
        text = f"<{type(value).__name__} that has no text>"
    text = str.replace(text, "\x00", "\ufffd").encode(errors="replace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"


class _Notices:
    """Each kind of change is told once."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def add(self, words: str) -> None:
        if words not in self.words and len(self.words) < 5:
            self.words.append(words)


def _value(value: Any, told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(value, most=MAX_RESULT_BYTES)
    if isinstance(value, int):
        return _whole(int(value), told)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _container(value, told, path, depth)
    return _foreign(value, told, path, depth)


def _whole(number: int, told: _Notices) -> int | str:
    if -_INT_END <= number < _INT_END:
        return number
    told.add("Whole numbers of more than 64 bits are kept as text.")
    return str(number) if number.bit_length() < 1000 else f"<whole number of {number.bit_length()} bits>"


def _container(value: Any, told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    if id(value) in path:
        told.add("What holds itself is cut where it comes round again.")
        return "<itself>"
    if depth >= MAX_DEPTH:
        told.add(f"What is nested more than {MAX_DEPTH} deep is cut there.")
        return "<nested too deep>"
    if isinstance(value, Mapping):
        return _mapping(value, told, path, depth)
    try:
        items = list(value)
    except BaseException:
        return plain_text(value, most=_MAX_TEXT)
    return [_value(item, told, (*path, id(value)), depth + 1) for item in items]


def _mapping(value: Mapping[Any, Any], told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    try:
        items = list(value.items())
    except BaseException:
        told.add("A mapping that cannot be read is kept as text.")
        return plain_text(value, most=_MAX_TEXT)
    plain: dict[str, Any] = {}
    for key, item in items:
        name = plain_text(key, most=_MAX_KEY)
        if not isinstance(key, str):
            told.add(f"Keys of a result are text; {name:.60} is kept as {name!r:.60}.")
        elif len(key) > _MAX_KEY:
            told.add(f"Keys of a result are cut to {_MAX_KEY} characters.")
        if name in plain:
            told.add(f"Several keys of the result are {name!r:.60} as text; the last is kept.")
        plain[name] = _value(item, told, (*path, id(value)), depth + 1)
    return plain


def _foreign(value: Any, told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    """Numpy scalars and arrays as numbers and lists; anything else as its text."""
    try:
        listed = value.tolist() if hasattr(value, "tolist") else None
    except BaseException:
        listed = None
    if listed is not None and type(listed) is not type(value):
        return _value(listed, told, path, depth)
    return plain_text(value, most=_MAX_TEXT)


def _bounded(plain: dict[str, Any], told: _Notices) -> dict[str, Any]:
    """Without the largest entries, where the whole is too large."""
    sizes = {name: size_of(value) + size_of(name) + 4 for name, value in plain.items()}
    total = sum(sizes.values()) + 2
    left_out: list[str] = []
    for name in sorted(sizes, key=lambda each: sizes[each], reverse=True):
        if total <= MAX_RESULT_BYTES:
            break
        total -= sizes[name]
        left_out.append(name)
    if left_out:
        names = ", ".join(map(repr, left_out[:3])) + (" and others" if len(left_out) > 3 else "")
        told.add(
            f"The result is larger than {MAX_RESULT_BYTES:,} bytes; {names:.250} was left out. "
            f"Save what is large in a checkpoint."
        )
    return {name: value for name, value in plain.items() if name not in set(left_out)}
