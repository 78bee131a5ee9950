"""Metrics on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from gaelp_ray.domain.metrics import MetricPoint
from serve_app.schemas.common import In, Instant, Items, Number, Out, WholeNumber, printable


class MetricsIn(In):
    """Values that an outside source reports about an agent."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"metrics": {"ctr": 0.031, "cpa": 4.2}}]})

    metrics: dict[str, Number]
    step: WholeNumber | None = Field(default=None, ge=0, le=2**63 - 1)
    source: Annotated[str, Field(min_length=1, max_length=100), printable(100)] = "external"
    at: Instant | None = None


class MetricOut(Out):
    id: int | None = None
    agent_id: int
    job_id: int | None
    attempt: int | None
    step: int | None
    source: str
    at: datetime
    metrics: Mapping[str, float]

    @staticmethod
    def of(point: MetricPoint, point_id: int | None = None) -> MetricOut:
        return MetricOut.model_construct(
            id=point_id,
            agent_id=point.agent_id,
            job_id=point.job_id,
            attempt=point.attempt,
            step=point.step,
            source=point.source,
            at=point.at,
            metrics=point.values,
        )


class MetricPage(Items):
    items: list[MetricOut]
