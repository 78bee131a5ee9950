"""Approvals on the wire."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import Field

from gaelp_ray.domain.approvals import MAX_TTL, TWO_PEOPLE, Approval, ApprovalState, NewApproval, Purpose
from gaelp_ray.domain.ledger import MAX_REASON
from gaelp_ray.domain.windows import Period
from serve_app.schemas.common import CurrencyCode, In, Items, Number, Out, WholeNumber


class ApprovalIn(In):
    purpose: Purpose
    subject: str = Field(
        description="What may be done: `agent 7` for spend, `version 12` for promotion, `policy safe` for "
        "policy, `account 3` for limit, or `agent 7` for a budget in another currency."
    )
    reason: str = Field(min_length=1, max_length=MAX_REASON)
    amount_micros: WholeNumber | None = Field(default=None, description="The most that it is good for.")
    currency: CurrencyCode | None = None
    period: Period | None = Field(default=None, description="Of a limit: which one.")
    change: str | None = Field(
        default=None,
        max_length=100,
        description="Of a policy: `attach 2 to global`, `detach from agent 7`.",
    )
    needed: WholeNumber = Field(default=TWO_PEOPLE, description="Other people who must agree.")
    ttl_seconds: Number = Field(default=86_400, gt=0, le=MAX_TTL.total_seconds())

    def new(self) -> NewApproval:
        return NewApproval(
            purpose=self.purpose,
            subject=self.subject,
            reason=self.reason,
            ttl=timedelta(seconds=self.ttl_seconds),
            amount_micros=self.amount_micros,
            currency=self.currency,
            period=self.period,
            change=self.change,
            needed=self.needed,
        )


class VoteIn(In):
    reason: str = Field(min_length=1, max_length=MAX_REASON)


class VoteOut(Out):
    voter: str
    approves: bool
    reason: str
    at: datetime


class ApprovalOut(Out):
    id: int
    purpose: Purpose
    subject: str
    state: ApprovalState
    reason: str
    amount_micros: int | None
    currency: str | None
    period: Period | None
    change: str | None
    needed: int
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    used_for: str | None
    votes: list[VoteOut]

    @staticmethod
    def of(approval: Approval) -> ApprovalOut:
        return ApprovalOut.model_validate(approval)


class ApprovalPage(Items):
    items: list[ApprovalOut]
