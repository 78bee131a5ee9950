"""Ramps on the wire."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.ledger import MAX_REASON
from gaelp_ray.domain.ramps import DEFAULT_STAGES, MAX_SAMPLES, Bar, RampState, Stage, Watch
from gaelp_ray.store.ramps import StoredRamp
from serve_app.schemas.common import In, Items, Number, Out, WholeNumber

_EXAMPLE: JsonDict = {
    "agent_id": 7,
    "version": "2.0.0",
    "full_day_micros": 500_000_000,
    "metric": "profit_per_hour",
    "min_samples": 6,
    "min_value": 0.0,
    "stages": [{"percent": 5, "holds_for_seconds": 86_400}, {"percent": 100, "holds_for_seconds": 86_400}],
}


class StageIn(In):
    percent: WholeNumber = Field(description="Of the whole daily budget; each more than the one before.")
    holds_for_seconds: Number = Field(gt=0, le=10**7)

    def stage(self) -> Stage:
        return Stage(self.percent, timedelta(seconds=self.holds_for_seconds))


class RampIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    agent_id: WholeNumber = Field(ge=1, le=2**63 - 1)
    version: str = Field(description="One that was promoted.")
    account_id: WholeNumber | None = Field(
        default=None,
        ge=1,
        le=2**63 - 1,
        description="Of its real money; the main one unless named.",
    )
    full_day_micros: WholeNumber = Field(description="What it may spend in a day at the end of the ramp.")
    metric: str = Field(description="Of the agent; while its median is too low the ramp is rolled back.")
    min_samples: WholeNumber = Field(
        ge=1, le=MAX_SAMPLES, description="Values of a stage before anything is said of it."
    )
    min_value: Number = Field(description="The least that their median may be.")
    stages: list[StageIn] | None = Field(default=None, max_length=100)

    def watch(self) -> Watch:
        return Watch(self.metric, Bar(self.min_samples, self.min_value))

    def parts(self) -> tuple[Stage, ...]:
        return DEFAULT_STAGES if self.stages is None else tuple(each.stage() for each in self.stages)


class RollBackIn(In):
    reason: str = Field(min_length=1, max_length=MAX_REASON)


class StageOut(Out):
    percent: int
    holds_for_seconds: float


class RampOut(Out):
    id: int
    agent_id: int
    version_id: int
    previous_version_id: int | None = Field(description="What a rollback points the agent to.")
    account_id: int
    state: RampState
    stage: int = Field(description="From 0.")
    stage_since: datetime
    stages: list[StageOut]
    day_micros: int = Field(description="What may be spent in a day as it stands.")
    full_day_micros: int
    cap_micros: int | None = Field(description="A daily limit set by hand: no stage goes past it.")
    metric: str
    min_samples: int
    min_value: float
    reason: str = Field(description="Why it was rolled back.")
    started_by: str
    started_at: datetime

    @staticmethod
    def of(stored: StoredRamp) -> RampOut:
        ramp = stored.ramp
        return RampOut.model_construct(
            id=stored.id,
            agent_id=stored.agent_id,
            version_id=stored.version_id,
            previous_version_id=stored.previous_version_id,
            account_id=stored.account_id,
            state=ramp.state,
            stage=ramp.stage,
            stage_since=ramp.stage_since,
            stages=[
                StageOut.model_construct(
                    percent=each.percent, holds_for_seconds=each.holds_for.total_seconds()
                )
                for each in ramp.stages
            ],
            day_micros=ramp.day_micros,
            full_day_micros=ramp.full_day_micros,
            cap_micros=ramp.cap_micros,
            metric=stored.watch.metric,
            min_samples=stored.watch.bar.min_samples,
            min_value=stored.watch.bar.min_value,
            reason=ramp.reason,
            started_by=stored.started_by,
            started_at=stored.started_at,
        )


class RampPage(Items):
    items: list[RampOut]
