"""Kill switches on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gaelp_ray.domain.ledger import MAX_REASON
from gaelp_ray.domain.switches import Covered, Switch, SwitchScope, Target
from serve_app.schemas.common import In, Out


class SwitchIn(In):
    scope: SwitchScope
    subject: str = Field(
        default="", description="The agent's id, the user's or the campaign's name; empty for global."
    )
    reason: str = Field(min_length=1, max_length=MAX_REASON)

    def target(self) -> Target:
        return Target(self.scope, self.subject)


class CoveredOut(Out):
    """What it stops as things are; what comes later under the same name is stopped as well."""

    agents: int
    accounts: int
    jobs: int = Field(description="That have not ended.")
    agent_ids: list[int] = Field(description="The first 100.")
    account_ids: list[int] = Field(description="The first 100.")
    notice: str | None = Field(description="Where it stops nothing now.")

    @staticmethod
    def of(covered: Covered, target: Target) -> CoveredOut:
        nothing = not (covered.agent_count or covered.account_count or covered.job_count)
        return CoveredOut.model_construct(
            agents=covered.agent_count,
            accounts=covered.account_count,
            jobs=covered.job_count,
            agent_ids=list(covered.agents),
            account_ids=list(covered.accounts),
            notice=f"Nothing is known of {target} now; check how it is written." if nothing else None,
        )


class SwitchOut(Out):
    scope: SwitchScope
    subject: str
    engaged: bool
    reason: str
    by: str
    at: datetime
    covers: CoveredOut | None = Field(default=None, description="null in lists.")

    @staticmethod
    def of(switch: Switch, covered: Covered | None = None) -> SwitchOut:
        return SwitchOut.model_construct(
            scope=switch.target.scope,
            subject=switch.target.subject,
            engaged=switch.engaged,
            reason=switch.reason,
            by=switch.changed_by,
            at=switch.changed_at,
            covers=None if covered is None else CoveredOut.of(covered, switch.target),
        )


class SwitchList(Out):
    items: list[SwitchOut]
