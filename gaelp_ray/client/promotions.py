"""Evidence and the gate to real money, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from gaelp_ray.client.http import Http
from gaelp_ray.client.pages import read_items
from gaelp_ray.client.wire import read


@dataclass(frozen=True)
class Evidence:
    """What an evaluation found of a version, against a baseline."""

    id: int
    version_id: int
    baseline: str
    seeds: int
    effect: float
    #: The confidence interval of the effect.
    low: float
    high: float
    confidence: float
    #: Upper confidence bounds of what must stay low, by metric.
    safety: Mapping[str, float] = field(default_factory=dict)
    recorded_by: str = ""
    recorded_at: datetime | None = None
    #: ``runs``, or ``external`` for what was typed in, which is never enough alone.
    source: str = ""
    #: The jobs that it was read from, those of the baseline, and the value that was compared.
    jobs: tuple[int, ...] = ()
    baseline_jobs: tuple[int, ...] = ()
    metric: str | None = None
    #: When the oldest of these jobs ended.
    measured_at: datetime | None = None


@dataclass(frozen=True)
class Promotion:
    """Where a version stands before the gate to real money."""

    agent_id: int
    version: str
    version_id: int
    promoted: bool
    #: What the best evidence of it does not show yet.
    missing: tuple[str, ...] = ()
    #: People who must approve, and whether a valid approval of so many is there.
    approvals_needed: int = 0
    approved: bool = False
    #: What to ask the approval for.
    approval_subject: str = ""


class Promotions:
    """``client.promotions``. A version is named as in ``agents.versions``.

    Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def record_evidence(
        self,
        agent_id: int,
        version: str,
        *,
        baseline: str,
        jobs: Sequence[int],
        baseline_jobs: Sequence[int] | None = None,
        metric: str | None = None,
        safety_metrics: Sequence[str] | None = None,
        confidence: float | None = None,
    ) -> Evidence:
        """Have evidence read from the results of jobs; raises ``InvalidInput``.

        ``jobs`` is one evaluation job of the version, or with ``metric`` a job for each seed, which are
        compared with ``baseline_jobs`` by that value of their results.
        """
        body = {
            "baseline": baseline,
            "jobs": list(jobs),
            "baseline_jobs": None if baseline_jobs is None else list(baseline_jobs),
            "metric": metric,
            "safety_metrics": None if safety_metrics is None else list(safety_metrics),
            "confidence": confidence,
        }
        return read(Evidence, self._http.post(f"{_path(agent_id, version)}/evidence", body))

    def record_external_evidence(
        self,
        agent_id: int,
        version: str,
        *,
        baseline: str,
        seeds: int,
        effect: float,
        low: float,
        high: float,
        confidence: float = 0.95,
        safety: Mapping[str, float] | None = None,
    ) -> Evidence:
        """Store numbers from elsewhere, which are never enough alone; raises ``InvalidInput``."""
        body = {
            "source": "external",
            "baseline": baseline,
            "seeds": seeds,
            "effect": effect,
            "low": low,
            "high": high,
            "confidence": confidence,
            "safety": dict(safety or {}),
        }
        return read(Evidence, self._http.post(f"{_path(agent_id, version)}/evidence", body))

    def evidence(self, agent_id: int, version: str) -> tuple[Evidence, ...]:
        """The newest first."""
        return read_items(Evidence, self._http.get(f"{_path(agent_id, version)}/evidence"))

    def get(self, agent_id: int, version: str) -> Promotion:
        """Whether it may spend real money, and what is missing until it may."""
        return read(Promotion, self._http.get(f"{_path(agent_id, version)}/promotion"))

    def promote(self, agent_id: int, version: str) -> Promotion:
        """Let it spend real money; raises ``NotEligible`` with what is missing in ``details``."""
        return read(Promotion, self._http.post(f"{_path(agent_id, version)}/promotion", {}))


def _path(agent_id: int, version: str) -> str:
    return f"/agents/{agent_id}/versions/{quote(version, safe='')}"
