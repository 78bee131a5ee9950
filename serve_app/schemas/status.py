"""The system's status on the wire."""

from __future__ import annotations

from datetime import datetime

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


class StatusOut(Out):
    version: str
    cluster: ClusterOut
    jobs: dict[str, int]
    phases: dict[str, int]
    agents: AgentsOut
    scheduler: SchedulerOut


class HealthOut(Out):
    status: str


class ReadyOut(Out):
    status: str
    database: bool
    scheduler: bool
