"""Holds on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gaelp_ray.domain.holds import Hold, HoldMode, HoldScope
from serve_app.schemas.common import In, Out


class HoldIn(In):
    mode: HoldMode = Field(
        default=HoldMode.HOLD,
        description="`hold`: nothing new starts; `hold_and_drain`: and what runs saves and waits again.",
    )
    reason: str = Field(default="", max_length=1000, description="What the owners of waiting jobs are told.")


class HoldOut(Out):
    scope: HoldScope
    name: str | None = Field(description="The team's or user's name, the agent's id; null for global.")
    mode: HoldMode
    reason: str
    by: str
    at: datetime

    @staticmethod
    def of(hold: Hold) -> HoldOut:
        return HoldOut.model_construct(
            scope=hold.scope,
            name=hold.name or None,
            mode=hold.mode,
            reason=hold.reason,
            by=hold.by,
            at=hold.at,
        )


class HoldList(Out):
    items: list[HoldOut]
