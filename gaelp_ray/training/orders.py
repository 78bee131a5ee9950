"""Orders that cost real money: what a job asks for, what it gets, and what it hears of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gaelp_ray.domain import errors, names
from gaelp_ray.domain.errors import GaelpError, InvalidInput

#: Of ``config["platform"]``: what is held on top of an order, for platforms deliver more than they are told.
MARGIN = "margin_percent"
DEFAULT_MARGIN_PERCENT = 15
MAX_CATEGORIES = 100


class Denied(errors.Denied):
    """The policies of the agent do not allow this order."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence for each rule that is broken."""
        return _sentences(self)


class Halted(errors.Halted):
    """A kill switch is engaged, or this order has engaged it; nothing new may be spent."""

    @property
    def reasons(self) -> tuple[str, ...]:
        return _sentences(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """An order that a job would like to place. Not checked: the gate does that."""

    #: Names the order within the job; the same key is the same order.
    key: str
    amount_micros: int
    bid_micros: int | None = None
    campaign: str = ""
    region: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the host of an agent knows of it and the ledger does not."""

    profit_micros: int | None = None
    peak_profit_micros: int | None = None
    #: The newest values of what the job reports, oldest first.
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the gate let through: the money is held."""

    #: Of the hold, and so of the order.
    order_key: str
    currency: str
    amount_micros: int
    bid_micros: int | None
    #: Why it is less than what was asked for.
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """An order that a platform has taken."""

    key: str
    #: Perhaps less than was asked for.
    amount_micros: int
    bid_micros: int | None
    #: Why it is less; empty where it is not.
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What an order has cost by the newest report, which the service has stored; if final, it is booked."""

    key: str
    spent_micros: int
    final: bool


def spelled(proposal: Proposal) -> Proposal:
    """The proposal with its region and categories in the one form that policies are compared with.

    Raises ``InvalidInput`` for what is no region or category.
    """
    given = proposal.categories
    if not isinstance(given, tuple) or len(given) > MAX_CATEGORIES:
        raise InvalidInput(f"`categories` must be at most {MAX_CATEGORIES} texts.", field="categories")
    region = None if proposal.region is None else names.region(proposal.region)
    return replace(proposal, region=region, categories=tuple(names.category(each) for each in given))


def order_prefix(job_id: int) -> str:
    """How the keys of a job's orders begin, and so those of the holds that pay for them."""
    return f"job {job_id} order "


def platform_options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """``config["platform"]``; raises ``InvalidInput`` where it names no platform."""
    options = config.get("platform")
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise InvalidInput(
            'A job that spends real money needs `config` with its platform, such as {"platform": {"name": '
            '"sandbox"}}.'
        )
    return options


def margin_percent(config: Mapping[str, Any]) -> int:
    """What is held on top of an order, in percent of its amount."""
    percent = platform_options(config).get(MARGIN, DEFAULT_MARGIN_PERCENT)
    if type(percent) is not int or not 0 <= percent <= 100:
        raise InvalidInput(f"`platform.{MARGIN}` must be a whole number from 0 to 100; got {percent!r:.60}.")
    return percent


def margin_micros(amount_micros: int, config: Mapping[str, Any]) -> int:
    """That in micros, rounded up."""
    return -(-amount_micros * margin_percent(config) // 100)


def _sentences(error: GaelpError) -> tuple[str, ...]:
    reasons = error.details.get("reasons") or [{"message": error.message}]
    return tuple(reason["message"] for reason in reasons)
