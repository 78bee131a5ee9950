"""What a list reads of a column that may hold a whole document: the document if it is small, else nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Text, case, cast, func, literal, null
from sqlalchemy.dialects.postgresql import array

#: Bytes of a document, as text, that a list still shows.
SMALL = 4000


def small(column: Column[Any]) -> ColumnElement[Any]:
    """The document, or NULL if it is large. Most large ones are known as such without being unpacked."""
    return case((_large(column), null()), else_=column).label(column.name)


def left_out(*columns: Column[Any], **others: ColumnElement[bool]) -> ColumnElement[Any]:
    """The names of those that are large, and of ``others`` that are so; NULL for each that is not."""
    conditions = {column.name: _large(column) for column in columns} | others
    named: list[ColumnElement[Any]] = [
        case((is_so, literal(name)), else_=null()) for name, is_so in conditions.items()
    ]
    return array[Any](named, type_=Text).label("left_out")


def _large(column: Column[Any]) -> ColumnElement[bool]:
    return case(
        (func.pg_column_size(column) > SMALL, True), else_=func.octet_length(cast(column, Text)) > SMALL
    )
