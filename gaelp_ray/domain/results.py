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
#: Values in one entry, and in all that is looked at: more cannot be small enough.
_MAX_VALUES, _MAX_LOOKED_AT = MAX_RESULT_BYTES // 2, MAX_RESULT_BYTES


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
    if not _is(returned, Mapping):
        kind = type_name(returned)
        told.add(f"A training function returns a dict or None, not {kind}: its value is `returned` here.")
        returned = {"returned": returned}
    try:
        items = list(returned.items())  # type: ignore[attr-defined]
        plain = _entries(items, told, (id(returned),), 0)
    except BaseException:
        told.add(_UNREADABLE)
        return Kept({}, told.words)
    return Kept(_bounded(plain, told), told.words)


def size_of(value: object) -> int:
    """Bytes of it as JSON."""
    return len(json.dumps(value).encode())


def plain_text(value: object, *, most: int) -> str:
    """Text that PostgreSQL and UTF-8 hold: no NUL, no half of a surrogate pair, bounded."""
    try:
        text = str(value)
    except BaseException:  # what its own __str__ raises is no reason to lose the rest
        text = f"<{type_name(value)} that has no text>"
    # Of a subclass of str nothing of its own is used: its length, say, may be anything.
    text = str.replace(text, "\x00", "\ufffd").encode(errors="replace").decode()
    return text if len(text) <= most else text[: most - 1] + "…"


def type_name(value: object) -> str:
    """The name of its class, also where the class has made `__name__` something else."""
    name = type.__dict__["__name__"].__get__(type(value))
    return plain_text(name, most=_MAX_KEY)


_UNREADABLE = "What cannot be read of the result is kept as text."


class _Notices:
    """Each kind of change is told once; and how many values may still be looked at."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._left, self._entry_left = _MAX_LOOKED_AT, _MAX_VALUES

    def add(self, words: str) -> None:
        if words not in self.words and len(self.words) < 5:
            self.words.append(words)

    def begin_entry(self) -> None:
        self._entry_left = _MAX_VALUES

    def look(self) -> None:
        self._left -= 1
        self._entry_left -= 1
        if min(self._left, self._entry_left) < 0:
            raise _TooManyValues


class _TooManyValues(Exception):
    pass


def _value(value: Any, told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    """Whatever a value does when it is looked at, it is kept as text at the least."""
    told.look()
    try:
        return _read(value, told, path, depth)
    except _TooManyValues:
        raise
    except BaseException:
        told.add(_UNREADABLE)
        return plain_text(value, most=_MAX_TEXT)


def _read(value: Any, told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain_text(value, most=MAX_RESULT_BYTES)
    if isinstance(value, int):
        return _whole(int.__int__(value), told)
    if isinstance(value, float):
        number = float.__float__(value)
        return number if math.isfinite(number) else None
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
        return _too_deep(told)
    path = (*path, id(value))
    if isinstance(value, Mapping):
        return _entries(list(value.items()), told, path, depth)
    return [_value(item, told, path, depth + 1) for item in list(value)]


def _too_deep(told: _Notices) -> str:
    told.add(f"What is nested more than {MAX_DEPTH} deep is cut there.")
    return "<nested too deep>"


def _entries(
    items: list[tuple[Any, Any]], told: _Notices, path: tuple[int, ...], depth: int
) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in items:
        name = _name(key, told)
        if name in plain:
            told.add(f"Several keys of the result are {name!r:.60} as text; the last is kept.")
        try:
            if depth == 0:
                told.begin_entry()
            plain[name] = _value(item, told, path, depth + 1)
        except _TooManyValues:
            if depth > 0:
                raise
            plain.pop(name, None)
            told.add(f"{name!r:.60} holds more than {_MAX_VALUES:,} values and was left out.")
    return plain


def _name(key: Any, told: _Notices) -> str:
    """A key as text."""
    name = plain_text(key, most=_MAX_KEY)
    if not _is(key, str):
        told.add(f"Keys of a result are text; {name:.60} is kept as {name!r:.60}.")
    elif str.__len__(key) > _MAX_KEY:
        told.add(f"Keys of a result are cut to {_MAX_KEY} characters.")
    return name


def _foreign(value: Any, told: _Notices, path: tuple[int, ...], depth: int) -> Any:
    """Numpy scalars and arrays as numbers and lists; anything else as its text."""
    listed = value.tolist() if hasattr(value, "tolist") else None
    if listed is None or type(listed) is type(value):
        return plain_text(value, most=_MAX_TEXT)
    return _too_deep(told) if depth >= MAX_DEPTH else _value(listed, told, path, depth + 1)


def _is(value: object, kind: type) -> bool:
    """As ``isinstance``, also for what only pretends to have a class."""
    return issubclass(type(value), kind)


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
