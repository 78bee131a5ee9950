"""Quotas on the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.quotas import UNLIMITED, Quota, QuotaKind, read_amounts, written
from gaelp_ray.services.quotas import QuotaUsage, UsagePoint
from gaelp_ray.store.quotas import StoredQuota
from serve_app.schemas.common import In, Items, Number, Out, Quantities, TeamName, WholeNumber

_EXAMPLE: JsonDict = {
    "team": "ads",
    "limit": {"cpu": "64", "memory": "256Gi", "gpu": 4, "jobs": 20},
    "borrowing": {"gpu": 4},
    "lending": {"gpu": 2},
    "weight": 2.0,
    "queued": 1000,
}
_MAX_QUEUED = 10**9

Unlimited = Literal["unlimited"]


class Members(StrEnum):
    """Whose quota an address names."""

    USERS = "users"
    TEAMS = "teams"

    @property
    def kind(self) -> QuotaKind:
        return QuotaKind.USER if self is Members.USERS else QuotaKind.TEAM


class QuotaIn(In):
    """A quota as it shall be. Amounts are Kubernetes quantities; what is left out is unlimited."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    limit: Quantities = Field(
        default_factory=dict, description="At once: cpu, memory, gpu, storage, jobs; or `unlimited`."
    )
    team: TeamName | None = Field(default=None, description="A user's team.")
    borrowing: Quantities = Field(
        default_factory=dict, description="How much over `limit` he may borrow from teammates."
    )
    lending: Quantities = Field(
        default_factory=dict,
        description="How much of `limit` teammates may borrow while he leaves it unused.",
    )
    weight: Number = Field(default=1.0, description="A user of weight 2 is due twice the share of one of 1.")
    queued: Annotated[WholeNumber, Field(ge=0, le=_MAX_QUEUED)] | Unlimited = Field(
        default="unlimited", description="Jobs that may wait in all."
    )

    def quota(self, kind: QuotaKind, name: str) -> Quota:
        return Quota(
            kind=kind,
            name=name,
            team=self.team,
            limit=read_amounts(self.limit, name="limit", default=UNLIMITED),
            borrowing=read_amounts(self.borrowing, name="borrowing", default=UNLIMITED),
            lending=read_amounts(self.lending, name="lending", default=UNLIMITED),
            weight=self.weight,
            queued=UNLIMITED if self.queued == "unlimited" else self.queued,
        )


class QuotaOut(Out):
    kind: QuotaKind
    name: str
    team: str | None
    limit: dict[str, str]
    borrowing: dict[str, str]
    lending: dict[str, str]
    weight: float
    queued: int | Unlimited
    updated_at: datetime | None = Field(description="null: nobody set it, a default applies.")
    updated_by: str | None

    @staticmethod
    def of(stored: StoredQuota) -> QuotaOut:
        quota = stored.quota
        return QuotaOut.model_construct(
            kind=quota.kind,
            name=quota.name,
            team=quota.team,
            limit=written(quota.limit),
            borrowing=written(quota.borrowing),
            lending=written(quota.lending),
            weight=quota.weight,
            queued="unlimited" if quota.queued >= UNLIMITED else quota.queued,
            updated_at=stored.updated_at,
            updated_by=stored.updated_by,
        )


class QuotaPage(Items):
    items: list[QuotaOut]


class UsageOut(Out):
    """What is held under a quota now."""

    kind: QuotaKind
    name: str
    limit: dict[str, str]
    held: dict[str, str]
    waiting: int = Field(description="Jobs that wait.")
    members: dict[str, dict[str, str]] = Field(description="Of a team: what each member holds.")

    @staticmethod
    def of(kind: QuotaKind, name: str, usage: QuotaUsage) -> UsageOut:
        return UsageOut.model_construct(
            kind=kind,
            name=name,
            limit=written(usage.quota.limit),
            held=written(usage.held),
            waiting=usage.waiting,
            members={member: written(held) for member, held in usage.members.items()},
        )


class UsagePointOut(Out):
    at: datetime
    average: float = Field(description="Held on average from then to the next point.")


class UsageHistoryOut(Out):
    resource: str
    unit: str
    items: list[UsagePointOut]

    @staticmethod
    def of(resource: str, points: list[UsagePoint]) -> UsageHistoryOut:
        unit, scale = _UNITS[resource]
        items = [UsagePointOut.model_construct(at=each.at, average=each.average / scale) for each in points]
        return UsageHistoryOut.model_construct(resource=resource, unit=unit, items=items)


#: Resource -> the unit that people read, and how many of the units that are counted make one.
_UNITS = {
    "cpu": ("cores", 1000),
    "memory": ("bytes", 1),
    "gpu": ("GPUs", 1000),
    "storage": ("bytes", 1),
    "jobs": ("jobs", 1),
}
