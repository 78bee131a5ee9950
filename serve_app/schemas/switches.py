"""Kill switches on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gaelp_ray.domain.ledger import MAX_REASON
from gaelp_ray.domain.switches import Switch, SwitchScope, Target
from serve_app.schemas.common import In, Out


class SwitchIn(In):
    scope: SwitchScope
    subject: str = Field(
        default="", description="The agent's id, the user's or the campaign's name; empty for global."
    )
    reason: str = Field(min_length=1, max_length=MAX_REASON)

    def target(self) -> Target:
        return Target(self.scope, self.subject)


class SwitchOut(Out):
    scope: SwitchScope
    subject: str
    engaged: bool
    reason: str
    by: str
    at: datetime

    @staticmethod
    def of(switch: Switch) -> SwitchOut:
        return SwitchOut.model_construct(
            scope=switch.target.scope,
            subject=switch.target.subject,
            engaged=switch.engaged,
            reason=switch.reason,
            by=switch.changed_by,
            at=switch.changed_at,
        )


class SwitchList(Out):
    items: list[SwitchOut]
