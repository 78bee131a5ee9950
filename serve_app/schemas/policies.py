"""Policies on the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.safety import policies as rules
from gaelp_ray.domain.safety.dry_run import Replayed
from gaelp_ray.domain.safety.policies import Attach, Attachment, Policy
from gaelp_ray.domain.safety.verdicts import Allow, Clip
from serve_app.schemas.booking import MAX_REASONS
from serve_app.schemas.common import In, Instant, Items, Json, Out, WholeNumber, Zone

_EXAMPLE: JsonDict = {
    "currency": "EUR",
    "rules": [
        {"rule": "bid_cap", "max_micros": 2_000_000},
        {"rule": "spend_cap", "period": "day", "max_micros": 500_000_000},
        {"rule": "drawdown", "max_micros": 100_000_000},
    ],
}


class PolicyIn(In):
    """The rules of a policy. Amounts are whole micros."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    currency: str | None = Field(default=None, description="ISO 4217, of all amounts in the rules.")
    rules: list[Json] = Field(description="Each an object with `rule`, the kind of it, and its fields.")

    def document(self) -> dict[str, Any]:
        return {"currency": self.currency, "rules": self.rules}


class PlaceIn(In):
    scope: Attach = Field(description="`agent`, `type` of agents, or `global`.")
    subject: str = Field(default="", description="The agent's id or the type; empty for global.")
    version: WholeNumber | None = Field(default=None, ge=1, description="The newest unless named.")

    def place(self) -> Attachment:
        return Attachment(self.scope, self.subject)


class PlaceOut(Out):
    scope: Attach
    subject: str


class PolicyOut(Out):
    id: int
    name: str
    version: int
    currency: str | None
    rules: list[dict[str, Any]]
    attached_to: list[PlaceOut] = Field(description="Now.")

    @staticmethod
    def of(policy: Policy, places: Iterable[Attachment]) -> PolicyOut:
        return PolicyOut.model_construct(
            id=policy.id,
            name=policy.name,
            version=policy.version,
            attached_to=[PlaceOut.model_validate(place) for place in places],
            **rules.write(policy),
        )


class PolicyPage(Items):
    items: list[PolicyOut]

    @staticmethod
    def of(
        policies: Iterable[Policy], places: Mapping[int, list[Attachment]], following: str | None = None
    ) -> PolicyPage:
        items = [PolicyOut.of(policy, places[policy.id]) for policy in policies]
        return PolicyPage.model_construct(items=items, next_cursor=following)


class DryRunIn(In):
    """Either `policy`, a document, or `name` of a stored one."""

    agent_id: WholeNumber = Field(ge=1, le=2**63 - 1)
    policy: PolicyIn | None = None
    name: str | None = None
    version: WholeNumber | None = Field(default=None, ge=1, description="Of `name`; the newest unless named.")
    since: Instant | None = Field(default=None, description="Thirty days before `until`.")
    until: Instant | None = Field(default=None, description="Now.")
    timezone: Zone = Field(default="UTC", description="In which days, weeks and months begin.")


class ReplayedOut(Out):
    """What an action of the past would have met."""

    at: datetime
    amount_micros: int
    currency: str
    verdict: str
    allowed_micros: int | None = Field(description="What would have been let through.")
    reasons: list[str] = Field(description=f"Of many the first {MAX_REASONS}.")

    @staticmethod
    def of(replayed: Replayed) -> ReplayedOut:
        verdict, action = replayed.verdict, replayed.recorded.action
        return ReplayedOut.model_construct(
            at=replayed.recorded.at,
            amount_micros=action.amount_micros,
            currency=action.currency,
            verdict=type(verdict).__name__.lower(),
            allowed_micros=verdict.action.amount_micros if isinstance(verdict, Allow | Clip) else None,
            reasons=[]
            if isinstance(verdict, Allow)
            else [each.message for each in verdict.reasons[:MAX_REASONS]],
        )


class DryRunOut(Out):
    verdicts: dict[str, int] = Field(description="How many of each.")
    items: list[ReplayedOut] = Field(description="The newest, oldest of them first.")

    @staticmethod
    def of(replayed: list[Replayed], *, limit: int) -> DryRunOut:
        found = [ReplayedOut.of(each) for each in replayed]
        verdicts: dict[str, int] = {}
        for each in found:
            verdicts[each.verdict] = verdicts.get(each.verdict, 0) + 1
        return DryRunOut.model_construct(verdicts=verdicts, items=found[-limit:])
