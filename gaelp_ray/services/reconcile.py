"""Use cases of the reconciler: find what does not agree, and mend what can be mended safely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain.jobs import LIVE, EndCause, JobEvent, JobState
from gaelp_ray.domain.reconcile import Discrepancy, Finding, compare
from gaelp_ray.domain.retries import RetryPolicy
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services.transitions import move
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import reconcile as store
from gaelp_ray.store import reservations as reservation_store

NOBODY_OWNS_IT = "Its launcher does not know it any more; it goes on from its checkpoint."
NO_ATTEMPT = "It had no live attempt; it goes on from its checkpoint."


def find(connection: Connection, owned: Mapping[str, Set[int]]) -> tuple[Finding, ...]:
    """What does not agree. ``owned``: the attempts whose tasks each launcher owns, as it just answered."""
    return compare(store.records(connection), owned)


@dataclass(frozen=True)
class Mended:
    mended: tuple[Finding, ...]
    #: What people should look at.
    left: tuple[Finding, ...]


def mend(tx: Connection, findings: Iterable[Finding], *, policy: RetryPolicy, now: datetime) -> Mended:
    """Mend findings that were made twice in a row; each is looked at again under its lock.

    An attempt that nobody owns is lost, a job without an attempt goes back to the queue, room kept for
    nobody is given up. Stray tasks are their launchers' to end; the rest is left to people.
    """
    mended: list[Finding] = []
    left: list[Finding] = []
    for finding in sorted(findings, key=lambda each: each.job_id):
        (mended if _mend(tx, finding, policy, now) else left).append(finding)
    return Mended(tuple(mended), tuple(left))


def _mend(tx: Connection, finding: Finding, policy: RetryPolicy, now: datetime) -> bool:
    if finding.kind is Discrepancy.UNOWNED_ATTEMPT and finding.attempt_id is not None:
        lost = [finding.attempt_id]
        return attempt_service.lose_all(tx, lost, why=NOBODY_OWNS_IT, policy=policy, now=now) == 1
    if finding.kind is Discrepancy.JOB_WITHOUT_ATTEMPT:
        return _requeue(tx, finding.job_id, now)
    if finding.kind is Discrepancy.ORPHAN_RESERVATION:
        reservation_store.prune(tx, now=now)
        return True
    return False


def _requeue(tx: Connection, job_id: int, now: datetime) -> bool:
    job = job_store.lock(tx, job_id)
    if job is None or job.state not in LIVE or attempt_store.live_of_job(tx, job_id) is not None:
        return False
    if job.state is JobState.STOPPING:
        move(tx, job, JobEvent.CANCEL, now=now, why=NO_ATTEMPT, values={"cause": EndCause.CANCELLED})
    else:
        move(tx, job, JobEvent.REQUEUE, now=now, why=NO_ATTEMPT)
    return True
