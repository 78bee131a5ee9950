"""What a budget was: its statement and balances, on the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from gaelp_ray.domain.ledger import (
    Balance,
    Line,
    Operation,
)
from serve_app.schemas.booking import Shown
from serve_app.schemas.common import Items, Out


class LineOut(Out):
    """A change of the balance, with the balance after it."""

    id: int
    at: datetime
    operation: Operation
    key: str
    hold_key: str | None
    pending_micros: int
    posted_micros: int
    counted_at: datetime = Field(description="Decides the windows that it counts in.")
    balance_pending_micros: int
    balance_posted_micros: int
    note: str | None = Field(description="Why, if it is a correction.")

    @staticmethod
    def of(line: Line, shown: Shown) -> LineOut:
        entry = line.entry
        return LineOut.model_construct(
            id=line.id,
            at=entry.at,
            operation=entry.operation,
            key=shown(entry.key),
            hold_key=None if entry.hold_key is None else shown(entry.hold_key),
            pending_micros=entry.pending_micros,
            posted_micros=entry.posted_micros,
            counted_at=entry.counted_at,
            balance_pending_micros=line.pending_micros,
            balance_posted_micros=line.posted_micros,
            note=line.note,
        )


class LinePage(Items):
    items: list[LineOut]


class BalanceOut(Out):
    at: datetime
    pending_micros: int
    posted_micros: int

    @staticmethod
    def of(balance: Balance, at: datetime) -> BalanceOut:
        return BalanceOut.model_construct(
            at=at, pending_micros=balance.pending_micros, posted_micros=balance.posted_micros
        )


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
