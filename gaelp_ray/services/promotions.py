"""Use cases of the gate to real money: evidence is recorded, a version is promoted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType, AgentVersion
from gaelp_ray.domain.approvals import Approval, Purpose
from gaelp_ray.domain.errors import NotEligible, NotFound
from gaelp_ray.domain.promotion import Evidence, RequiredEvidence, all_missing
from gaelp_ray.services import agents, approvals, audit, policies
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store import approvals as approval_store
from gaelp_ray.store import promotions as promotion_store

#: What holds where no policy asks for evidence: the gate is never simply open.
DEFAULT = RequiredEvidence()


def record_evidence(tx: Connection, evidence: Evidence, *, by: Principal, now: datetime) -> Evidence:
    """Store what an evaluation found; it is never changed."""
    _version(tx, evidence.version_id, by)
    stored = promotion_store.add_evidence(tx, evidence, by=by.user, now=now)
    subject = f"version {evidence.version_id}"
    audit.record(tx, "evidence.record", subject, by=by, now=now, after=asdict(stored))
    return stored


def evidence(connection: Connection, version_id: int, *, by: Principal) -> list[Evidence]:
    """The newest first."""
    _recorded(connection, version_id, by)
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
    version = _recorded(connection, version_id, by)
    people = _people(_required(connection, version))
    valid = approval_store.valid(connection, Purpose.PROMOTION, f"version {version_id}", now=now)
    return Standing(
        promotion_store.is_promoted(connection, version_id),
        tuple(_best(connection, version, now)[1]),
        people,
        people == 0 or any(approval.needed >= people for approval in valid),
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
        used = approvals.use(tx, Purpose.PROMOTION, subject, used_for=subject, by=by, now=now, needed=people)
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


def _required(connection: Connection, version: AgentVersion) -> list[RequiredEvidence]:
    ruling = policies.of_type(connection, AgentType.REAL_DEPLOYMENT)
    ruling += policies.of_agent(connection, version.agent_id)
    rules = [rule for policy in ruling for rule in policy.rules if isinstance(rule, RequiredEvidence)]
    return rules or [DEFAULT]


def _people(required: Sequence[RequiredEvidence]) -> int:
    return max(rule.approvals for rule in required)


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
