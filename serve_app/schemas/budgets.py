"""Budgets on the wire. Every amount is a whole number of micros, and its name ends in ``_micros``."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.budgets import Alert, Projection, Usage
from gaelp_ray.domain.ledger import (
    Account,
    Money,
    NewAccount,
    Scope,
)
from gaelp_ray.domain.windows import ALWAYS, Period
from serve_app.schemas.common import In, Instant, Items, Micros, Out, Zone

_OPEN: JsonDict = {
    "scope": "team",
    "subject": "ads",
    "money": "real",
    "currency": "EUR",
    "timezone": "Europe/Berlin",
    "limits_micros": {"day": 500_000_000, "total": 10_000_000_000},
}


class BudgetIn(In):
    """An account to open."""

    model_config = ConfigDict(json_schema_extra={"examples": [_OPEN]})

    scope: Scope
    subject: str = Field(default="", description="An agent's id, a name; empty for the global budget.")
    money: Money
    currency: str | None = Field(default=None, description="ISO 4217; by default that of the service.")
    timezone: Zone = Field(default="UTC", description="Whose days and months the limits go by.")
    closes_at: Instant | None = Field(default=None, description="From then on it takes no new holds.")
    limits_micros: dict[Period, Micros | None] = Field(
        default_factory=dict, description="By period; null counts without limiting."
    )

    def new(self, currency: str) -> NewAccount:
        return NewAccount(
            scope=self.scope,
            subject=self.subject,
            currency=currency if self.currency is None else self.currency,
            money=self.money,
            timezone=self.timezone,
            closes_at=self.closes_at,
        )


class LimitIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"limit_micros": 500_000_000}]})

    limit_micros: Micros | None = Field(description="null lifts the limit: it is still counted.")


class ProjectionOut(Out):
    """Where spending leads at the pace of the last day."""

    exhausted_at: datetime | None = Field(description="null: not before the window ends.")
    spent_at_end_micros: int | None = Field(description="null for a window without an end.")


class UsageOut(Out):
    """How much of a limit is used in its present window."""

    period: Period
    limit_micros: int | None = Field(description="null: counted, not limited.")
    pending_micros: int
    posted_micros: int
    remaining_micros: int | None
    window_starts_at: datetime | None = Field(description="null for `total`.")
    window_ends_at: datetime | None
    over: bool = Field(description="More is used than the limit allows.")
    breached_at: datetime | None = Field(description="When spent money first took it past its limit.")
    projection: ProjectionOut | None = None

    @staticmethod
    def of(usage: Usage, projection: Projection | None = None) -> UsageOut:
        bounded = usage.window != ALWAYS
        return UsageOut.model_construct(
            period=usage.period,
            limit_micros=usage.limit_micros,
            pending_micros=usage.pending_micros,
            posted_micros=usage.posted_micros,
            remaining_micros=usage.remaining_micros,
            window_starts_at=usage.window.starts_at if bounded else None,
            window_ends_at=usage.window.ends_at if bounded else None,
            over=usage.is_over,
            breached_at=usage.breached_at,
            projection=None if projection is None else ProjectionOut.model_validate(projection),
        )


class BudgetOut(Out):
    id: int
    scope: Scope
    subject: str
    currency: str
    money: Money
    timezone: str
    closes_at: datetime | None
    usages: list[UsageOut] = Field(description="Of the shortest period first.")

    @staticmethod
    def of(account: Account, usages: list[UsageOut]) -> BudgetOut:
        return BudgetOut.model_construct(
            id=account.id,
            scope=account.scope,
            subject=account.subject,
            currency=account.currency,
            money=account.money,
            timezone=account.timezone,
            closes_at=account.closes_at,
            usages=usages,
        )


class BudgetPage(Items):
    items: list[BudgetOut]


class MemberOut(Out):
    """Who may charge a campaign's budget."""

    user: str
    by: str
    at: datetime


class MemberList(Out):
    items: list[MemberOut]


class AlertOut(Out):
    """A mark of a limit that was passed, as it stood then."""

    id: int
    account_id: int
    period: Period
    percent: int
    at: datetime
    limit_micros: int | None
    pending_micros: int
    posted_micros: int
    window_starts_at: datetime | None
    window_ends_at: datetime | None

    @staticmethod
    def of(alert_id: int, alert: Alert) -> AlertOut:
        usage = alert.usage
        bounded = usage.period is not Period.TOTAL
        return AlertOut.model_construct(
            id=alert_id,
            account_id=usage.account_id,
            period=usage.period,
            percent=alert.percent,
            at=alert.at,
            limit_micros=usage.limit_micros,
            pending_micros=usage.pending_micros,
            posted_micros=usage.posted_micros,
            window_starts_at=usage.window.starts_at if bounded else None,
            window_ends_at=usage.window.ends_at if bounded else None,
        )


class AlertPage(Items):
    items: list[AlertOut]
