"""What must agree and may not: attempts and jobs in the store, reservations, and the tasks launchers own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from gaelp_ray.domain.jobs import LIVE, JobState


class Discrepancy(StrEnum):
    #: Its launcher lives and does not own it: nobody will tell its end.
    UNOWNED_ATTEMPT = "unowned_attempt"
    #: A launcher owns a task whose attempt has ended or never was.
    STRAY_TASK = "stray_task"
    #: A job that should be live has no live attempt: it would wait for ever.
    JOB_WITHOUT_ATTEMPT = "job_without_attempt"
    #: An attempt lives and holds resources though its job waits or has ended.
    ATTEMPT_WITHOUT_JOB = "attempt_without_job"
    #: A job has two live attempts.
    DOUBLE_ATTEMPT = "double_attempt"
    #: Room is kept for a job that does not wait.
    ORPHAN_RESERVATION = "orphan_reservation"


@dataclass(frozen=True, order=True)
class Finding:
    kind: Discrepancy
    job_id: int
    attempt_id: int | None = None
    launcher: str | None = None


@dataclass(frozen=True)
class LiveAttempt:
    id: int
    job_id: int
    job_state: JobState
    launcher: str
    #: Its launch order was carried out.
    launched: bool


@dataclass(frozen=True)
class Records:
    """What the store says at one moment."""

    attempts: tuple[LiveAttempt, ...] = ()
    #: Jobs in a live state without a live attempt.
    jobs_without_attempt: tuple[int, ...] = ()
    #: Jobs that room is kept for though they do not wait.
    orphan_reservations: tuple[int, ...] = ()


def compare(records: Records, owned: Mapping[str, Set[int]]) -> tuple[Finding, ...]:
    """Everything that does not agree.

    ``owned``: the attempts whose tasks each launcher owns; launchers that gave no answer are left out, and
    so is judgement of their attempts. They were asked at another moment than the store, so only what is found
    twice in a row is true: see ``confirmed``.
    """
    found = [Finding(Discrepancy.JOB_WITHOUT_ATTEMPT, job) for job in records.jobs_without_attempt]
    found += [Finding(Discrepancy.ORPHAN_RESERVATION, job) for job in records.orphan_reservations]
    found += _of_attempts(records.attempts, owned)
    live = {attempt.id for attempt in records.attempts}
    found += [
        Finding(Discrepancy.STRAY_TASK, 0, attempt_id, launcher)
        for launcher, ids in owned.items()
        for attempt_id in ids - live
    ]
    return tuple(sorted(found, key=lambda f: (f.kind, f.job_id, f.attempt_id or 0)))


def _of_attempts(attempts: Iterable[LiveAttempt], owned: Mapping[str, Set[int]]) -> list[Finding]:
    found = []
    tries = Counter(attempt.job_id for attempt in attempts)
    for each in attempts:
        kinds = {
            Discrepancy.ATTEMPT_WITHOUT_JOB: each.job_state not in LIVE,
            Discrepancy.DOUBLE_ATTEMPT: tries[each.job_id] > 1,
            Discrepancy.UNOWNED_ATTEMPT: each.launched
            and each.launcher in owned
            and each.id not in owned[each.launcher],
        }
        found += [
            Finding(kind, each.job_id, each.id, each.launcher) for kind, is_so in kinds.items() if is_so
        ]
    return found


def confirmed(before: Iterable[Finding], now: Iterable[Finding]) -> tuple[Finding, ...]:
    """What was found twice in a row."""
    known = set(before)
    return tuple(finding for finding in now if finding in known)


def counted(findings: Iterable[Finding]) -> dict[Discrepancy, int]:
    """How many there are of every kind, none too."""
    counts = Counter(finding.kind for finding in findings)
    return {kind: counts[kind] for kind in Discrepancy}
