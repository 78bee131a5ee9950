"""The second-price rule, against a plain loop that spells it out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gaelp_ray.training.environments.clearing import Clearing, clear


class Batch(NamedTuple):
    bid: int
    competing: NDArray[np.int64]
    clicked: NDArray[np.bool_]
    budget: int


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    bidders = draw(st.integers(2, 5))
    # Few distinct bids, so that ties are common.
    auction = st.lists(st.integers(0, 6), min_size=bidders, max_size=bidders)
    auctions = draw(st.lists(st.tuples(auction, st.booleans()), max_size=12))
    competing = np.array([bids for bids, _ in auctions], dtype=np.int64).reshape(-1, bidders).T
    clicked = np.array([click for _, click in auctions], dtype=bool)
    return Batch(draw(st.integers(0, 8)), competing, clicked, draw(st.integers(0, 20)))


def run(batch: Batch) -> Clearing:
    return clear(batch.bid, batch.competing, batch.clicked, budget=batch.budget)


@given(batches())
def test_the_highest_bidder_wins_and_pays_the_highest_competing_bid(batch: Batch) -> None:
    result = run(batch)
    left, present = batch.budget, True
    won, paid = [], []
    rivals = [0] * len(batch.competing)
    for bids, click in zip(batch.competing.T.tolist(), batch.clicked.tolist(), strict=True):
        price = max(bids)
        wins = present and batch.bid > price
        if wins and click and price > left:
            present = wins = False
        won.append(wins)
        if wins and click:
            left -= price
            paid.append(price)
        elif click:
            winner = bids.index(price)
            others = bids[:winner] + bids[winner + 1 :] + ([batch.bid] if present else [])
            rivals[winner] += max(others)
    assert result.won.tolist() == won
    assert result.prices.tolist() == paid
    assert result.rival_spend == rivals


@given(batches())
def test_a_click_costs_less_than_the_bid_and_all_clicks_no_more_than_the_budget(batch: Batch) -> None:
    result = run(batch)
    assert (result.prices < batch.bid).all()
    assert result.prices.sum() <= batch.budget


@given(batches())
def test_only_clicks_on_auctions_won_are_bought(batch: Batch) -> None:
    result = run(batch)
    assert result.bought.tolist() == np.flatnonzero(result.won & batch.clicked).tolist()


def test_impressions_without_a_click_are_free() -> None:
    result = clear(9, np.array([[5, 5], [1, 1]]), np.array([False, False]), budget=100)
    assert result.won.all()
    assert result.prices.sum() == 0
    assert result.rival_spend == [0, 0]


def test_the_agent_withdraws_at_the_first_click_it_cannot_pay() -> None:
    competing = np.array([[4, 4, 2], [1, 1, 1]])
    result = clear(9, competing, np.array([True, True, True]), budget=7)
    assert result.won.tolist() == [True, False, False]
    # Without the agent the first rival wins the rest, at the second rival's bid.
    assert result.rival_spend == [2, 0]
