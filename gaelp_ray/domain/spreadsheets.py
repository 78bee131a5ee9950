"""Tables as CSV, for people who open them in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

#: What makes a spreadsheet read a text as a formula, in the wide forms of these characters too.
#: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def cell(value: object) -> object:
    """A value as it may stand in a cell: text that would be read as a formula begins with an apostrophe.

    Numbers are ours, and stay what they are.
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return value


def written(rows: Iterable[Iterable[object]], *, end: str = "\r\n") -> str:
    """Rows as CSV. ``end``: of each line."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()
