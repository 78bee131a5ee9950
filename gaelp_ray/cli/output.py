"""What commands print: tables for people, JSON for programs, errors on stderr."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gaelp_ray.client import ComputeCost, to_json
from gaelp_ray.domain.money import written

#: What a terminal, or the eye, takes for something else than text: control characters but for the line break
#: and the tab, and marks that turn the direction of writing.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
#: Colours of a terminal, which do no harm and would be in the way if they were spelled out.
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")


def shown(text: str, *, csv: bool = False) -> str:
    """Other people's text, safe to print: what would move a cursor, set a title or hide text is spelled out.

    Colours are left out, a lone carriage return becomes a line break, and any other control character is
    written as Python writes it, such as ``\\x1b``. In ``csv`` carriage returns stay, for they end its lines.
    """
    plain = _COLOURS.sub("", text)
    if not csv:
        plain = plain.replace("\r\n", "\n").replace("\r", "\n")
    return _UNSEEN.sub(lambda found: found[0] if found[0] == "\r" else ascii(found[0])[1:-1], plain)


class Screen(Console):
    """A console that takes what it is given for text, never for markup, emoji codes or terminal controls."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(shown(each) if isinstance(each, str) else each for each in objects), **options)


out = Screen()
err = Screen(stderr=True)

_STYLES = {
    "active": "green",
    "completed": "green",
    "succeeded": "green",
    "running": "cyan",
    "queued": "yellow",
    "paused": "yellow",
    "failed": "red",
    "cancelled": "dim",
    "archived": "dim",
}

#: Of ``2025-03-01``.
_DATE_WIDTH = 10


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """A model as JSON on stdout, with what a terminal might obey spelled out, which reads the same."""
    written = json.dumps(to_json(value), indent=indent, ensure_ascii=False)
    typer.echo(_UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", written))


def print_items(items: Sequence[Any], next_cursor: str | None = None) -> None:
    """A list as JSON, in the shape in which the API gives every list."""
    print_json({"items": list(items), "next_cursor": next_cursor})


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, empty: str, more: str | None = None
) -> None:
    """One row a line, or the sentence ``empty``; ``more`` is the cursor of the page behind this one."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    cells = [[cell(value) for value in row] for row in rows]
    dated = {at for row in rows for at, value in enumerate(row) if isinstance(value, datetime)}
    for at, column in enumerate(columns):
        # Folded, not cut: half an entry point helps nobody. Names of columns and dates stay whole.
        whole = max(len(column), _DATE_WIDTH if at in dated else 0)
        table.add_column(column, overflow="fold", min_width=whole)
    for row in cells:
        table.add_row(*row)
    out.print(table if table.row_count else Text(empty))
    if more is not None:
        err.print(f"There are more: --cursor {more}")


def print_record(facts: Mapping[str, Any]) -> None:
    """One fact a line; those that are None or empty are left out."""
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value not in (None, "", {}, ()):
            table.add_row(Text(name, style="bold"), cell(value))
    out.print(table)


def print_error(sentence: str) -> None:
    err.print(Text(shown(sentence), style="red"), soft_wrap=True)


def cell(value: Any) -> Text:
    """A value as a person reads it; never as markup, for names and messages are other people's text."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, datetime):
        return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}")
    if isinstance(value, float):
        return Text(number(value))
    if isinstance(value, Mapping):
        return Text(", ".join(f"{shown(str(key))}={cell(item).plain}" for key, item in value.items()))
    if isinstance(value, list | tuple):
        return Text(", ".join(cell(item).plain for item in value))
    return Text(shown(str(value)), style=_STYLES.get(str(value), ""))


def number(value: float) -> str:
    """Four digits that matter, without an exponent where it can be avoided."""
    return f"{value:,.2f}" if 1000 <= abs(value) < 1e12 else f"{value:.4g}"


def money(spent: float, limit: float | None) -> str:
    """Currency units spent, of a limit where there is one."""
    return f"{spent:,.2f}" if limit is None else f"{spent:,.2f} / {limit:,.2f}"


def compute(cost: ComputeCost) -> str:
    """What was booked of a job's compute, and what it may come to; empty while nothing is known of either."""
    parts = [written(cost.booked_micros)] if cost.booked_micros else []
    if cost.expected_micros is not None:
        parts.append(f"{written(cost.expected_micros)} expected")
    if cost.expected_p90_micros is not None:
        parts.append(f"{written(cost.expected_p90_micros)} at the 90th percentile")
    return ", ".join(parts)
