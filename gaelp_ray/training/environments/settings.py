"""Turning a job's loosely typed settings into validated records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from numbers import Integral, Real
from typing import Any, TypeVar

Record = TypeVar("Record")


def build(kind: type[Record], settings: Mapping[str, Any]) -> Record:
    """Build the dataclass ``kind`` from ``settings``; absent names keep their defaults.

    Raises:
        ValueError: a setting is unknown (the message names the known ones), missing, or has a wrong value.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(
            f"unknown {kind.__name__} setting(s) {', '.join(unknown)}; known: {', '.join(known)}"
        )
    required = {field.name for field in fields(kind) if field.default is MISSING}  # type: ignore[arg-type]
    missing = sorted(required - set(settings))
    if missing:
        raise ValueError(f"{kind.__name__} needs {', '.join(missing)}")
    return kind(**settings)


def require_numbers(record: object) -> None:
    """Require a dataclass to hold integers in its ``int`` fields and finite numbers in its ``float`` ones.

    Its module must use ``from __future__ import annotations``, so that field types are names.

    Raises:
        ValueError: naming the field and its value.
    """
    for field in fields(record):  # type: ignore[arg-type]
        value = getattr(record, field.name)
        if field.type == "int" and not _is(Integral, value):
            raise ValueError(f"{field.name} must be an integer, got {value!r}")
        if field.type == "float" and not (_is(Real, value) and math.isfinite(value)):
            raise ValueError(f"{field.name} must be a finite number, got {value!r}")


def require(holds: bool, rule: str) -> None:
    """Raise ``ValueError(rule)`` unless ``holds``."""
    if not holds:
        raise ValueError(rule)


def _is(kind: type, value: object) -> bool:
    # bool is an int to Python; nobody means True auctions.
    return isinstance(value, kind) and not isinstance(value, bool)
