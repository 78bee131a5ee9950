"""Use cases of attempts: what launchers and the processes they own report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from gaelp_ray.domain.attempts import Outcome, Seat
from gaelp_ray.domain.checkpoints import CheckpointRecord, Retention, expendable
from gaelp_ray.domain.duties import Failed, isolated
from gaelp_ray.domain.endings import storable
from gaelp_ray.domain.jobs import EndCause, Job, JobEvent, JobState
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.retries import (
    INFRASTRUCTURE,
    RETRYABLE,
    RetryPolicy,
    as_ordered,
    given_up,
    is_instant,
    judge,
)
from gaelp_ray.services import costs
from gaelp_ray.services.transitions import move
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store import logs as log_store
from gaelp_ray.store import metrics as metric_store
from gaelp_ray.store import outbox


@dataclass(frozen=True)
class Claim:
    """A process asking to run an attempt."""

    attempt_id: int
    token: UUID
    #: Made by the process, so that it may ask again when an answer was lost.
    claimant: UUID
    node_id: str
    resumed_from_step: int | None
    #: Numbers of the GPUs it was given, where they are known.
    gpus: tuple[int, ...] = ()
    #: Where the other workers run.
    others: tuple[Seat, ...] = ()

    @property
    def placement(self) -> tuple[Seat, ...]:
        return Seat(self.node_id, self.gpus), *self.others


def claim(tx: Connection, asked: Claim, *, incarnation: UUID, now: datetime) -> bool:
    """Let a process run the attempt. False: it is taken or over, and the process must leave."""
    job = job_store.lock_of_attempt(tx, asked.attempt_id)
    if job is None or not attempt_store.claim(
        tx,
        asked.attempt_id,
        asked.token,
        claimant=asked.claimant,
        incarnation=incarnation,
        placement=asked.placement,
        resumed_from_step=asked.resumed_from_step,
        now=now,
    ):
        return False
    if job.state in (JobState.ADMITTED, JobState.STARTING):
        started = {} if job.started_at else {"started_at": now}
        move(tx, job, JobEvent.CLAIM, now=now, data={"node": asked.node_id}, values=started)
    return True


def launched(
    tx: Connection, attempt_ids: Sequence[int], incarnation: UUID, *, now: datetime
) -> dict[int, Exception]:
    """The launcher handed these attempts to Ray. Returns those that this could not be noted of, and why."""
    ids = sorted(attempt_ids)

    def together(part: Sequence[int]) -> Sequence[int]:
        with tx.begin_nested():
            for attempt_id in part:
                _launched(tx, attempt_id, incarnation, now)
        return part

    results = zip(ids, isolated(ids, together), strict=True)
    return {attempt_id: result.error for attempt_id, result in results if isinstance(result, Failed)}


def _launched(tx: Connection, attempt_id: int, incarnation: UUID, now: datetime) -> None:
    job = job_store.lock_of_attempt(tx, attempt_id)
    marked = attempt_store.mark_launched(tx, attempt_id, incarnation)
    if marked and job is not None and job.state is JobState.ADMITTED:
        move(tx, job, JobEvent.LAUNCH, now=now)


def finish(
    tx: Connection,
    attempt_id: int,
    outcome: Outcome,
    *,
    token: UUID | None,
    policy: RetryPolicy,
    now: datetime,
) -> JobState | None:
    """End an attempt and move its job on. None: it had ended already, and nothing changed.

    ``token`` is None when the launcher, not the process, saw the end. Whatever the outcome holds is made such
    that it can be stored.
    """
    job = job_store.lock_of_attempt(tx, attempt_id)
    attempt = attempt_store.lock_live(tx, attempt_id, token)
    if job is None or attempt is None:
        return None
    outcome = storable(_as_ordered(job, outcome))
    instant = is_instant(outcome, claimed_at=attempt.claimed_at, saved_at=attempt.saved_at, now=now)
    instant_losses = job.instant_losses + 1 if instant else 0
    if instant_losses >= policy.instant_cap:
        outcome = given_up(outcome, instant_losses)
    ended = attempt_store.end_if_live(tx, attempt_id, outcome, now=now, token=token)
    assert ended is not None, "its row is held"
    outbox.drop_of_attempt(tx, attempt_id, now=now)
    verdict = judge(
        job.state,
        outcome.cause,
        failures=job.failures,
        losses=job.losses,
        instant_losses=instant_losses,
        max_retries=job.max_retries,
        policy=policy,
        now=now,
    )
    columns: dict[str, Any] = {
        "cause": outcome.cause,
        "message": outcome.message or None,
        "not_before": verdict.not_before,
        "failures": job.failures + (outcome.cause in RETRYABLE),
        "losses": job.losses + (outcome.cause in INFRASTRUCTURE),
        "instant_losses": instant_losses,
        "preemptions": job.preemptions + (outcome.cause is EndCause.PREEMPTED),
    }
    if outcome.result is not None:
        columns["result"] = dict(outcome.result)
    data = {"cause": outcome.cause} | (
        {"exit_code": outcome.exit_code} if outcome.exit_code is not None else {}
    )
    state = move(tx, job, verdict.event, now=now, why=outcome.message, data=data, values=columns)
    for words in outcome.notices:
        job_store.add_notice(tx, job.id, words)
    costs.settle(tx, ended.attempt, ended.token, now=now)
    return state


def lose(tx: Connection, attempt_ids: Sequence[int], *, why: str, policy: RetryPolicy, now: datetime) -> int:
    """End attempts whose owner is dead; returns how many had not ended yet.

    One that cannot be ended is left as it is: the duties that look for such attempts set it aside.
    """
    lost = Outcome(EndCause.NODE_LOST, why)

    def together(part: Sequence[int]) -> list[JobState | None]:
        with tx.begin_nested():
            return [finish(tx, each, lost, token=None, policy=policy, now=now) for each in part]

    ended = isolated(attempt_ids, together)
    return sum(state is not None and not isinstance(state, Failed) for state in ended)


def lose_all(
    tx: Connection, attempt_ids: Sequence[int], *, why: str, policy: RetryPolicy, now: datetime
) -> int:
    """As ``lose``, but one that cannot be ended raises."""
    lost = Outcome(EndCause.NODE_LOST, why)
    ended = [finish(tx, each, lost, token=None, policy=policy, now=now) for each in attempt_ids]
    return sum(state is not None for state in ended)


def save_checkpoint(
    tx: Connection,
    attempt_id: int,
    token: UUID,
    *,
    step: int,
    uri: str,
    address: str = "",
    digest: str,
    size_bytes: int,
    metrics: Mapping[str, float],
    points: Sequence[MetricPoint],
    keep: Retention,
    now: datetime,
) -> list[CheckpointRecord] | None:
    """Record a checkpoint whose files are complete, and the metric points up to it.

    ``address`` is ``uri`` relative to the storage's root.
    Returns the checkpoints that retention lets go.
    None: the attempt has ended, so its checkpoint does not count.
    """
    job = job_store.lock_of_attempt(tx, attempt_id)
    attempt = attempt_store.lock_live(tx, attempt_id, token)
    if job is None or attempt is None:
        return None
    checkpoint_store.add(
        tx,
        job_id=attempt.job_id,
        attempt_id=attempt_id,
        step=step,
        uri=uri,
        address=address,
        digest=digest,
        size_bytes=size_bytes,
        metrics=metrics,
        now=now,
    )
    attempt_store.saved(tx, attempt_id, now=now)
    metric_store.add(tx, points)
    kept = checkpoint_store.of_job(tx, attempt.job_id)
    let_go = expendable(kept, keep, in_use=checkpoint_store.in_use(tx, [c.id for c in kept]))
    checkpoint_store.mark_deleted(tx, [c.id for c in let_go], now=now)
    return let_go


def resumed(tx: Connection, attempt_id: int, token: UUID, *, step: int | None, words: str) -> None:
    """An attempt goes on from another step than it was to, None from the beginning; its owner is told why."""
    job = job_store.lock_of_attempt(tx, attempt_id)
    if job is not None and attempt_store.resumed(tx, attempt_id, token, step):
        job_store.add_notice(tx, job.id, words)


def append_log(
    tx: Connection,
    attempt_id: int,
    start_byte: int,
    content: bytes,
    *,
    now: datetime,
    limit_bytes: int | None = None,
) -> None:
    """Store a piece of a log, of which the beginning and the end are kept where it passes its limit."""
    log_store.append(tx, attempt_id, start_byte, content, now=now)
    end = start_byte + len(content)
    if limit_bytes is not None and end > limit_bytes:
        log_store.shorten(tx, attempt_id, end_byte=end, limit_bytes=limit_bytes)


def seen(tx: Connection, attempt_ids: Sequence[int], *, now: datetime) -> None:
    attempt_store.seen(tx, attempt_ids, now=now)


def notice(tx: Connection, attempt_id: int, words: str) -> None:
    """Tell the owner of a running job something about how it runs; said twice, it is shown once."""
    job = job_store.lock_of_attempt(tx, attempt_id)
    if job is not None:
        job_store.add_notice(tx, job.id, words)


def _as_ordered(job: Job, outcome: Outcome) -> Outcome:
    cause = as_ordered(job.state, outcome.cause)
    if cause is outcome.cause:
        return outcome
    ordered = "Stopped as ordered." if cause is EndCause.CANCELLED else "Made room as ordered."
    return replace(outcome, cause=cause, message=outcome.message or ordered)
