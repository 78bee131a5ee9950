"""The bidder's decisions, on a platform and a budget in memory."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import granted
from gaelp_ray.domain.platforms import Order
from gaelp_ray.domain.windows import Period
from gaelp_ray.training import BudgetExhausted, Denied, TrainingContext
from gaelp_ray.training.orders import Delivery, Placed, Proposal
from gaelp_ray.training.platforms.sandbox import GOOD, SandboxPlatform
from gaelp_ray.training.reporter import ConsoleReporter
from gaelp_ray.training.trainers.bidder import Bidder, Plan
from tests.bank import MemoryBank, a_hold, a_settlement
from tests.builders import T0

CENT = 10_000
UNIT = 1_000_000


class Market(ConsoleReporter):
    """Places what the bank allows on a good platform; a second passes with each round."""

    def __init__(self, budget_micros: int | None = None) -> None:
        super().__init__()
        self.bank = MemoryBank({1: {Period.TOTAL: budget_micros}})
        self.platform = SandboxPlatform(1, GOOD, lasts=timedelta(seconds=5))
        self.time = 0.0
        self.verdicts: list[GaelpError] = []
        self.asked: list[int] = []
        self.metrics: list[dict[str, float]] = []
        self.most_bid: int | None = None

    @property
    def now(self) -> datetime:
        return T0 + timedelta(seconds=self.time)

    def report(self, metrics: Any, **_: Any) -> None:
        self.metrics.append(dict(metrics))

    def place(self, proposal: Proposal, profit_micros: int | None) -> Placed:
        self.asked.append(proposal.amount_micros)
        if self.verdicts:
            raise self.verdicts.pop(0)
        amount, bid = proposal.amount_micros, proposal.bid_micros
        assert bid is not None
        margin = -(-amount * 15 // 100)
        outcome = self.bank.ask(
            a_hold(proposal.key, amount=amount, margin_micros=margin, ttl=timedelta(days=1))
        )
        if isinstance(outcome, GaelpError):
            raise BudgetExhausted(outcome.message, **outcome.details)
        granted(outcome)
        clipped = self.most_bid is not None and bid > self.most_bid
        bid = min(bid, self.most_bid or bid)
        order = Order(key=proposal.key, campaign="c", currency="EUR", amount_micros=amount, bid_micros=bid)
        self.platform.place(order, now=self.now)
        reasons = ("Too high a bid.",) if clipped else ()
        return Placed(key=proposal.key, amount_micros=amount, bid_micros=bid, reasons=reasons)

    def deliveries(self) -> list[Delivery]:
        found = self.platform.reports(now=self.now)
        for report in found:
            if report.final:
                self.bank.ask(a_settlement(report.order_key, report.cost_micros))
        return [Delivery(key=r.order_key, spent_micros=r.cost_micros, final=r.final) for r in found]

    def bidder(self, *, attempt: int = 1, **plan: Any) -> Bidder:
        ctx = TrainingContext(self, attempt=attempt, config={"platform": {"name": "sandbox"}})
        return Bidder(ctx, Plan(**plan), clock=lambda: self.time)

    def play(self, bidder: Bidder, rounds: int) -> None:
        for _ in range(rounds):
            self.time += 1.0
            bidder.round()


def test_it_never_runs_ahead_of_its_pace() -> None:
    market = Market()
    bidder = market.bidder(pace_micros_per_s=UNIT // 2, most_open=100)
    for second in range(1, 30):
        market.play(bidder, 1)
        assert bidder.book.committed_micros <= second * UNIT // 2
    assert bidder.book.committed_micros == 14 * UNIT


def test_it_keeps_few_orders_open() -> None:
    market = Market()
    bidder = market.bidder(pace_micros_per_s=100 * UNIT, most_open=2)
    for _ in range(20):
        market.play(bidder, 1)
        assert len(bidder.book.open) <= 2
    assert len(bidder.book.placed) > 4


def test_it_is_done_after_its_orders() -> None:
    market = Market()
    bidder = market.bidder(orders=3, pace_micros_per_s=100 * UNIT)
    market.play(bidder, 3)
    assert not bidder.done
    market.play(bidder, 6)
    assert bidder.done
    assert market.bank.used() == (0, 3 * UNIT)


def test_it_uses_its_budget_up_to_the_last_cents() -> None:
    market = Market(budget_micros=10 * UNIT)
    bidder = market.bidder(pace_micros_per_s=100 * UNIT)
    with pytest.raises(BudgetExhausted):
        market.play(bidder, 1000)
    pending, posted = market.bank.used()
    assert pending == 0
    assert 10 * UNIT - 2 * CENT < posted <= 10 * UNIT


def test_after_a_denial_it_waits_longer_each_time() -> None:
    market = Market()
    market.verdicts = [Denied("Too fast.") for _ in range(4)]
    bidder = market.bidder(pace_micros_per_s=100 * UNIT)
    tried_at = []
    for round_ in range(1, 20):
        before = len(market.asked)
        market.play(bidder, 1)
        tried_at += [round_] * (len(market.asked) - before)
    assert tried_at[:5] == [1, 2, 4, 8, 16]
    assert bidder.book.denied == 4


def test_it_reports_what_it_bought_for_the_bid_that_was_allowed() -> None:
    market = Market()
    market.most_bid = UNIT // 4
    bidder = market.bidder(
        orders=1, bid_micros=UNIT // 2, click_value_micros=UNIT // 2, pace_micros_per_s=2 * UNIT
    )
    market.play(bidder, 8)
    assert market.metrics[-1] == {"spend": 1.0, "clicks": 4.0, "profit": 1.0, "open_orders": 0}
    assert bidder.book.clipped == 1


def test_a_resumed_bidder_goes_on_at_its_pace_from_what_was_spent() -> None:
    market = Market()
    first = market.bidder(orders=4, pace_micros_per_s=100 * UNIT)
    market.play(first, 1)
    market.time += 10
    second = market.bidder(attempt=2, pace_micros_per_s=UNIT)
    assert second.book.spent_micros == UNIT
    market.play(second, 1)
    assert second.book.committed_micros == 2 * UNIT


@pytest.mark.parametrize(
    "mistake",
    [{"order_micros": 1}, {"most_open": 0}, {"pace_micros_per_s": -1}, {"round_s": 0}, {"orders": -1}],
)
def test_hyperparameters_out_of_range_are_refused(mistake: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(mistake))):
        Plan(**mistake)
