"""Evidence and promotions on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from gaelp_ray.domain.agents import AgentVersion
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.promotion import MAX_RUNS, Evidence, EvidenceSource
from gaelp_ray.services.promotions import NamedRuns, Standing
from serve_app.schemas.common import BodyId, In, Number, Out, WholeNumber, printable

_EVALUATION: JsonDict = {"baseline": "best fixed bid", "jobs": [12]}

_RUNS: JsonDict = {
    "baseline": "1.0.0",
    "jobs": [21, 22, 23],
    "baseline_jobs": [11, 12, 13],
    "metric": "profit",
    "safety_metrics": ["overspend_rate"],
}

_EXTERNAL: JsonDict = {
    "source": "external",
    "baseline": "1.0.0",
    "seeds": 20,
    "effect": 4.1,
    "low": 2.7,
    "high": 5.6,
    "safety": {"overspend_rate": 0.0},
}

_TYPED = ("seeds", "effect", "low", "high")
_READ = ("jobs", "baseline_jobs", "metric", "safety_metrics")

MetricName = Annotated[str, Field(min_length=1, max_length=200), printable(200)]


class EvidenceIn(In):
    """What was found of a version, against a baseline: read from jobs, or numbers from elsewhere."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVALUATION, _RUNS, _EXTERNAL]})

    source: EvidenceSource = Field(
        default=EvidenceSource.RUNS, description="`external`: typed in, which is never enough alone."
    )
    baseline: Annotated[str, Field(min_length=1, max_length=200), printable(200)] = Field(
        description="Against what it was compared."
    )
    jobs: list[BodyId] | None = Field(
        default=None,
        max_length=MAX_RUNS,
        description="Completed jobs of this version: one evaluation, or with `metric` a run for each seed.",
    )
    baseline_jobs: list[BodyId] | None = Field(
        default=None, max_length=MAX_RUNS, description="Completed jobs of another version."
    )
    metric: MetricName | None = Field(default=None, description="The value of each job's result to compare.")
    safety_metrics: list[MetricName] | None = Field(
        default=None, max_length=100, description="Values of the results that must stay low."
    )
    confidence: Number = Field(default=0.95, description="Of the interval.")
    seeds: WholeNumber | None = Field(default=None, description="Of `external` numbers, as all below.")
    effect: Number | None = None
    low: Number | None = Field(default=None, description="Of the confidence interval of the effect.")
    high: Number | None = None
    safety: dict[MetricName, Number] | None = Field(
        default=None, max_length=100, description="Upper confidence bounds of what must stay low."
    )

    def evidence(self, version_id: int) -> Evidence | NamedRuns:
        """Raises ``InvalidInput`` for what is neither."""
        typed = [name for name in (*_TYPED, "safety") if getattr(self, name) is not None]
        read = [name for name in _READ if getattr(self, name) is not None]
        if self.source is EvidenceSource.RUNS:
            if typed or self.jobs is None:
                raise InvalidInput(
                    "Evidence is read from runs: name `jobs`, and to compare a value of their results "
                    "`baseline_jobs` and `metric`. Numbers from elsewhere are recorded with "
                    "`source: external`; they are never enough alone."
                )
            return NamedRuns(
                jobs=self.jobs,
                baseline=self.baseline,
                baseline_jobs=self.baseline_jobs or (),
                metric=self.metric,
                confidence=self.confidence,
                safety=self.safety_metrics or (),
            )
        missing = [name for name in _TYPED if getattr(self, name) is None]
        if missing or read:
            raise InvalidInput(
                f"`source: external` takes {', '.join(f'`{name}`' for name in _TYPED)} and names no jobs."
            )
        numbers: dict[str, Any] = {name: getattr(self, name) for name in _TYPED}
        return Evidence(
            version_id=version_id,
            baseline=self.baseline,
            confidence=self.confidence,
            safety=self.safety or {},
            **numbers,
        )


class EvidenceOut(Out):
    id: int
    version_id: int
    baseline: str
    seeds: int
    effect: float
    low: float
    high: float
    confidence: float
    safety: Mapping[str, float]
    source: EvidenceSource = Field(description="`external` was typed in, and is never enough alone.")
    metric: str | None
    jobs: list[int] = Field(description="What it was read from.")
    baseline_jobs: list[int]
    measured_at: datetime | None = Field(description="When the oldest of these jobs ended.")
    recorded_by: str
    recorded_at: datetime


class EvidenceList(Out):
    items: list[EvidenceOut]


class PromotionOut(Out):
    """Where a version stands before the gate to real money."""

    agent_id: int
    version: str
    version_id: int
    promoted: bool
    missing: list[str] = Field(description="What the best evidence of it does not show yet.")
    approvals_needed: int = Field(description="People who must approve.")
    approved: bool = Field(description="A valid approval of so many is there, not used yet.")
    approval_subject: str = Field(description="What to ask the approval for.")

    @staticmethod
    def of(version: AgentVersion, standing: Standing) -> PromotionOut:
        return PromotionOut.model_construct(
            agent_id=version.agent_id,
            version=version.spec.version,
            version_id=version.id,
            promoted=standing.promoted,
            missing=list(standing.missing),
            approvals_needed=standing.people,
            approved=standing.approved,
            approval_subject=f"version {version.id}",
        )
