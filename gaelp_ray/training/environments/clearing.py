"""The auction rule: sealed bids, highest wins, second price."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Clearing(NamedTuple):
    """The outcome of a batch of auctions.

    Attributes:
        won: shape (auctions,), whether the agent's ad was shown.
        bought: shape (clicks,), indices of the auctions won and clicked, in order.
        prices: shape (clicks,), micros the agent pays for each.
        rival_spend: micros each competing bidder pays for its own.
    """

    won: NDArray[np.bool_]
    bought: NDArray[np.int64]
    prices: NDArray[np.int64]
    rival_spend: list[int]


def clear(bid: int, competing: NDArray[np.int64], clicked: NDArray[np.bool_], *, budget: int) -> Clearing:
    """Clear single-slot, pay-per-click auctions by the second-price rule.

    The highest bid wins and, if its ad is clicked, pays the highest competing bid (Vickrey,
    "Counterspeculation, Auctions, and Competitive Sealed Tenders", 1961; for ads, Edelman, Ostrovsky and
    Schwarz, "Internet Advertising and the Generalized Second-Price Auction", 2007, whose one-slot case this
    is). The agent loses ties, so a click always costs it less than its bid. A reserve price is a competing
    bid by the publisher.

    Auctions happen in array order. The agent withdraws from the batch at the first click it cannot pay in
    full, so its spend never exceeds ``budget``.

    Args:
        bid: the agent's bid per click in all these auctions, micros.
        competing: shape (bidders, auctions), micros per click, at least two bidders; zero is no bid.
        clicked: shape (auctions,), whether the shopper clicks the ad shown.
        budget: the most the agent can pay, micros.
    """
    highest = competing.max(axis=0)
    won = highest < bid
    bought = (won & clicked).nonzero()[0]
    prices = highest[bought]
    affordable = int(prices.cumsum().searchsorted(budget, side="right"))
    withdrawn = len(highest)
    if affordable < len(bought):
        withdrawn = int(bought[affordable])
        won[withdrawn:] = False
    return Clearing(
        won=won,
        bought=bought[:affordable],
        prices=prices[:affordable],
        rival_spend=_rival_spend(bid, withdrawn, competing, (clicked & ~won).nonzero()[0]),
    )


def _rival_spend(
    bid: int, withdrawn: int, competing: NDArray[np.int64], sold: NDArray[np.int64]
) -> list[int]:
    """What each competitor pays for the auctions ``sold``; the agent bid in those before ``withdrawn``."""
    bids = competing[:, sold]
    price = np.maximum(np.sort(bids, axis=0)[-2], bid * (sold < withdrawn))
    # The sums are exact, though in float64: a day's spend is far below 2**53 micros.
    return [int(paid) for paid in np.bincount(bids.argmax(axis=0), price, minlength=len(bids)).tolist()]
