"""Use cases of launchers: their lives and their orders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from gaelp_ray.domain.attempts import LaunchOrder, ResumePoint, ResumePoints
from gaelp_ray.domain.checkpoints import FROM_JOB, CheckpointRecord
from gaelp_ray.domain.duties import Failed, isolated
from gaelp_ray.domain.forecast import LONGEST_S, bounded
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Spot
from gaelp_ray.domain.retries import RetryPolicy
from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.services import accounts as account_service
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import costs, policies
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store import checkpoints as checkpoint_store
from gaelp_ray.store import launchers as launcher_store
from gaelp_ray.store import outbox, rows

BATCH = 100
LAUNCHER_DIED = "Its launcher died; it goes on from its checkpoint."
CLUSTER_GONE = "Its cluster is gone; it goes on from its checkpoint."


@dataclass(frozen=True)
class StopOrder:
    attempt_id: int
    cause: EndCause


@dataclass(frozen=True)
class Orders:
    """What a launcher has to do now."""

    ids: tuple[int, ...] = ()
    launches: tuple[LaunchOrder, ...] = ()
    stops: tuple[StopOrder, ...] = ()
    #: Orders that cannot be read, and why; they are not among ``ids``.
    broken: Mapping[int, Exception] = field(default_factory=dict)
    #: There may be more of them.
    more: bool = False


def register(
    tx: Connection, name: str, *, cluster: str, incarnation: UUID, policy: RetryPolicy, now: datetime
) -> int:
    """A launcher begins a new life: the tasks of its earlier one died with it. Returns how many.

    What could not be declared lost is found by ``orphans`` again and again.
    """
    launcher_store.register(tx, name, cluster=cluster, incarnation=incarnation, now=now)
    dead = attempt_store.orphans(tx, name, incarnation)
    return attempt_service.lose(tx, dead, why=LAUNCHER_DIED, policy=policy, now=now)


def heartbeat(
    tx: Connection, name: str, incarnation: UUID, *, attempt_ids: Sequence[int], now: datetime
) -> bool:
    """A launcher and the attempts it heard from are alive. False: it was retired and must stop its tasks."""
    attempt_service.seen(tx, attempt_ids, now=now)
    return launcher_store.seen(tx, name, incarnation, now=now)


def orphans(connection: Connection, *, name: str, incarnation: UUID, now: datetime, limit: int) -> list[int]:
    """Attempts that an earlier life of a launcher handed to Ray, and that nobody ended."""
    return attempt_store.orphans(connection, name, incarnation, limit=limit)


def lose_orphans(tx: Connection, attempt_ids: Sequence[int], *, policy: RetryPolicy, now: datetime) -> None:
    attempt_service.lose_all(tx, attempt_ids, why=LAUNCHER_DIED, policy=policy, now=now)


def take_orders(
    connection: Connection,
    name: str,
    *,
    stop_grace_s: float,
    now: datetime,
    without: Collection[int] = (),
) -> Orders:
    """Read undelivered orders; they stay until ``deliver``, so a crash in between repeats them.

    ``without``: orders that are left where they are. One that cannot be read does not keep the others.
    """
    most = BATCH + len(without)
    found = outbox.waiting(connection, name, limit=most)
    ids = [each for each in found if each not in without]
    read = isolated(ids, lambda part: _read_orders(connection, part, stop_grace_s, now))
    results = list(zip(ids, read, strict=True))
    whole = [(order_id, order) for order_id, order in results if not isinstance(order, Failed)]
    return Orders(
        ids=tuple(order_id for order_id, _ in whole),
        launches=tuple(order for _, order in whole if isinstance(order, LaunchOrder)),
        stops=tuple(order for _, order in whole if isinstance(order, StopOrder)),
        broken={order_id: order.error for order_id, order in results if isinstance(order, Failed)},
        more=len(found) == most,
    )


def _read_orders(
    connection: Connection, order_ids: Sequence[int], stop_grace_s: float, now: datetime
) -> list[LaunchOrder | StopOrder | None]:
    """What each order says to do; None for one that time has overtaken."""
    rows_by_id = {row.order_id: row for row in outbox.read(connection, order_ids)}
    launches = {
        order_id: row
        for order_id, row in rows_by_id.items()
        if row.kind == "launch" and row.ended_at is None and not row.claimed_at
    }
    sources = {row.job_id: row.training_config.get(FROM_JOB, row.job_id) for row in launches.values()}
    resume = checkpoint_store.latest(connection, [*sources, *sources.values()]) if launches else {}
    accounts = {each: _spent_from(connection, each) for each in {row.account_id for row in launches.values()}}
    clips = {each: _reward_clips(connection, each) for each in {row.agent_id for row in launches.values()}}
    paid = costs.paid_until(connection, [row.token for row in launches.values() if row.slices])
    found: dict[int, LaunchOrder | StopOrder] = {
        order_id: replace(
            _launch_order(row, resume, accounts[row.account_id], stop_grace_s, now),
            reward_clips=clips[row.agent_id],
            paid_until=paid.get(row.token),
        )
        for order_id, row in launches.items()
    }
    for order_id, row in rows_by_id.items():
        if row.kind == "stop" and row.ended_at is None:
            found[order_id] = StopOrder(row.attempt_id, EndCause(row.stop_cause or EndCause.CANCELLED))
    return [found.get(order_id) for order_id in order_ids]


def resume_points(connection: Connection, job_id: int, from_job: int | None) -> ResumePoints:
    """The checkpoints that are kept of a job and of the one it starts from, the last saved first."""
    own, inputs = (
        tuple(map(_point, reversed(checkpoint_store.of_job(connection, each)))) if each is not None else ()
        for each in (job_id, from_job)
    )
    return ResumePoints(own, inputs)


def deliver(
    tx: Connection, orders: Orders, *, launched: Sequence[int], incarnation: UUID, now: datetime
) -> dict[int, Exception]:
    """Orders were carried out; the ``launched`` attempts belong to this life of the launcher.

    Returns attempts that this could not be noted of, and why. They run all the same.
    """
    failed = attempt_service.launched(tx, launched, incarnation, now=now)
    for order in orders.launches:
        if order.input_checkpoint is not None:
            attempt_store.works_on(tx, order.attempt_id, order.input_checkpoint.id)
    outbox.mark_delivered(tx, orders.ids, now=now)
    return failed


def attempt_of(connection: Connection, order_id: int) -> int | None:
    """The attempt that an order is about."""
    return outbox.attempt_of(connection, order_id)


def retire_silent(
    tx: Connection, *, cluster: str, silence: timedelta, policy: RetryPolicy, now: datetime
) -> int:
    """Take over from launchers of other clusters that fell silent; returns how many attempts they had.

    What could not be declared lost is found by ``of_retired`` again and again.
    """
    lost = 0
    for name in launcher_store.lock_foreign(tx, cluster, silent_since=now - silence):
        launcher_store.retire(tx, name)
        gone = attempt_store.orphans(tx, name, None)
        lost += attempt_service.lose(tx, gone, why=CLUSTER_GONE, policy=policy, now=now)
    return lost


def of_retired(connection: Connection, *, cluster: str, now: datetime, limit: int) -> list[int]:
    """Live attempts of launchers of other clusters that were retired."""
    return launcher_store.attempts_of_retired(connection, cluster, limit=limit)


def lose_cluster(tx: Connection, attempt_ids: Sequence[int], *, policy: RetryPolicy, now: datetime) -> None:
    attempt_service.lose_all(tx, attempt_ids, why=CLUSTER_GONE, policy=policy, now=now)


def _launch_order(
    row: Any,
    checkpoints: dict[int, CheckpointRecord],
    account: tuple[str, tuple[int, ...]],
    stop_grace_s: float,
    now: datetime,
) -> LaunchOrder:
    timeout_s, timeout_cause = _time_limit(bounded(row.timeout_s), row.deadline, now)
    config = {**row.config, **row.training_config}
    source = row.training_config.get(FROM_JOB)
    return LaunchOrder(
        attempt_id=row.attempt_id,
        token=str(row.token),
        job_id=row.job_id,
        agent_id=row.agent_id,
        number=row.number,
        entrypoint=row.entrypoint,
        config=config,
        hyperparameters=row.hyperparameters,
        seed=row.seed,
        resources=rows.resources(row),
        node_id=row.node_id,
        workers=row.workers,
        placement=rows.seats(row.placement),
        selector=rows.selector(row.selector),
        spot=Spot(row.spot),
        requirements=tuple(row.requirements),
        docker_image=row.docker_image,
        working_dir=row.working_dir,
        environment_vars={**row.version_environment_vars, **row.environment_vars},
        secrets=row.secrets,
        timeout_s=timeout_s,
        timeout_cause=timeout_cause,
        stop_grace_s=stop_grace_s,
        resume_from=_resume_point(checkpoints.get(row.job_id)),
        left_s=None if row.deadline is None else _left_s(row.deadline, now),
        input_checkpoint=_resume_point(checkpoints.get(source)) if source is not None else None,
        from_job=source,
        money=Money(row.money),
        currency=account[0],
        account_ids=account[1],
    )


def _spent_from(connection: Connection, account_id: int) -> tuple[str, tuple[int, ...]]:
    """The currency of an account, and all accounts that bind what is spent from it."""
    account = account_service.account(connection, account_id)
    return account.currency, tuple(each.id for each in account_service.chain(connection, account))


def _reward_clips(connection: Connection, agent_id: int) -> tuple[RewardClip, ...]:
    ruling = policies.of_agent(connection, agent_id)
    return tuple(rule for policy in ruling for rule in policy.rules if isinstance(rule, RewardClip))


def _resume_point(record: CheckpointRecord | None) -> ResumePoint | None:
    return None if record is None else _point(record)


def _point(record: CheckpointRecord) -> ResumePoint:
    return ResumePoint(
        uri=record.uri,
        digest=record.digest,
        step=record.step,
        metrics=record.metrics,
        address=record.address,
        id=record.id,
    )


def _left_s(deadline: datetime, now: datetime) -> float:
    return min(float(LONGEST_S), max(0.0, (deadline - now).total_seconds()))


def _time_limit(
    timeout_s: float | None, deadline: datetime | None, now: datetime
) -> tuple[float | None, EndCause]:
    """How long the attempt may run, and why no longer."""
    if deadline is None:
        return timeout_s, EndCause.TIMEOUT
    left_s = _left_s(deadline, now)
    if timeout_s is not None and timeout_s <= left_s:
        return timeout_s, EndCause.TIMEOUT
    return left_s, EndCause.DEADLINE
