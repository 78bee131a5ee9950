"""What an ad platform is told, and what it says it delivered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gaelp_ray.domain import names
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import check_currency, moment
from gaelp_ray.domain.money import MAX_MICROS, whole_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Deliver advertisements for at most so much.

    ``key`` is that of the hold that pays for it. The same key is the same order: placed twice it is one.
    """

    key: str
    campaign: str
    currency: str
    amount_micros: int
    bid_micros: int
    region: str | None = None
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        whole_micros(self.amount_micros)
        whole_micros(self.bid_micros, field="bid_micros")
        check_currency(self.currency)
        if not self.key or not self.campaign:
            raise InvalidInput("`key` and `campaign` of an order must not be empty.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What an order has cost so far. Of several, the one with the highest number counts."""

    #: In canonical form, however it was written.
    platform: str
    order_key: str
    #: Grows with each report of an order, from 1.
    number: int
    campaign: str
    currency: str
    #: In all since the order was placed, not since the last report.
    cost_micros: int
    #: No more will come.
    final: bool
    reported_at: datetime

    def __post_init__(self) -> None:
        if type(self.cost_micros) is not int or not 0 <= self.cost_micros <= MAX_MICROS:
            raise InvalidInput(f"`cost_micros` must be 0 to {MAX_MICROS} whole micros.")
        if type(self.number) is not int or not 1 <= self.number <= MAX_MICROS:
            raise InvalidInput("`number` must be a whole number of at least 1.")
        check_currency(self.currency)
        moment(self.reported_at, field="reported_at")
        object.__setattr__(self, "platform", names.canonical(self.platform))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """An order that was admitted, and what is known of it."""

    order_key: str
    #: Of the newest report; 0 before the first.
    number: int = 0
    spent_micros: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class Placements:
    """The orders of a job, oldest first."""

    orders: tuple[Placement, ...] = ()
    #: The best profit that its agent has reported with any order so far.
    peak_profit_micros: int | None = None
