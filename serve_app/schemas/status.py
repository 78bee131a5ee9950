"""The system's status on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from gaelp_ray.store.set_aside import SetAside
from serve_app.schemas.common import Out


class ClusterOut(Out):
    nodes: int
    total: dict[str, str]
    claimed: dict[str, str]
    free: dict[str, str]


class AgentsOut(Out):
    total: int
    by_type: dict[str, int]


class SchedulerOut(Out):
    leading: bool
    holder: str | None
    epoch: int | None
    expires_at: datetime | None


class SetAsideOut(Out):
    """Something that a duty could not do; the rest was done."""

    duty: str
    item: str
    error: str
    first_at: datetime
    last_at: datetime
    times: int = Field(description="How often it failed.")
    next_try_at: datetime | None = Field(description="null: whoever asked for it was told.")

    @staticmethod
    def of(found: SetAside) -> SetAsideOut:
        return SetAsideOut.model_validate(found)


class StatusOut(Out):
    version: str
    cluster: ClusterOut
    jobs: dict[str, int]
    phases: dict[str, int]
    agents: AgentsOut
    scheduler: SchedulerOut
    set_aside: dict[str, int] = Field(description="Items that wait to be tried again, by duty.")
    failures: list[SetAsideOut] = Field(
        description="What duties could not do lately, the newest first; for admins, empty for others."
    )


class HealthOut(Out):
    status: str


class ReadyOut(Out):
    status: str
    database: bool
    scheduler: bool
