"""The history of a job: one row per change of state, and what people are shown of it live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gaelp_ray.domain.jobs import JobEvent, JobState


@dataclass(frozen=True)
class JobEventRecord:
    id: int
    job_id: int
    agent_id: int
    attempt: int | None
    event: JobEvent
    from_state: JobState | None
    to_state: JobState
    #: Who caused it: a user's name or ``system``.
    actor: str
    message: str
    data: Mapping[str, Any]
    at: datetime
