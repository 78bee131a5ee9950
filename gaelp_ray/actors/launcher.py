"""A launcher: owns the Ray tasks of some attempts and is their processes' only door to the service."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import ray

from gaelp_ray.actors import meters
from gaelp_ray.actors.cashier import Cashier
from gaelp_ray.actors.cluster import draining_nodes, waiting_for_room
from gaelp_ray.actors.crew import Crew
from gaelp_ray.actors.duties import round_of, settle
from gaelp_ray.actors.logbook import Logbook
from gaelp_ray.actors.loops import every, until_available, utc_now
from gaelp_ray.actors.orphans import OrphanCollector
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.attempts import Directive, LaunchOrder, Outcome, ResumePoints, unpaid
from gaelp_ray.domain.checkpoints import Retention
from gaelp_ray.domain.duties import (
    COLLECT,
    DELIVER,
    DRAINS,
    HEARTBEAT,
    ORDERS,
    ORPHANS,
    PAY,
    PLACES,
    SWITCHES,
    Failed,
    isolated,
    words_of,
)
from gaelp_ray.domain.endings import bare
from gaelp_ray.domain.errors import Forbidden, GaelpError, SetupError, Unavailable
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.jobs import EndCause, JobState
from gaelp_ray.domain.ledger import Money, Settle
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.platforms import DeliveryReport, Placements
from gaelp_ray.domain.resources import Resources
from gaelp_ray.observability.metrics import (
    ATTEMPTS_ENDED,
    GPU_IDLE_SECONDS,
    LIVE_ATTEMPTS,
    SILENT_ATTEMPTS,
)
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.services import costs, duties, launching
from gaelp_ray.services.launching import Orders
from gaelp_ray.training.budget import Lease
from gaelp_ray.training.checkpoints import Saved
from gaelp_ray.training.idleness import IdlePolicy
from gaelp_ray.training.orders import Proposal, Ruling, Standing
from gaelp_ray.training.packages import Installation
from gaelp_ray.training.run import Terms, run

log = logging.getLogger(__name__)
R = TypeVar("R")

ORDERS_S = 1.0
HEARTBEAT_S = 5.0
SWITCHES_S = 1.0
#: Without a sign of life for so long, an attempt is reported silent; only Ray's word ends it.
SILENT_S = 30.0
#: How often some of the attempts that ended are looked at for checkpoints that nobody refers to.
COLLECT_S = 60.0
#: How often it is looked whether running time must be paid for.
PAY_S = 2.0
#: An order that cannot be read is tried so often before its attempt is ended.
GIVE_UP_AFTER = 5
UNPROVEN = "Nobody can tell whether its running time is paid for."
#: How long Ray may take to find room for an attempt.
PLACE_S = 60.0
NO_ROOM = "Ray found no room for it: what was planned for it is used outside the queue."
#: Between two tries to store an end of which nothing can be left out any more.
END_PAUSE_S = 5.0
DRAINED = "Its node is being taken away; it goes on elsewhere."


@dataclass
class Owned:
    """An attempt whose tasks this launcher owns."""

    order: LaunchOrder
    crew: Crew
    log: Logbook
    #: Money is held for its running time until then; None for what is free.
    paid_until: datetime | None = None
    #: When each worker last showed a sign of life.
    seen_at: dict[int, float] = field(default_factory=dict)
    #: When it was handed to Ray.
    began_at: float = field(default_factory=time.monotonic)

    def is_due(self, now: datetime, ahead: timedelta) -> bool:
        """Whether its running time is paid for no longer than that."""
        return self.paid_until is not None and now >= self.paid_until - ahead

    @property
    def asks_for(self) -> Resources:
        """What Ray is asked for, for each worker; Ray does not count storage."""
        return replace(self.order.resources, storage_bytes=0)

    def is_late(self, now: float) -> bool:
        """Whether Ray should have started it by now. A gang's room is waited for before it starts."""
        return self.order.workers == 1 and now - self.began_at > PLACE_S

    def quiet_s(self, now: float) -> float:
        """How long the quietest worker has been silent; 0 before the first sign."""
        return max((now - at for at in self.seen_at.values()), default=0.0)


class Launcher:
    """Starts attempts, stops them, and remembers how they ended.

    Every answer to a process means that the database has it: ``claim``, ``save_checkpoint``, ``spend`` and
    ``finish`` wait for the database as long as it takes. A launcher that dies takes its tasks with it; its
    next life declares their attempts lost, and they go on from their checkpoints.
    """

    async def __init__(  # type: ignore[misc]
        self, settings: Settings, name: str, cluster: str, hub: Any, guards: Sequence[Any]
    ) -> None:
        self._runtime = Runtime(settings)
        self._settings = settings
        self._name = name
        self._cluster = cluster
        self._hub = hub
        self._orphans = OrphanCollector(self._runtime)
        self._cashier = Cashier(guards, self._runtime.store)
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

    async def owned(self) -> frozenset[int]:
        """Attempts whose tasks this launcher owns."""
        return frozenset(self._owned)

    async def drop(self, attempt_id: int) -> None:
        """The attempt has ended without its tasks: whatever still runs must not go on."""
        if attempt_id in self._owned:
            self._owned[attempt_id].crew.kill()

    async def _live(self) -> None:
        await self._remember(
            launching.register,
            self._name,
            cluster=self._cluster,
            incarnation=self._incarnation,
            policy=self._runtime.retry_policy,
            now=utc_now(),
        )
        self._spawn(every(HEARTBEAT_S, HEARTBEAT, self._show_life))
        self._spawn(every(HEARTBEAT_S, ORPHANS, self._lose_orphans))
        self._spawn(every(HEARTBEAT_S, DRAINS, self._heed_drains))
        self._spawn(every(HEARTBEAT_S, PLACES, self._take_back))
        self._spawn(every(SWITCHES_S, SWITCHES, self._heed_switches))
        self._spawn(every(PAY_S, PAY, self._pay))
        if self._name.endswith("launcher-0"):
            self._spawn(every(COLLECT_S, COLLECT, self._collect_orphans))
        await every(ORDERS_S, ORDERS, self._carry_out_orders, wake=self._wake)

    async def _lose_orphans(self) -> None:
        """What could not be declared lost when this life began."""
        look = partial(launching.orphans, name=self._name, incarnation=self._incarnation)
        lose = partial(launching.lose_orphans, policy=self._runtime.retry_policy, now=utc_now())
        await asyncio.to_thread(round_of, self._runtime.store, ORPHANS, look, lose)

    async def _carry_out_orders(self) -> None:
        store, grace_s = self._runtime.store, self._settings.stop_grace_s
        known = await asyncio.to_thread(store.read, duties.known, ORDERS)
        now = utc_now()
        paused = frozenset(int(item) for item, again_at in known.items() if again_at and again_at > now)
        orders = await asyncio.to_thread(
            store.read, launching.take_orders, self._name, stop_grace_s=grace_s, now=now, without=paused
        )
        if orders.broken or known:
            await self._set_aside(orders, known)
        if not orders.ids:
            return
        for order in orders.launches:
            self._launch(order)
        for stop in orders.stops:
            self._tell_to_stop(stop.attempt_id, Directive(stop.cause))
        launched = [order.attempt_id for order in orders.launches]
        unnoted = await self._remember(
            launching.deliver, orders, launched=launched, incarnation=self._incarnation, now=utc_now()
        )
        if unnoted:
            failed = {str(attempt_id): error for attempt_id, error in unnoted.items()}
            await asyncio.to_thread(settle, store, DELIVER, (), failed, known={}, again=False)
        self._wake.set()  # there may be more than one batch

    async def _set_aside(self, orders: Orders, known: Mapping[str, datetime | None]) -> None:
        """Note orders that cannot be read. One that fails too often ends its attempt, which holds room."""
        store = self._runtime.store
        broken = {str(order_id): error for order_id, error in orders.broken.items()}
        tried = broken.keys() | {str(order_id) for order_id in orders.ids}
        failures = await asyncio.to_thread(settle, store, ORDERS, tried, broken, known=known)
        for failure in failures:
            if failure.times < GIVE_UP_AFTER:
                continue
            attempt_id = await asyncio.to_thread(store.read, launching.attempt_of, int(failure.item))
            if attempt_id is not None:
                words = f"Its order to start cannot be carried out: {words_of(failure.error)}."
                self._spawn(self._end(attempt_id, Outcome(EndCause.MISCONFIGURED, words)))

    def _launch(self, order: LaunchOrder) -> None:
        if order.attempt_id in self._owned:
            return
        start = partial(self._hand_to_ray, order)
        crew = Crew(order, start, name=f"{self._name}/attempt-{order.attempt_id}")
        write = partial(
            self._remember,
            attempt_service.append_log,
            order.attempt_id,
            limit_bytes=self._settings.log_limit_bytes,
        )
        self._owned[order.attempt_id] = Owned(order, crew, Logbook(write), order.paid_until)
        self._spawn(self._follow(order.attempt_id, crew))

    def _hand_to_ray(self, order: LaunchOrder, rank: int, options: dict[str, Any]) -> Any:
        settings = self._settings
        terms = run_terms(settings)
        secrets = read_secrets(settings, order.secrets)
        me = ray.get_runtime_context().current_actor
        return ray.remote(run).options(**options).remote(order, rank, me, self._hub, terms, secrets)

    async def _follow(self, attempt_id: int, crew: Crew) -> None:
        """From the start of an attempt's workers to the end that is remembered."""
        try:
            outcome = await crew.run()
        except Exception as error:  # whatever is wrong with one order must not hold up the others
            outcome = Outcome(EndCause.MISCONFIGURED, f"{error}"[:2000])
        if outcome is not None:
            await self._end(attempt_id, outcome)
        self._owned.pop(attempt_id, None)
        await crew.close()

    def _tell_to_stop(self, attempt_id: int, directive: Directive) -> None:
        owned = self._owned.get(attempt_id)
        if owned is not None:
            owned.crew.stop(directive)
        elif directive.stop is not None:
            # Never launched, or its task has just gone: nothing runs that could stop.
            self._spawn(self._end(attempt_id, Outcome(directive.stop, "Stopped before it ran.")))

    async def _heed_drains(self) -> None:
        """Have the attempts on nodes that are to go save their work and leave while there is time."""
        draining = await asyncio.to_thread(draining_nodes)
        for attempt_id, owned in list(self._owned.items()):
            if draining & owned.crew.node_ids():
                self._tell_to_stop(attempt_id, Directive(EndCause.PREEMPTED, DRAINED))

    async def _take_back(self) -> None:
        """Send attempts back to the queue that Ray finds no room for: others use what was planned for them.

        It costs them nothing, and none starts twice: whoever is told to stop is never granted its claim.
        """
        now = time.monotonic()
        late = [i for i, owned in self._owned.items() if owned.crew.is_waiting() and owned.is_late(now)]
        if not late:
            return
        waiting = await asyncio.to_thread(waiting_for_room)
        for attempt_id in late:
            owned = self._owned.get(attempt_id)
            if owned is not None and owned.crew.is_waiting() and owned.asks_for in waiting:
                self._tell_to_stop(attempt_id, Directive(EndCause.NODE_LOST, NO_ROOM))

    async def _heed_switches(self) -> None:
        """Stop what spends real money under a kill switch, for what was ordered must end as well."""
        spending = {i: owned.order for i, owned in self._owned.items() if owned.order.money is Money.REAL}
        if spending:
            for attempt_id, words in (await self._cashier.halted(spending)).items():
                self._tell_to_stop(attempt_id, Directive(EndCause.BUDGET, words))

    async def _collect_orphans(self) -> None:
        """One launcher does it for all."""
        await self._orphans.collect()

    async def _pay(self) -> None:
        """Hold money for the next slice of running time of what still runs near the end of one."""
        terms, now = self._runtime.terms, utc_now()
        due = [i for i, owned in self._owned.items() if owned.is_due(now, terms.notice + terms.lead)]
        if not due:
            return
        try:
            outcomes = await asyncio.to_thread(self._renew, due, now)
        except Unavailable as error:
            outcomes = dict.fromkeys(due, error)
        for attempt_id, outcome in outcomes.items():
            owned = self._owned.get(attempt_id)
            if owned is None:
                continue
            if isinstance(outcome, datetime):
                owned.paid_until = outcome
            elif owned.is_due(now, terms.notice):
                # Nothing runs that nobody can prove to be paid for; what is held pays for the notice.
                self._tell_to_stop(attempt_id, unpaid(outcome))

    def _renew(self, due: Sequence[int], now: datetime) -> dict[int, datetime | GaelpError]:
        """As ``costs.renew``. For what cannot even be asked for, nobody can prove that it is paid for."""
        store, terms = self._runtime.store, self._runtime.terms

        def together(part: Sequence[int]) -> list[datetime | GaelpError | None]:
            outcomes = store.transact(costs.renew, part, terms=terms, now=now)
            return [outcomes.get(attempt_id) for attempt_id in part]

        found: dict[int, datetime | GaelpError] = {}
        failed: dict[str, Exception] = {}
        for attempt_id, result in zip(due, isolated(due, together), strict=True):
            if isinstance(result, Failed):
                failed[str(attempt_id)] = result.error
                found[attempt_id] = Unavailable(UNPROVEN)
            elif result is not None:
                found[attempt_id] = result
        if failed:
            settle(store, PAY, (), failed, known={}, again=False)
        return found

    async def claim(
        self,
        attempt_id: int,
        token: str,
        rank: int,
        claimant: str,
        member: Member,
        resumed_from_step: int | None,
    ) -> Sequence[Member] | None:
        """Take the attempt for all its workers once they have come; None: leave without doing anything."""
        owned = self._owned.get(attempt_id)
        if owned is None or owned.order.token != token:
            return None
        members = await owned.crew.join(member)
        if members is None:
            return None
        if rank == 0:
            granted = await self._claim(owned.order, claimant, members, resumed_from_step)
            owned.crew.grant(granted)
        return members if await owned.crew.granted() else None

    async def _claim(
        self, order: LaunchOrder, claimant: str, members: Sequence[Member], resumed_from_step: int | None
    ) -> bool:
        first, *others = (member.seat for member in members)
        asked = attempt_service.Claim(
            order.attempt_id,
            uuid.UUID(order.token),
            uuid.UUID(claimant),
            first.node_id,
            resumed_from_step,
            gpus=first.gpus,
            others=tuple(others),
        )
        return bool(
            await self._remember(attempt_service.claim, asked, incarnation=self._incarnation, now=utc_now())
        )

    async def beat(self, attempt_id: int, token: str, rank: int) -> Directive:
        """A sign of life; the answer says whether to go on."""
        owned = self._owned.get(attempt_id)
        if owned is None or owned.order.token != token:
            return Directive(stop=EndCause.SUPERSEDED)
        owned.seen_at[rank] = time.monotonic()
        return owned.crew.directive

    async def idle(self, attempt_id: int, token: str, _rank: int, seconds: float, words: str | None) -> None:
        """GPUs were not used. Answers at once: the limits of the attempt must not wait for the database."""
        owned = self._proven(attempt_id, token)
        meters.count(GPU_IDLE_SECONDS, seconds * owned.order.resources.gpu_milli / 1000)
        if words is not None:
            log.warning("GPUs are idle", extra={"attempt": attempt_id, "job": owned.order.job_id})
            self._spawn(self._remember(attempt_service.notice, attempt_id, words))

    async def notice(self, attempt_id: int, token: str, _rank: int, words: str) -> None:
        """Tell the job's owner; answers at once, as ``idle`` does."""
        self._proven(attempt_id, token)
        self._spawn(self._remember(attempt_service.notice, attempt_id, words))

    async def resume_points(self, attempt_id: int, token: str, _rank: int) -> ResumePoints:
        """The checkpoints that an attempt may begin with."""
        order = self._proven(attempt_id, token).order
        found: ResumePoints = await until_available(
            lambda: self._runtime.store.read(launching.resume_points, order.job_id, order.from_job)
        )
        return found

    async def resumed(self, attempt_id: int, token: str, _rank: int, step: int | None, words: str) -> None:
        """It does not go on from where it was to."""
        self._proven(attempt_id, token)
        await self._remember(attempt_service.resumed, attempt_id, uuid.UUID(token), step=step, words=words)

    async def save_checkpoint(
        self,
        attempt_id: int,
        token: str,
        _rank: int,
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
            address=saved.address,
            digest=saved.digest,
            size_bytes=saved.size_bytes,
            metrics=metrics,
            points=points,
            keep=Retention(),
            now=utc_now(),
        )
        if let_go is None:
            # The attempt has ended: nobody will ever ask for it.
            return [saved.uri]
        return [record.uri for record in let_go]

    async def spend(self, attempt_id: int, token: str, _rank: int, amount_micros: int, key: str) -> None:
        await self._cashier.spend(self._proven(attempt_id, token).order, amount_micros, key)

    async def lend(
        self, attempt_id: int, token: str, _rank: int, asked: Sequence[Lease | Settle]
    ) -> list[GaelpError | None]:
        return await self._cashier.lend(self._proven(attempt_id, token).order, asked)

    async def admit(
        self, attempt_id: int, token: str, _rank: int, proposal: Proposal, standing: Standing
    ) -> Ruling:
        return await self._cashier.admit(self._proven(attempt_id, token).order, proposal, standing)

    async def placements(self, attempt_id: int, token: str, _rank: int, platform: str) -> Placements:
        return await self._cashier.placements(self._proven(attempt_id, token).order, platform)

    async def receive(
        self, attempt_id: int, token: str, _rank: int, reports: Sequence[DeliveryReport]
    ) -> None:
        await self._cashier.receive(self._proven(attempt_id, token).order, reports)

    async def append_log(
        self, attempt_id: int, token: str, rank: int, start_byte: int, content: bytes
    ) -> None:
        await self._proven(attempt_id, token).log.add(rank, start_byte, content)

    def _proven(self, attempt_id: int, token: str) -> Owned:
        """The attempt, if the caller is the process that runs it; else ``Forbidden``."""
        owned = self._owned.get(attempt_id)
        if owned is None or owned.order.token != token:
            raise Forbidden(f"This process does not run attempt {attempt_id}.")
        return owned

    async def finish(self, attempt_id: int, token: str, rank: int, outcome: Outcome) -> None:
        """A worker has ended; answers when the end of the whole attempt is remembered."""
        owned = self._owned.get(attempt_id)
        if owned is not None and owned.order.token == token:
            # It waits for the others from here on, and shows no more signs of life.
            owned.seen_at.pop(rank, None)
            owned.crew.tell(rank, outcome)
            await owned.crew.over()

    async def _end(self, attempt_id: int, outcome: Outcome) -> None:
        """Remember an end. What the database refuses of it is left out: an attempt does not hold its
        resources on because of what it said."""
        state = await until_stored(partial(self._store_end, attempt_id), outcome)
        if state is not None:
            meters.count(ATTEMPTS_ENDED, cause=str(outcome.cause))

    async def _store_end(self, attempt_id: int, outcome: Outcome) -> JobState | None:
        state: JobState | None = await self._remember(
            attempt_service.finish,
            attempt_id,
            outcome,
            token=None,
            policy=self._runtime.retry_policy,
            now=utc_now(),
        )
        return state

    async def _show_life(self) -> None:
        now = time.monotonic()
        claimed = {i: owned for i, owned in self._owned.items() if owned.crew.claimed}
        alive = [i for i, owned in claimed.items() if owned.quiet_s(now) < HEARTBEAT_S]
        silent = [i for i, owned in claimed.items() if owned.quiet_s(now) > SILENT_S]
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
            owned.crew.kill()

    async def _remember(self, use_case: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One transaction, however long the database takes to answer."""
        return await until_available(lambda: self._runtime.store.transact(use_case, *args, **kwargs))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def run_terms(settings: Settings) -> Terms:
    """What every attempt is granted on its node."""
    installation = Installation(
        settings.environments_dir,
        installer=settings.installer,
        timeout_s=settings.install_timeout_s,
        limit_bytes=settings.environments_limit_bytes,
    )
    own = [str(settings.data_dir), *([] if "://" in settings.storage_uri else [settings.storage_uri])]
    return Terms(
        settings.storage_uri,
        settings.log_limit_bytes,
        idle_policy(settings),
        settings.exit_grace_s,
        installation=installation,
        private=tuple(own),
    )


async def until_stored(
    store: Callable[[Outcome], Awaitable[R]], outcome: Outcome, *, pause_s: float = END_PAUSE_S
) -> R:
    """Store an outcome, and when that fails what is left of it, again and again."""
    while True:
        try:
            return await store(outcome)
        except Exception:
            log.exception("an end could not be stored", extra={"cause": str(outcome.cause)})
            if outcome == bare(outcome):
                await asyncio.sleep(pause_s)
            outcome = bare(outcome)


def idle_policy(settings: Settings) -> IdlePolicy:
    def seconds(span: timedelta | None) -> float | None:
        return span.total_seconds() if span is not None else None

    return IdlePolicy(seconds(settings.idle_gpu_warn), seconds(settings.idle_gpu_stop))


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
