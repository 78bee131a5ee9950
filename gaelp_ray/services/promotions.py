"""Use cases of the gate to real money: evidence is recorded, a version is promoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import promotion as rules
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType, AgentVersion
from gaelp_ray.domain.approvals import Approval, Need, Purpose
from gaelp_ray.domain.errors import InvalidInput, NotEligible, NotFound
from gaelp_ray.domain.jobs import JobState
from gaelp_ray.domain.promotion import Evidence, EvidenceSource, RequiredEvidence, Run, all_missing
from gaelp_ray.domain.safety.policies import required_evidence
from gaelp_ray.services import agents, approvals, audit, jobs, policies, roles
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import promotions as promotion_store


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRuns:
    """Jobs that evidence is to be read from.

    With ``baseline_jobs`` and ``metric``, that value of each job's result is compared; without, the one job
    is an evaluation, whose result is the comparison.
    """

    jobs: Sequence[int]
    baseline: str
    baseline_jobs: Sequence[int] = ()
    metric: str | None = None
    confidence: float = 0.95
    #: Values of the results that must stay low.
    safety: Sequence[str] = ()


def record_runs(
    tx: Connection, version_id: int, named: NamedRuns, *, by: Principal, now: datetime
) -> Evidence:
    """Read evidence of a version from the results of its jobs, and store it; it is never changed.

    Raises ``NotFound`` for a job that the caller may not see, ``InvalidInput`` for one that did not complete,
    is not of this version, or whose result has not what is asked for.
    """
    _version(tx, version_id, by)
    ours, theirs = (_runs(tx, ids, by) for ids in (named.jobs, named.baseline_jobs))
    _require_sides(version_id, ours, theirs)
    if named.metric is None:
        if len(ours) != 1 or theirs:
            raise InvalidInput(
                "Several jobs are compared by a value of their results: name it in `metric`, and the jobs of "
                "the baseline in `baseline_jobs`; an evaluation is one job in `jobs`."
            )
        found = rules.of_evaluation(ours[0], baseline=named.baseline, safety=named.safety)
    else:
        found = rules.of_runs(
            ours,
            theirs,
            metric=named.metric,
            baseline=named.baseline,
            confidence=named.confidence,
            safety=named.safety,
        )
    return _record(tx, found, by, now)


def record_evidence(tx: Connection, evidence: Evidence, *, by: Principal, now: datetime) -> Evidence:
    """Store numbers from elsewhere, which are never enough alone; they are never changed."""
    _version(tx, evidence.version_id, by)
    typed = replace(
        evidence, source=EvidenceSource.EXTERNAL, metric=None, jobs=(), baseline_jobs=(), measured_at=None
    )
    return _record(tx, typed, by, now)


def _record(tx: Connection, evidence: Evidence, by: Principal, now: datetime) -> Evidence:
    stored = promotion_store.add_evidence(tx, evidence, by=by.user, now=now)
    subject = f"version {evidence.version_id}"
    audit.record(tx, "evidence.record", subject, by=by, now=now, after=asdict(stored))
    return stored


def version(connection: Connection, agent_id: int, name: str, *, by: Principal) -> AgentVersion:
    """A version by its name, for the agent's owner and for who has a role: those who approve see what of."""
    found = agent_store.find_version(connection, agent_id, name)
    if found is None or not _has_role(connection, by):
        return agents.version(connection, agent_id, name, by=by)
    return found


def evidence(connection: Connection, version_id: int, *, by: Principal) -> list[Evidence]:
    """The newest first; seen by who sees the version."""
    _seen(connection, version_id, by)
    return promotion_store.evidence(connection, version_id)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a version stands before the gate."""

    promoted: bool
    #: What the best evidence of it does not show yet.
    missing: tuple[str, ...]
    #: How many people must approve, and whether a valid approval of so many is there.
    people: int
    approved: bool


def standing(connection: Connection, version_id: int, *, by: Principal, now: datetime) -> Standing:
    version = _seen(connection, version_id, by)
    people = _people(_required(connection, version))
    return Standing(
        promotion_store.is_promoted(connection, version_id),
        tuple(_best(connection, version, now)[1]),
        people,
        people == 0 or approvals.is_there(connection, _need(version_id, people), now=now),
    )


def missing(connection: Connection, version_id: int, *, by: Principal, now: datetime) -> list[str]:
    """What the best evidence of a version does not show yet; empty where only approvals may be missing."""
    version = _recorded(connection, version_id, by)
    return _best(connection, version, now)[1]


def promote(tx: Connection, version_id: int, *, by: Principal, now: datetime) -> Approval | None:
    """Let a version spend real money; returns the approval that was used up, if one was needed.

    Raises ``NotEligible`` with everything that is missing. A version that was promoted stays so.
    """
    version = _version(tx, version_id, by)
    # Two who promote it at once use up one approval.
    agent_store.lock(tx, version.agent_id)
    if promotion_store.is_promoted(tx, version_id):
        return None
    best, lacking = _best(tx, version, now)
    if best is None or lacking:
        raise NotEligible(
            f"Version {version_id} may not spend real money yet: {' '.join(lacking)}", missing=lacking
        )
    people = _people(_required(tx, version))
    subject, used = f"version {version_id}", None
    if people:
        found = approvals.find(tx, _need(version_id, people), by=by, now=now)
        used = approvals.use(tx, found, used_for=subject, by=by, now=now)
    approval_id = used.id if used is not None else None
    promotion_store.add(tx, version_id, evidence_id=best.id, approval_id=approval_id, by=by.user, now=now)
    after = {"evidence_id": best.id, "approval_id": approval_id}
    audit.record(tx, "version.promote", subject, by=by, now=now, after=after)
    return used


def require_promoted(connection: Connection, version_id: int) -> None:
    """Raise ``NotEligible`` for a version that may not spend real money."""
    if not promotion_store.is_promoted(connection, version_id):
        raise NotEligible(
            f"Version {version_id} was not promoted to real money; record evidence and promote it."
        )


def _best(connection: Connection, version: AgentVersion, now: datetime) -> tuple[Evidence | None, list[str]]:
    """The evidence that lacks the least, the newest of those, and what it lacks."""
    required = _required(connection, version)
    found = [
        (each, all_missing(each, required, now)) for each in promotion_store.evidence(connection, version.id)
    ]
    if not found:
        return None, ["There is no evidence of it."]
    return min(found, key=lambda each: len(each[1]))


def _need(version_id: int, people: int) -> Need:
    return Need(purpose=Purpose.PROMOTION, subject=f"version {version_id}", people=people)


def _runs(connection: Connection, job_ids: Sequence[int], by: Principal) -> list[Run]:
    if len(set(job_ids)) < len(job_ids) or len(job_ids) > rules.MAX_RUNS:
        raise InvalidInput(f"`jobs` and `baseline_jobs` name up to {rules.MAX_RUNS} jobs, each once.")
    found = [jobs.get(connection, job_id, by=by) for job_id in job_ids]
    for job in found:
        if job.state is not JobState.SUCCEEDED or job.result is None or job.finished_at is None:
            raise InvalidInput(
                f"Job {job.id} is {job.status}, or has no result; evidence is read from completed jobs."
            )
    return [
        Run(job.id, job.version_id, job.seed, job.finished_at, job.result)
        for job in found
        if job.finished_at is not None and job.result is not None
    ]


def _require_sides(version_id: int, ours: Sequence[Run], theirs: Sequence[Run]) -> None:
    if not ours:
        raise InvalidInput("`jobs` must name at least one job of the version.")
    if stranger := next((run for run in ours if run.version_id != version_id), None):
        raise InvalidInput(
            f"Job {stranger.job_id} is not of version {version_id}; name jobs of this version."
        )
    if same := next((run for run in theirs if run.version_id == version_id), None):
        raise InvalidInput(
            f"Job {same.job_id} is of version {version_id} itself; the baseline is another version."
        )


def _required(connection: Connection, version: AgentVersion) -> list[RequiredEvidence]:
    ruling = policies.of_type(connection, AgentType.REAL_DEPLOYMENT)
    ruling += policies.of_agent(connection, version.agent_id)
    return required_evidence(ruling) or [rules.DEFAULT]


def _people(required: Sequence[RequiredEvidence]) -> int:
    return max(rule.approvals for rule in required)


def _has_role(connection: Connection, by: Principal) -> bool:
    return by.admin or bool(roles.of_user(connection, by.user))


def _seen(connection: Connection, version_id: int, by: Principal) -> AgentVersion:
    found = agent_store.find_version_by_id(connection, version_id)
    if found is not None and _has_role(connection, by):
        return found
    return _recorded(connection, version_id, by)


def _version(connection: Connection, version_id: int, by: Principal) -> AgentVersion:
    """A version of an agent that was not deleted."""
    found = _recorded(connection, version_id, by)
    agents.get(connection, found.agent_id, by=by)
    return found


def _recorded(connection: Connection, version_id: int, by: Principal) -> AgentVersion:
    """A version, whether or not its agent was deleted."""
    found = agent_store.find_version_by_id(connection, version_id)
    if found is None:
        raise NotFound(f"There is no version {version_id}, or you may not see it.")
    agents.known(connection, found.agent_id, by=by)
    return found
