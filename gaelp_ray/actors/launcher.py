"""A launcher: owns the Ray tasks of some attempts and is their processes' only door to the service."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gaelp_ray.actors import meters
from gaelp_ray.actors.loops import every, until_available, utc_now
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.attempts import Directive, LaunchOrder, Outcome
from gaelp_ray.domain.checkpoints import Retention
from gaelp_ray.domain.errors import Forbidden, SetupError
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.observability.metrics import ATTEMPTS_ENDED, LIVE_ATTEMPTS, SILENT_ATTEMPTS
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import budgets as budget_service
from gaelp_ray.services import launching
from gaelp_ray.training.checkpoints import Saved
from gaelp_ray.training.run import run

log = logging.getLogger(__name__)

ORDERS_S = 1.0
HEARTBEAT_S = 5.0
#: Without a sign of life for so long, an attempt is reported silent; only Ray's word ends it.
SILENT_S = 30.0
#: A process that does not stop in its grace period is killed by Ray this much later.
KILL_MARGIN_S = 10.0


@dataclass
class Owned:
    """An attempt whose task this launcher owns."""

    order: LaunchOrder
    ref: Any
    #: A process runs it; before that it waits in Ray.
    claimed: bool = False
    seen_at: float = field(default_factory=time.monotonic)
    directive: Directive = field(default_factory=Directive)


class Launcher:
    """Starts attempts, stops them, and remembers how they ended.

    Every answer to a process means that the database has it: ``claim``, ``save_checkpoint``, ``spend`` and
    ``finish`` wait for the database as long as it takes. A launcher that dies takes its tasks with it; its
    next life declares their attempts lost, and they go on from their checkpoints.
    """

    async def __init__(self, settings: Settings, name: str, cluster: str, hub: Any) -> None:  # type: ignore[misc]
        self._runtime = Runtime(settings)
        self._settings = settings
        self._name = name
        self._cluster = cluster
        self._hub = hub
        self._incarnation = uuid.uuid4()
        self._owned: dict[int, Owned] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._spawn(self._live())

    async def wake(self) -> None:
        """There are new orders."""
        self._wake.set()

    async def pid(self) -> int:
        return os.getpid()

    async def _live(self) -> None:
        await self._remember(
            launching.register,
            self._name,
            cluster=self._cluster,
            incarnation=self._incarnation,
            policy=self._runtime.retry_policy,
            now=utc_now(),
        )
        self._spawn(every(HEARTBEAT_S, self._show_life))
        await every(ORDERS_S, self._carry_out_orders, wake=self._wake)

    async def _carry_out_orders(self) -> None:
        store, grace_s = self._runtime.store, self._settings.stop_grace_s
        orders = await asyncio.to_thread(store.read, launching.take_orders, self._name, stop_grace_s=grace_s)
        if not orders.ids:
            return
        for order in orders.launches:
            self._launch(order)
        for stop in orders.stops:
            self._tell_to_stop(stop.attempt_id, stop.cause)
        launched = [order.attempt_id for order in orders.launches]
        await self._remember(
            launching.deliver, orders, launched=launched, incarnation=self._incarnation, now=utc_now()
        )
        self._wake.set()  # there may be more than one batch

    def _launch(self, order: LaunchOrder) -> None:
        if order.attempt_id in self._owned:
            return
        try:
            ref = self._hand_to_ray(order)
        except Exception as error:  # whatever is wrong with one order must not hold up the others
            self._spawn(self._end(order.attempt_id, Outcome(EndCause.MISCONFIGURED, f"{error}"[:2000])))
            return
        self._owned[order.attempt_id] = Owned(order, ref)
        self._spawn(self._watch(order.attempt_id, ref))

    def _hand_to_ray(self, order: LaunchOrder) -> Any:
        settings = self._settings
        secrets = read_secrets(settings, order.secrets)
        me = ray.get_runtime_context().current_actor
        task = ray.remote(run).options(**task_options(order))
        return task.remote(order, me, self._hub, settings.storage_uri, settings.log_limit_bytes, secrets)

    async def _watch(self, attempt_id: int, ref: Any) -> None:
        """Wait for the task; its process has told its end itself, unless it could not."""
        try:
            outcome = await ref
        except Exception as error:
            outcome = outcome_of_failure(error)
        self._owned.pop(attempt_id, None)
        if outcome is not None:
            await self._end(attempt_id, outcome)

    def _tell_to_stop(self, attempt_id: int, cause: EndCause) -> None:
        owned = self._owned.get(attempt_id)
        if owned is None:
            # Never launched, or its task has just gone: nothing runs that could stop.
            self._spawn(self._end(attempt_id, Outcome(cause, "Stopped before it ran.")))
            return
        owned.directive = Directive(stop=cause)
        # While it waits in Ray there is no process to ask.
        delay_s = owned.order.stop_grace_s + KILL_MARGIN_S if owned.claimed else 0.0
        self._spawn(self._kill_later(attempt_id, owned.ref, delay_s))

    async def _kill_later(self, attempt_id: int, ref: Any, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        if attempt_id in self._owned:
            ray.cancel(ref, force=True)

    async def claim(
        self, attempt_id: int, token: str, claimant: str, node_id: str, resumed_from_step: int | None
    ) -> bool:
        asked = attempt_service.Claim(
            attempt_id, uuid.UUID(token), uuid.UUID(claimant), node_id, resumed_from_step
        )
        granted = await self._remember(
            attempt_service.claim, asked, incarnation=self._incarnation, now=utc_now()
        )
        if granted and attempt_id in self._owned:
            self._owned[attempt_id].claimed = True
        return bool(granted)

    async def beat(self, attempt_id: int, token: str) -> Directive:
        """A sign of life; the answer says whether to go on."""
        owned = self._owned.get(attempt_id)
        if owned is None or owned.order.token != token:
            return Directive(stop=EndCause.SUPERSEDED)
        owned.seen_at = time.monotonic()
        return owned.directive

    async def save_checkpoint(
        self,
        attempt_id: int,
        token: str,
        step: int,
        saved: Saved,
        metrics: dict[str, float],
        points: list[MetricPoint],
    ) -> list[str]:
        let_go = await self._remember(
            attempt_service.save_checkpoint,
            attempt_id,
            uuid.UUID(token),
            step=step,
            uri=saved.uri,
            digest=saved.digest,
            size_bytes=saved.size_bytes,
            metrics=metrics,
            points=points,
            keep=Retention(),
            now=utc_now(),
        )
        return [record.uri for record in let_go or ()]

    async def spend(self, attempt_id: int, token: str, amount_micros: int, key: str) -> int:
        owned = self._proven(attempt_id, token)
        balance = await self._remember(
            budget_service.spend,
            owned.order.agent_id,
            job_id=owned.order.job_id,
            key=key,
            amount_micros=amount_micros,
            now=utc_now(),
        )
        return int(balance)

    async def append_log(self, attempt_id: int, token: str, start_byte: int, content: bytes) -> None:
        self._proven(attempt_id, token)
        await self._remember(attempt_service.append_log, attempt_id, start_byte, content, now=utc_now())

    def _proven(self, attempt_id: int, token: str) -> Owned:
        """The attempt, if the caller is the process that runs it; else ``Forbidden``."""
        owned = self._owned.get(attempt_id)
        if owned is None or owned.order.token != token:
            raise Forbidden(f"This process does not run attempt {attempt_id}.")
        return owned

    async def finish(self, attempt_id: int, token: str, outcome: Outcome) -> None:
        await self._end(attempt_id, outcome, token=uuid.UUID(token))

    async def _end(self, attempt_id: int, outcome: Outcome, token: uuid.UUID | None = None) -> None:
        state = await self._remember(
            attempt_service.finish,
            attempt_id,
            outcome,
            token=token,
            policy=self._runtime.retry_policy,
            now=utc_now(),
        )
        if state is not None:
            meters.count(ATTEMPTS_ENDED, cause=str(outcome.cause))

    async def _show_life(self) -> None:
        now = time.monotonic()
        alive = [i for i, owned in self._owned.items() if now - owned.seen_at < HEARTBEAT_S]
        silent = [i for i, owned in self._owned.items() if owned.claimed and now - owned.seen_at > SILENT_S]
        meters.gauge(LIVE_ATTEMPTS, len(self._owned), launcher=self._name)
        meters.gauge(SILENT_ATTEMPTS, len(silent), launcher=self._name)
        if silent:
            log.warning("attempts are silent", extra={"attempts": silent, "launcher": self._name})
        still_mine = await asyncio.to_thread(
            self._runtime.store.transact,
            launching.heartbeat,
            self._name,
            self._incarnation,
            attempt_ids=alive,
            now=utc_now(),
        )
        if not still_mine:
            self._abandon()

    def _abandon(self) -> None:
        """Another cluster has taken over: whatever still runs here must not go on."""
        log.warning("retired; stopping its tasks", extra={"launcher": self._name})
        for owned in self._owned.values():
            ray.cancel(owned.ref, force=True)

    async def _remember(self, use_case: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One transaction, however long the database takes to answer."""
        return await until_available(lambda: self._runtime.store.transact(use_case, *args, **kwargs))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def task_options(order: LaunchOrder) -> dict[str, Any]:
    """How Ray runs an attempt: its resources, its node if that still lives, its environment."""
    request = order.resources
    options: dict[str, Any] = {
        "name": f"job-{order.job_id}-attempt-{order.number}",
        "num_cpus": request.cpu_milli / 1000,
        "num_gpus": request.gpu_milli / 1000,
        "memory": request.memory_bytes,
        # The service retries, from the checkpoint and with an attempt of its own.
        "max_retries": 0,
    }
    if order.node_id is not None:
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(order.node_id, soft=True)
    environment = runtime_environment(order)
    if environment:
        options["runtime_env"] = environment
    return options


def runtime_environment(order: LaunchOrder) -> dict[str, Any]:
    """Ray's part of the environment. Variables go to the training process alone, so workers stay reusable."""
    environment: dict[str, Any] = {}
    if order.requirements:
        environment["pip"] = list(order.requirements)
    if order.working_dir and "://" in order.working_dir:
        environment["working_dir"] = order.working_dir
    return environment


#: Ray's verdicts on a task, most particular first, and what each means for the attempt.
_VERDICTS: tuple[tuple[type[Exception], EndCause, str], ...] = (
    (RuntimeEnvSetupError, EndCause.MISCONFIGURED, "Its environment could not be set up: {error}"),
    (OutOfMemoryError, EndCause.OOM, "Ray killed it because its node ran out of memory."),
    (TaskCancelledError, EndCause.CANCELLED, "It was killed because it did not stop in time."),
    (NodeDiedError, EndCause.NODE_LOST, "Its node died."),
    (WorkerCrashedError, EndCause.NODE_LOST, "Its Ray worker died."),
    (Exception, EndCause.NODE_LOST, "Its supervisor failed: {error}"),
)


def outcome_of_failure(error: Exception) -> Outcome:
    """What Ray's verdict on a task means for its attempt."""
    cause, sentence = next((c, s) for kind, c, s in _VERDICTS if isinstance(error, kind))
    return Outcome(cause, sentence.format(error=error)[:2000])


def read_secrets(settings: Settings, wanted: Mapping[str, str]) -> dict[str, str]:
    """Values of named secrets, from one file each under HOME/secrets (a mounted Secret on Kubernetes).

    Raises ``SetupError`` naming the first that is missing.
    """
    folder = settings.data_dir / "secrets"
    values: dict[str, str] = {}
    for variable, name in wanted.items():
        try:
            values[variable] = (folder / name).read_text().rstrip("\n")
        except (OSError, UnicodeDecodeError):
            raise SetupError(f"The secret {name!r} for {variable} is not on the cluster.") from None
    return values
