"""Reports of ad platforms on the wire."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import Outcome
from gaelp_ray.domain.platforms import DeliveryReport
from gaelp_ray.domain.reconciliation import Mismatch
from serve_app.schemas.common import Flag, In, Instant, Out, WholeNumber, printable


class ReportIn(In):
    order_key: Annotated[str, Field(min_length=1, max_length=200), printable(200)] = Field(
        description="The key of the hold that pays for it."
    )
    number: WholeNumber = Field(description="Grows with each report of an order, from 1; the highest counts.")
    campaign: Annotated[str, Field(min_length=1, max_length=200), printable(200)]
    currency: str
    cost_micros: WholeNumber = Field(description="In all since the order was placed.")
    final: Flag = Field(default=False, description="No more will come.")
    reported_at: Instant

    def report(self, platform: str) -> DeliveryReport:
        return DeliveryReport(platform=platform, **self.model_dump())


class ReportsIn(In):
    reports: list[ReportIn] = Field(min_length=1, max_length=1000)


class ReceivedOut(Out):
    received: int
    new: int = Field(description="Those that had not been received before.")


class MismatchOut(Out):
    """An order whose reports and books differ."""

    kind: str
    order_key: str
    campaign: str
    reported_micros: int
    booked_micros: int
    difference_micros: int

    @staticmethod
    def of(mismatch: Mismatch) -> MismatchOut:
        return MismatchOut.model_validate(mismatch)


class MismatchList(Out):
    items: list[MismatchOut]


class PeriodIn(In):
    """Orders of which reports came in it."""

    since: Instant
    until: Instant


class BookedOut(Out):
    """What the ledger answered to one repair."""

    operation: str | None
    amount_micros: int | None
    code: str | None = Field(description="Of the error where it was refused.")
    detail: str | None

    @staticmethod
    def of(outcome: Outcome) -> BookedOut:
        if isinstance(outcome, GaelpError):
            return BookedOut(operation=None, amount_micros=None, code=outcome.code, detail=outcome.message)
        return BookedOut(
            operation=outcome.operation, amount_micros=outcome.amount_micros, code=None, detail=None
        )


class BookedList(Out):
    items: list[BookedOut]
