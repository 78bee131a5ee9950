"""The reference agent for real money: it buys clicks on an ad platform, at an even pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gaelp_ray.domain.money import units_from_micros
from gaelp_ray.training.budget import BudgetExhausted
from gaelp_ray.training.environments.settings import build, require, require_numbers
from gaelp_ray.training.orders import Delivery, Denied, Placed, margin_percent

if TYPE_CHECKING:
    from gaelp_ray.training.context import TrainingContext

#: The smallest order that is worth a call.
LEAST_MICROS = 10_000
#: After an order was denied, rounds until the next is tried; twice as many after each, up to the second.
FIRST_WAIT, LONGEST_WAIT = 1, 16


@dataclass(frozen=True)
class Plan:
    """Hyperparameters of the bidder."""

    #: What one order may cost, and how many may be open at a time.
    order_micros: int = 1_000_000
    most_open: int = 4
    #: The most it pays for a click, and what one is worth to it.
    bid_micros: int = 500_000
    click_value_micros: int = 600_000
    #: It never runs ahead of this.
    pace_micros_per_s: int = 1_000_000
    round_s: float = 0.5
    #: After so many orders it is done; 0: when its budget is.
    orders: int = 0
    campaign: str = ""

    def __post_init__(self) -> None:
        require_numbers(self)
        for name in ("order_micros", "most_open", "bid_micros", "click_value_micros", "pace_micros_per_s"):
            require(getattr(self, name) > 0, f"{name} must be above 0")
        require(self.order_micros >= LEAST_MICROS, f"order_micros must be at least {LEAST_MICROS}")
        require(self.round_s > 0, "round_s must be above 0")
        require(self.orders >= 0, "orders must not be negative")


@dataclass
class Book:
    """What the bidder knows of its orders."""

    heard: dict[str, Delivery] = field(default_factory=dict)
    placed: dict[str, Placed] = field(default_factory=dict)
    denied: int = 0

    @property
    def open(self) -> list[str]:
        known = {**self.placed, **self.heard}
        return [key for key in known if key not in self.heard or not self.heard[key].final]

    @property
    def spent_micros(self) -> int:
        return sum(each.spent_micros for each in self.heard.values())

    @property
    def committed_micros(self) -> int:
        """What it will have spent if nothing more is placed: what is open counts as a whole."""
        running = [self.placed[key].amount_micros for key in self.open if key in self.placed]
        ended = [each.spent_micros for each in self.heard.values() if each.final]
        return sum(running) + sum(ended)

    @property
    def clipped(self) -> int:
        return sum(bool(each.reasons) for each in self.placed.values())

    def clicks(self, plan: Plan) -> float:
        """Bought so far, each for what was bid at last."""
        return sum(each.spent_micros / self._bid(key, plan) for key, each in self.heard.items())

    def profit_micros(self, plan: Plan) -> int:
        return round(self.clicks(plan) * plan.click_value_micros) - self.spent_micros

    def _bid(self, key: str, plan: Plan) -> int:
        placed = self.placed.get(key)
        return (placed.bid_micros if placed is not None else None) or plan.bid_micros


def run(ctx: TrainingContext) -> dict[str, Any]:
    """Buy clicks until the budget is used up, the orders are done, or it is told to stop.

    The entry point of a job with ``money: real``. In rounds it takes in what the platform reported, reports
    ``spend``, ``clicks``, ``profit`` and ``open_orders``, and places an order where its pace allows one. An
    order that is clipped is taken as it is; after one that is denied it waits, longer each time. Where the
    budget has too little left it asks for less, once what returns from open orders is back, down to a cent.

    Returns:
        ``spent_micros``, ``profit_micros``, ``placed``, ``clipped`` and ``denied``.

    Raises:
        ValueError: a hyperparameter is unknown or out of range.
        BudgetExhausted: the budget is used up.
        Halted: a kill switch is engaged.
    """
    plan = build(Plan, ctx.hyperparameters)
    bidder = Bidder(ctx, plan)
    while not ctx.should_stop() and not bidder.done:
        bidder.round()
        time.sleep(plan.round_s)
    bidder.listen()
    book = bidder.book
    return {
        "spent_micros": book.spent_micros,
        "profit_micros": book.profit_micros(plan),
        "placed": len(book.placed),
        "clipped": book.clipped,
        "denied": book.denied,
    }


class Bidder:
    """One run of the bidder."""

    def __init__(
        self, ctx: TrainingContext, plan: Plan, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ctx, self._plan, self._clock = ctx, plan, clock
        self.book = Book()
        self._started = clock()
        self._rounds = 0
        self._tried = 0
        self._wait = self._next_wait = 0
        #: What the budget had left when it refused; None while it has not.
        self._left: int | None = None
        self.listen()
        #: What earlier attempts have spent is no reason to hold back.
        self._head_start = self.book.committed_micros

    @property
    def done(self) -> bool:
        plan = self._plan
        return 0 < plan.orders <= len(self.book.placed) and not self.book.open

    def listen(self) -> None:
        """Take in what was reported. What an order did not cost is back, so it may be asked for."""
        for each in self._ctx.orders.reports():
            self.book.heard[each.key] = each
            if each.final:
                self._left = None

    def round(self) -> None:
        self._rounds += 1
        self.listen()
        self._report()
        self._wait = max(0, self._wait - 1)
        if self._wait == 0 and self._has_room():
            self._order(self._plan.order_micros)

    def _has_room(self) -> bool:
        plan, book = self._plan, self.book
        if len(book.open) >= plan.most_open or 0 < plan.orders <= len(book.placed):
            return False
        if self._left is not None and book.open:
            return False  # nothing has come back since the budget refused
        allowed = self._head_start + plan.pace_micros_per_s * (self._clock() - self._started)
        return book.committed_micros + plan.order_micros <= allowed

    def _order(self, amount_micros: int) -> None:
        self._tried += 1
        key = f"{self._ctx.attempt}.{self._tried}"
        try:
            self.book.placed[key] = self._ctx.orders.place(
                amount_micros,
                key=key,
                bid_micros=self._plan.bid_micros,
                campaign=self._plan.campaign,
                profit_micros=self.book.profit_micros(self._plan),
            )
        except Denied:
            self.book.denied += 1
            self._next_wait = min(LONGEST_WAIT, max(FIRST_WAIT, 2 * self._next_wait))
            self._wait = self._next_wait
        except BudgetExhausted as refused:
            self._ask_for_less(refused)
        else:
            self._next_wait = 0

    def _ask_for_less(self, refused: BudgetExhausted) -> None:
        self._left = refused.left_micros
        # With what is held on top of it.
        smaller = self._left * 100 // (100 + margin_percent(self._ctx.config))
        if smaller >= LEAST_MICROS:
            self._order(smaller)
        elif not self.book.open:
            raise refused

    def _report(self) -> None:
        plan, book = self._plan, self.book
        self._ctx.report(
            {
                "spend": units_from_micros(book.spent_micros),
                "clicks": book.clicks(plan),
                "profit": units_from_micros(book.profit_micros(plan)),
                "open_orders": len(book.open),
            },
            step=self._rounds,
        )
