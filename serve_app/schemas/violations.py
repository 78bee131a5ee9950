"""Violations on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from gaelp_ray.domain.safety.verdicts import Severity
from gaelp_ray.store.reviews import Violation
from serve_app.schemas.common import Items, Out


class ViolationOut(Out):
    """A rule that an action broke."""

    id: int
    agent_id: int
    policy_id: int | None = Field(description="null: the action itself was malformed.")
    severity: Severity
    code: str
    message: str
    amount_micros: Any = Field(
        description="What the action was to cost; as it was asked for, so it may be no number."
    )
    currency: str
    campaign: str
    at: datetime

    @staticmethod
    def of(violation: Violation) -> ViolationOut:
        action = violation.action
        return ViolationOut.model_construct(
            id=violation.id,
            agent_id=violation.agent_id,
            policy_id=violation.policy_id,
            severity=violation.severity,
            code=violation.code,
            message=violation.message,
            amount_micros=action.amount_micros,
            currency=action.currency,
            campaign=action.campaign,
            at=violation.at,
        )


class ViolationPage(Items):
    items: list[ViolationOut]


class CountOut(Out):
    severity: Severity
    code: str
    count: int


class CountList(Out):
    since: datetime
    items: list[CountOut]

    @staticmethod
    def of(since: datetime, found: Mapping[tuple[str, str], int]) -> CountList:
        items = [
            CountOut.model_construct(severity=Severity(severity), code=code, count=count)
            for (severity, code), count in sorted(found.items())
        ]
        return CountList.model_construct(since=since, items=items)
