"""Budgets, over HTTP. Every amount is a whole number of micros: a millionth of a unit of currency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from gaelp_ray.client.http import API, Http
from gaelp_ray.client.models import Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_items, read_page
from gaelp_ray.client.problems import problem_error
from gaelp_ray.client.wire import read
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import AtExpiry, Money, Scope
from gaelp_ray.domain.windows import Period


@dataclass(frozen=True)
class Projection:
    """Where spending leads at the pace of the last day."""

    #: None: not before the window ends.
    exhausted_at: datetime | None = None
    spent_at_end_micros: int | None = None


@dataclass(frozen=True)
class BudgetUsage:
    """How much of a limit is used in its present window."""

    period: str
    #: None: counted, not limited.
    limit_micros: int | None = None
    pending_micros: int = 0
    posted_micros: int = 0
    remaining_micros: int | None = None
    #: None for ``total``.
    window_starts_at: datetime | None = None
    window_ends_at: datetime | None = None
    #: More is used than the limit allows.
    over: bool = False
    breached_at: datetime | None = None
    projection: Projection | None = None


@dataclass(frozen=True)
class Budget:
    """Whose money is limited, and how much of it is used."""

    id: int
    scope: str
    subject: str
    currency: str
    money: str
    timezone: str = "UTC"
    closes_at: datetime | None = None
    #: Of the shortest period first.
    usages: tuple[BudgetUsage, ...] = ()


@dataclass(frozen=True)
class VerdictReason:
    code: str
    message: str = ""
    policy: str | None = None


@dataclass(frozen=True)
class ReviewedAction:
    """What the policies let happen of an action."""

    #: ``allow``, or ``clip``: less than what was asked for.
    verdict: str
    amount_micros: int
    bid_micros: int | None = None
    reasons: tuple[VerdictReason, ...] = ()


@dataclass(frozen=True)
class Receipt:
    """An operation that was carried out."""

    key: str
    operation: str
    #: Held with its margin, posted, given back, spent or corrected.
    amount_micros: int
    at: datetime
    hold_key: str | None = None
    expires_at: datetime | None = None
    #: It took some budget past a limit.
    breached: bool = False
    #: Of real money of an agent.
    action: ReviewedAction | None = None


@dataclass(frozen=True)
class Renewal:
    settled: Receipt
    hold: Receipt


@dataclass(frozen=True)
class HeldMoney:
    """A hold as it stands."""

    key: str
    amount_micros: int
    state: str
    currency: str = ""
    margin_micros: int = 0
    account_ids: tuple[int, ...] = ()
    at_expiry: str = AtExpiry.RETURN
    job_id: int | None = None
    posted_micros: int = 0
    #: What was settled after it had expired.
    reported_micros: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    resolved_at: datetime | None = None


@dataclass(frozen=True)
class StatementLine:
    """A change of the balance, with the balance after it."""

    id: int
    at: datetime
    operation: str
    key: str
    hold_key: str | None = None
    pending_micros: int = 0
    posted_micros: int = 0
    #: Decides the windows that it counts in.
    counted_at: datetime | None = None
    balance_pending_micros: int = 0
    balance_posted_micros: int = 0
    note: str | None = None


@dataclass(frozen=True)
class BudgetBalance:
    at: datetime
    pending_micros: int
    posted_micros: int


@dataclass(frozen=True)
class BudgetAlert:
    """A mark of a limit that was passed, as it stood then."""

    id: int
    account_id: int
    period: str
    percent: int
    at: datetime
    limit_micros: int | None = None
    pending_micros: int = 0
    posted_micros: int = 0
    window_starts_at: datetime | None = None
    window_ends_at: datetime | None = None


@dataclass(frozen=True)
class _Answer:
    status: int
    receipt: Receipt | None = None
    problem: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Member:
    """Who may charge a campaign's budget."""

    user: str
    by: str = ""
    at: datetime | None = None


class Budgets:
    """``client.budgets``.

    What books takes a ``key``, made up where none is given, so that a request whose answer was lost is sent
    again without being booked twice. Every method may raise ``Unauthenticated``, ``Unavailable``,
    ``NotFound`` and ``Forbidden``; what holds raises ``BudgetExceeded`` past a limit and ``Halted`` under a
    kill switch.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def open(
        self,
        scope: Scope | str,
        subject: str = "",
        *,
        money: Money | str = Money.SIMULATED,
        currency: str | None = None,
        timezone: str | None = None,
        closes_at: datetime | None = None,
        limits_micros: Mapping[Period, int | None] | Mapping[str, int | None] | None = None,
    ) -> Budget:
        """Open a budget, or set the limits of one that was opened so before.

        ``currency`` is by default that of the service. Raises ``Conflict`` for one with another time zone or
        end.
        """
        body = {
            "scope": scope,
            "subject": subject,
            "money": money,
            "currency": currency,
            "timezone": timezone,
            "closes_at": closes_at,
            "limits_micros": limits_micros,
        }
        return read(Budget, self._http.post("/budgets", body, repeatable=True))

    def list(
        self,
        *,
        scope: Scope | str | None = None,
        subject: str | None = None,
        money: Money | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Budget]:
        """One page of the budgets that you may see, in the order of their ids."""
        wanted = {"scope": scope, "subject": subject, "money": money}
        return read_page(Budget, self._http.get("/budgets", **wanted, limit=limit, cursor=cursor))

    def iterate(
        self,
        *,
        scope: Scope | str | None = None,
        subject: str | None = None,
        money: Money | str | None = None,
    ) -> Iterator[Budget]:
        wanted = {"scope": scope, "subject": subject, "money": money}
        return each(lambda cursor: self.list(**wanted, limit=WHOLE_PAGE, cursor=cursor))

    def get(self, budget_id: int) -> Budget:
        """The budget with what is used and where that leads."""
        return read(Budget, self._http.get(f"/budgets/{budget_id}"))

    def limit(self, budget_id: int, period: Period | str, limit_micros: int | None) -> BudgetUsage:
        """Set a limit, or with None lift it. Raises ``NotEligible`` where an approval is missing."""
        path = f"/budgets/{budget_id}/limits/{Period(period)}"
        return read(
            BudgetUsage, self._http.put(path, {"limit_micros": limit_micros}, nulls=("limit_micros",))
        )

    def members(self, budget_id: int) -> tuple[Member, ...]:
        """Who may charge a campaign's budget, beside operators. Needs that role, as do the next two."""
        return read_items(Member, self._http.get(f"/budgets/{budget_id}/members"))

    def add_member(self, budget_id: int, user: str) -> None:
        """Let the agents of a user hold money of a campaign's budget."""
        self._http.request("PUT", f"{API}{_member(budget_id, user)}", repeatable=True)

    def remove_member(self, budget_id: int, user: str) -> None:
        self._http.delete(_member(budget_id, user))

    def hold(
        self,
        budget_id: int,
        amount_micros: int,
        *,
        key: str | None = None,
        ttl_seconds: float | None = None,
        margin_micros: int | None = None,
        at_expiry: AtExpiry | str | None = None,
        currency: str | None = None,
        campaign: str | None = None,
        action: Mapping[str, Any] | None = None,
        reported: Mapping[str, Any] | None = None,
    ) -> Receipt:
        """Reserve money; the ``key`` of the receipt names the hold.

        ``action`` and ``reported`` are for real money of an agent: the ``action`` of the receipt then says
        what may be done, and ``Denied`` or ``NotEligible`` why not.
        """
        body = {
            "key": key or _made_up(),
            "amount_micros": amount_micros,
            "ttl_seconds": ttl_seconds,
            "margin_micros": margin_micros,
            "at_expiry": at_expiry,
            "currency": currency,
            "campaign": campaign,
            "action": action,
            "reported": reported,
        }
        return self._book(f"/budgets/{budget_id}/holds", body)

    def holds(self, budget_id: int, *, limit: int = 100) -> tuple[HeldMoney, ...]:
        """What is held, first what expires first."""
        return read_items(HeldMoney, self._http.get(f"/budgets/{budget_id}/holds", limit=limit))

    def get_hold(self, budget_id: int, key: str) -> HeldMoney:
        return read(HeldMoney, self._http.get(_hold(budget_id, key)))

    def post(self, budget_id: int, key: str, amount_micros: int | None = None) -> Receipt:
        """Spend from a hold, by default all but its margin; what is left returns.

        Raises ``ExceedsHold``, ``AlreadyPosted``, ``AlreadyVoided`` and ``HoldExpired``.
        """
        return self._book(f"{_hold(budget_id, key)}/post", {"amount_micros": amount_micros})

    def void(self, budget_id: int, key: str) -> Receipt:
        """Give a hold back. Raises ``AlreadyPosted``, ``AlreadyVoided`` and ``HoldExpired``."""
        return self._book(f"{_hold(budget_id, key)}/void", {})

    def settle(self, budget_id: int, key: str, spent_micros: int) -> Receipt:
        """Say what was spent under a hold, however much and however late, instead of post or void."""
        return self._book(f"{_hold(budget_id, key)}/settle", {"spent_micros": spent_micros})

    def renew(
        self,
        budget_id: int,
        key: str,
        spent_micros: int,
        amount_micros: int,
        *,
        next_key: str | None = None,
        ttl_seconds: float | None = None,
        margin_micros: int | None = None,
        at_expiry: AtExpiry | str | None = None,
        campaign: str | None = None,
    ) -> Renewal:
        """Settle a hold and make the next in one step; the first is settled even where that is refused."""
        body = {
            "key": next_key or _made_up(),
            "spent_micros": spent_micros,
            "amount_micros": amount_micros,
            "ttl_seconds": ttl_seconds,
            "margin_micros": margin_micros,
            "at_expiry": at_expiry,
            "campaign": campaign,
        }
        return read(Renewal, self._http.post(f"{_hold(budget_id, key)}/renew", body, repeatable=True))

    def spend(
        self,
        budget_id: int,
        amount_micros: int,
        *,
        key: str | None = None,
        occurred_at: datetime | None = None,
        currency: str | None = None,
        campaign: str | None = None,
    ) -> Receipt:
        """Record money that was spent in the world already; past a limit, too."""
        body = {
            "key": key or _made_up(),
            "amount_micros": amount_micros,
            "occurred_at": occurred_at,
            "currency": currency,
            "campaign": campaign,
        }
        return self._book(f"/budgets/{budget_id}/spends", body)

    def correct(
        self,
        budget_id: int,
        delta_micros: int,
        *,
        reason: str,
        counted_at: datetime | None = None,
        hold_key: str | None = None,
        key: str | None = None,
    ) -> Receipt:
        """Book a difference beside what was booked wrongly. Needs an admin's token.

        ``hold_key`` names the hold whose spending is corrected; then ``counted_at`` is by default its moment.
        """
        body = {
            "key": key or _made_up(),
            "delta_micros": delta_micros,
            "counted_at": counted_at,
            "reason": reason,
            "hold_key": hold_key,
        }
        return self._book(f"/budgets/{budget_id}/corrections", body)

    def operations(
        self, budget_id: int, operations: Sequence[Mapping[str, Any]]
    ) -> tuple[Receipt | GaelpError, ...]:
        """Carry out up to 256 operations in one request; a receipt or the error for each, in order.

        Each is ``{"operation": "hold", "key": ..., "amount_micros": ...}``, or ``post``, ``void`` and
        ``settle`` with a ``hold_key``, or ``spend``.
        """
        body = {"operations": [dict(each) for each in operations]}
        answer = self._http.post(f"/budgets/{budget_id}/operations", body, repeatable=True)
        return tuple(found.receipt or problem_error(found.problem) for found in read_items(_Answer, answer))

    def statement(
        self,
        budget_id: int,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[StatementLine]:
        """One page of what changed the balance, oldest first, by default of the last 30 days."""
        path, span = f"/budgets/{budget_id}/statement", {"since": since, "until": until}
        return read_page(StatementLine, self._http.get(path, **span, limit=limit, cursor=cursor))

    def export(
        self, budget_id: int, *, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[str]:
        """The whole statement as the text of a CSV file, as it arrives."""
        span = {"since": since, "until": until}
        return self._http.stream(f"/budgets/{budget_id}/statement", **span, format="csv")

    def balance(self, budget_id: int, *, at: datetime | None = None) -> BudgetBalance:
        """What was pending and posted at a moment, by default now."""
        return read(BudgetBalance, self._http.get(f"/budgets/{budget_id}/balance", at=at))

    def alerts(
        self, budget_id: int | None = None, *, limit: int = 100, cursor: str | None = None
    ) -> Page[BudgetAlert]:
        """Marks that were passed, oldest first: of one budget, or for operators of all."""
        path = "/budgets/alerts" if budget_id is None else f"/budgets/{budget_id}/alerts"
        return read_page(BudgetAlert, self._http.get(path, limit=limit, cursor=cursor))

    def _book(self, path: str, body: Mapping[str, Any]) -> Receipt:
        return read(Receipt, self._http.post(path, body, repeatable=True))


def _hold(budget_id: int, key: str) -> str:
    return f"/budgets/{budget_id}/holds/{quote(key, safe='')}"


def _made_up() -> str:
    return uuid4().hex


def _member(budget_id: int, user: str) -> str:
    return f"/budgets/{budget_id}/members/{quote(user, safe='')}"
