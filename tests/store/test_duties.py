"""One bad row stops nobody: each duty does the rest, notes the row, and does it once it is mended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from gaelp_ray.actors import duties, meters
from gaelp_ray.actors import launcher as launcher_module
from gaelp_ray.actors import scheduler as scheduler_module
from gaelp_ray.actors.budget_guard import BudgetGuard
from gaelp_ray.actors.group_commit import GroupCommit
from gaelp_ray.actors.hub import MetricsHub
from gaelp_ray.actors.launcher import Launcher
from gaelp_ray.actors.logbook import Logbook
from gaelp_ray.actors.reconciler import Reconciler
from gaelp_ray.actors.scheduler import Scheduler
from gaelp_ray.bootstrap import Runtime
from gaelp_ray.config import Settings
from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.duties import (
    COMMITS,
    DELIVER,
    DUTIES,
    EXPIRE_HOLDS,
    EXPIRE_JOBS,
    FIRST_PAUSE,
    LIVE_EVENTS,
    LIVE_POINTS,
    LOGS,
    LONGEST_PAUSE,
    LOOK,
    ORDERS,
    ORPHANS,
    PAY,
    PLAN,
    POINTS,
    QUEUE,
    RAMPS,
    READS,
    RECONCILE,
    START,
    TAKE_OVER,
    WAKE,
    Duty,
)
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.jobs import EndCause, Job, JobState
from gaelp_ray.domain.ledger import Outcome, Request
from gaelp_ray.domain.reconcile import Discrepancy, Finding
from gaelp_ray.domain.scheduling import Node, WaitCode
from gaelp_ray.domain.scheduling.planning import Planner
from gaelp_ray.observability.metrics import DUTY_FAILURES, Metric
from gaelp_ray.services import costs, ledger, ramps
from gaelp_ray.services import duties as service
from gaelp_ray.services.launching import LAUNCHER_DIED
from gaelp_ray.store import plans as plan_store
from gaelp_ray.store import set_aside
from gaelp_ray.store.engine import Store
from gaelp_ray.store.events import feed_end
from gaelp_ray.store.set_aside import SetAside
from serve_app.coalesce import Coalescer
from serve_app.live import LiveFeed
from tests.bank import Bank, a_hold, name
from tests.builders import CLUSTER, LAUNCHER, World, a_node, a_point
from tests.conftest import Sql

T = TypeVar("T", bound=Callable[..., None])

#: Duties with items that a test below poisons.
POISONED: set[Duty] = set()
#: What no code reads: as a newer release might have written it.
UNKNOWN = "from a newer release"


def poisons(*which: Duty) -> Callable[[T], T]:
    POISONED.update(which)
    return lambda test: test


class Plant:
    """The processes of a service without Ray, on a real clock."""

    def __init__(self, store: Store, sql: Sql, url: str) -> None:
        self.world = World(store, nodes=[a_node(cpu=64, memory_gib=256)])
        self.world.now = datetime.now(UTC)
        self.store, self.sql = store, sql
        self.runtime = Runtime(Settings(database_url=url, pool_size=4))
        self.counted: Counter[str] = Counter()
        self.scheduler = Scheduler.__new__(Scheduler)
        self.scheduler.__dict__ |= {
            "_runtime": self.runtime,
            "_settings": self.runtime.settings,
            "_cluster": CLUSTER,
            "_launchers": {},
            "_holder": "scheduler",
            "_reign": None,
        }

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        if metric is DUTY_FAILURES:
            self.counted[labels["duty"]] += int(amount)

    def nodes(self) -> tuple[Node, ...]:
        return self.world.nodes

    def tick(self) -> scheduler_module.Tick:
        self.world.now = datetime.now(UTC)
        tick = self.scheduler._tick_once()
        assert tick is not None
        return tick

    def launcher(self, launched: list[int]) -> Launcher:
        """One that starts nothing on Ray."""
        found = Launcher.__new__(Launcher)
        found.__dict__ |= {
            "_runtime": self.runtime,
            "_settings": self.runtime.settings,
            "_name": LAUNCHER,
            "_incarnation": self.world.life,
            "_owned": {},
            "_tasks": set(),
            "_wake": asyncio.Event(),
            "_launch": lambda order: launched.append(order.attempt_id),
        }
        return found

    def set_aside(self, duty: Duty) -> list[SetAside]:
        return [each for each in self.store.read(service.page, limit=100) if each.duty == duty.name]

    def noted(self, duty: Duty, item: object, words: str = "") -> SetAside:
        """What was set aside, once and alone, and was counted."""
        [found] = self.set_aside(duty)
        assert found.item == str(item)
        assert words in found.error
        assert self.counted[duty.name] == 1
        return found

    def let_try_again(self) -> None:
        """The pauses of all that was set aside are over."""
        self.sql("UPDATE set_aside SET next_try_at = now() - interval '1 second'")

    def state(self, job: Job) -> str:
        """Of a job whose row may not be readable."""
        [(state,)] = self.sql("SELECT state FROM jobs WHERE id = :id", id=job.id)
        return str(state)

    def spoil(self, job: Job) -> None:
        """Write what no code can read; what it was before is not needed."""
        self.sql("UPDATE jobs SET cause = :what WHERE id = :id", what=UNKNOWN, id=job.id)

    def mend(self, job: Job) -> None:
        self.sql("UPDATE jobs SET cause = NULL WHERE id = :id", id=job.id)

    def running(self, job: Job | None = None) -> Attempt:
        found = self.world.running(job)
        self.world.mirror = None
        return found


@pytest.fixture
def plant(store: Store, sql: Sql, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    plant = Plant(store, sql, database_url)
    monkeypatch.setattr(meters, "count", plant.count)
    monkeypatch.setattr(meters, "gauge", lambda *_, **__: None)
    monkeypatch.setattr(scheduler_module, "live_nodes", plant.nodes)
    monkeypatch.setattr(scheduler_module, "node_shapes", lambda *_: ())
    yield plant
    plant.runtime.store.close()


def test_every_duty_that_works_on_items_is_poisoned_here() -> None:
    assert {duty for duty in DUTIES.values() if duty.item is not None} == POISONED


@poisons(WAKE, EXPIRE_JOBS)
@pytest.mark.parametrize("duty", [WAKE, EXPIRE_JOBS], ids=lambda duty: duty.name)
def test_a_due_job_that_cannot_be_read_does_not_keep_the_others(plant: Plant, duty: Duty) -> None:
    plant.world.register()
    bad, good = plant.world.submit(), plant.world.submit()
    if duty is WAKE:
        due = "state = 'backoff', not_before = now() - interval '1 minute'"
        after = {"queued", "admitted"}
    else:
        due = "deadline = now() - interval '1 minute'"
        after = {"failed"}
        plant.world.nodes = ()
    plant.sql(f"UPDATE jobs SET {due}")
    plant.spoil(bad)
    plant.tick()
    assert plant.state(good) in after
    assert plant.state(bad) not in after
    assert plant.noted(duty, bad.id, UNKNOWN).times == 1
    plant.tick()
    assert plant.counted[duty.name] == 1, "it is not tried again at once"
    plant.mend(bad)
    plant.let_try_again()
    plant.tick()
    assert plant.state(bad) in after
    assert plant.set_aside(duty) == []


@poisons(QUEUE)
@pytest.mark.parametrize("when", ["as the scheduler begins", "later"])
def test_a_waiting_job_that_cannot_be_read_does_not_keep_the_others(plant: Plant, when: str) -> None:
    plant.world.register()
    if when == "later":
        plant.tick()
    bad, good = plant.world.submit(), plant.world.submit()
    plant.sql("UPDATE jobs SET selector = '[1]' WHERE id = :id", id=bad.id)
    assert plant.tick().applied.started == {good.id}
    plant.noted(QUEUE, bad.id)
    plant.sql("UPDATE jobs SET selector = '{}' WHERE id = :id", id=bad.id)
    plant.let_try_again()
    assert plant.tick().applied.started == {bad.id}
    assert plant.set_aside(QUEUE) == []


ROWS: dict[str, tuple[str, str, str]] = {
    "a quota": (
        "INSERT INTO quotas (kind, name, limits, weight, updated_at, updated_by) "
        "VALUES ('user', 'bob', '{}', 1, now(), 'root')",
        "UPDATE scheduling_revision SET revision = revision + 1",
        "quota of user bob",
    ),
    "a weight": (
        "INSERT INTO quotas (kind, name, limits, weight, updated_at, updated_by) VALUES "
        "('user', 'bob', '{\"limit\": {}, \"borrowing\": {}, \"lending\": {}}', 'NaN', now(), 'root')",
        "UPDATE scheduling_revision SET revision = revision + 1",
        "quota of user bob",
    ),
    "a budget": (
        "INSERT INTO accounts (scope, subject, currency, money, timezone, created_at) "
        "VALUES ('user', 'bob', 'USD', 'real', 'Nowhere/Land', now())",
        "INSERT INTO account_limits (account_id, period, limit_micros, updated_at) "
        "SELECT id, 'day', 5, now() FROM accounts WHERE timezone = 'Nowhere/Land'",
        "budget ",
    ),
}


@poisons(LOOK)
@pytest.mark.parametrize("case", ROWS)
def test_what_a_plan_goes_by_and_cannot_be_read_allows_nothing_and_binds_its_owner_alone(
    plant: Plant, case: str
) -> None:
    plant.world.register()
    plant.tick()
    for statement in ROWS[case][:2]:
        plant.sql(statement)
    good = plant.world.submit()
    assert plant.tick().applied.started == {good.id}
    [found] = plant.set_aside(LOOK)
    assert found.item.startswith(ROWS[case][2])
    assert plant.counted[LOOK.name] == 1
    plant.sql(
        "DELETE FROM account_limits WHERE account_id IN (SELECT id FROM accounts WHERE subject = 'bob')"
    )
    plant.sql("DELETE FROM quotas")
    plant.sql("UPDATE scheduling_revision SET revision = revision + 1")
    plant.tick()
    assert plant.set_aside(LOOK) == []


def test_a_claim_that_cannot_be_read_holds_its_room_all_the_same(plant: Plant) -> None:
    plant.world.nodes = (a_node(cpu=2),)
    running = plant.running()
    plant.sql("""UPDATE attempts SET placement = '[{"gpus": "all"}]'""")
    plant.world.submit(resources={"cpu": 2})
    small = plant.world.submit(resources={"cpu": 1})
    tick = plant.tick()
    assert tick.applied.started == {small.id}
    plant.noted(LOOK, f"attempt of job {running.job_id}")


@poisons(PLAN)
def test_a_job_that_breaks_the_plan_waits_and_its_neighbours_start(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.world.register()
    agent = plant.world.agent()
    first, bad, last = (plant.world.submit(agent) for _ in range(3))
    decide = Planner._consider

    def consider(self: Planner, job: Any) -> bool:
        if job.id == bad.id:
            raise OverflowError("cannot convert float infinity to integer")
        return decide(self, job)

    monkeypatch.setattr(Planner, "_consider", consider)
    assert plant.tick().applied.started == {first.id, last.id}
    plant.noted(PLAN, bad.id, "OverflowError: cannot convert")
    told = plant.world.job(bad)
    assert told.wait_code == WaitCode.MISCONFIGURED
    assert "set it aside" in (told.wait_message or "")
    assert plant.tick().plan.broken == (), "it is not tried again at once"
    monkeypatch.setattr(Planner, "_consider", decide)
    plant.let_try_again()
    assert plant.tick().applied.started == {bad.id}
    assert plant.set_aside(PLAN) == []


def test_a_job_that_is_changed_is_tried_again_at_once(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.world.register()
    job = plant.world.submit()

    def consider(self: Planner, job: Any) -> bool:
        raise OverflowError

    with monkeypatch.context() as broken:
        broken.setattr(Planner, "_consider", consider)
        plant.tick()
    plant.world.edit(job, priority=9)
    assert plant.tick().applied.started == {job.id}


@poisons(START)
def test_a_start_that_cannot_be_written_does_not_keep_the_others(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant.world.register()
    jobs = [plant.world.submit() for _ in range(5)]
    bad = jobs[2]
    admit = plan_store.admit

    def admit_others(tx: Connection, admissions: Sequence[Any], *, now: datetime) -> set[int]:
        if any(each.job_id == bad.id for each in admissions):
            raise ValueError("no such thing")
        return admit(tx, admissions, now=now)

    monkeypatch.setattr(plan_store, "admit", admit_others)
    assert plant.tick().applied.started == {job.id for job in jobs} - {bad.id}
    plant.noted(START, bad.id, "no such thing")
    assert plant.tick().applied.failed == {}, "it is not tried again at once"
    monkeypatch.setattr(plan_store, "admit", admit)
    plant.let_try_again()
    assert plant.tick().applied.started == {bad.id}
    assert plant.set_aside(START) == []


@poisons(TAKE_OVER)
def test_a_lost_attempt_that_cannot_be_ended_does_not_keep_the_others(plant: Plant) -> None:
    bad, good = plant.running(), plant.running()
    plant.sql("UPDATE launchers SET cluster = 'gone', seen_at = now() - interval '1 day'")
    plant.sql("UPDATE jobs SET cause = :what WHERE id = :id", what=UNKNOWN, id=bad.job_id)
    plant.tick()
    asyncio.run(plant.scheduler._take_over())
    assert plant.world.job(good.job_id).state is JobState.QUEUED
    plant.noted(TAKE_OVER, bad.id, UNKNOWN)
    plant.sql("UPDATE jobs SET cause = NULL")
    plant.let_try_again()
    asyncio.run(plant.scheduler._take_over())
    assert plant.world.job(bad.job_id).state is JobState.QUEUED
    assert plant.set_aside(TAKE_OVER) == []


@poisons(ORPHANS)
def test_a_launchers_new_life_begins_whatever_its_last_one_left(plant: Plant) -> None:
    bad, good = plant.running(), plant.running()
    plant.sql("UPDATE jobs SET cause = :what WHERE id = :id", what=UNKNOWN, id=bad.job_id)
    assert plant.world.register() == 1
    assert plant.world.job(good.job_id).message == LAUNCHER_DIED
    launcher = plant.launcher([])
    asyncio.run(launcher._lose_orphans())
    plant.noted(ORPHANS, bad.id, UNKNOWN)
    plant.sql("UPDATE jobs SET cause = NULL WHERE id = :id", id=bad.job_id)
    plant.let_try_again()
    asyncio.run(launcher._lose_orphans())
    assert plant.world.job(bad.job_id).state is JobState.QUEUED
    assert plant.set_aside(ORPHANS) == []


def admitted(plant: Plant, count: int) -> list[Attempt]:
    plant.world.register()
    jobs = [plant.world.submit() for _ in range(count)]
    plant.tick()
    return [plant.world.attempts(job)[-1] for job in jobs]


@poisons(ORDERS)
def test_an_order_that_cannot_be_read_does_not_keep_the_others(plant: Plant) -> None:
    bad, good = admitted(plant, 2)
    launched: list[int] = []
    launcher = plant.launcher(launched)
    plant.sql("""UPDATE jobs SET training_config = '{"from_job": {}}' WHERE id = :id""", id=bad.job_id)
    asyncio.run(launcher._carry_out_orders())
    assert launched == [good.id]
    [(order,)] = plant.sql("SELECT id FROM outbox WHERE attempt_id = :id", id=bad.id)
    plant.noted(ORDERS, order)
    asyncio.run(launcher._carry_out_orders())
    assert plant.counted[ORDERS.name] == 1, "it is not tried again at once"
    plant.sql("UPDATE jobs SET training_config = '{}'")
    plant.let_try_again()
    asyncio.run(launcher._carry_out_orders())
    assert launched == [good.id, bad.id]
    assert plant.set_aside(ORDERS) == []


def test_an_order_that_can_never_be_read_ends_its_attempt_in_the_end(plant: Plant) -> None:
    [bad] = admitted(plant, 1)
    plant.sql("""UPDATE jobs SET training_config = '{"from_job": {}}'""")

    async def patiently() -> None:
        launcher = plant.launcher([])
        for _ in range(launcher_module.GIVE_UP_AFTER):
            await launcher._carry_out_orders()
            await asyncio.to_thread(plant.let_try_again)
        await asyncio.gather(*launcher._tasks)

    asyncio.run(patiently())
    job = plant.world.job(bad.job_id)
    assert (job.state, job.cause) == (JobState.FAILED, EndCause.MISCONFIGURED)
    assert "cannot be carried out" in (job.message or "")


@poisons(DELIVER)
def test_what_cannot_be_noted_as_launched_does_not_keep_the_others(plant: Plant) -> None:
    bad, good = admitted(plant, 2)
    plant.sql("UPDATE jobs SET cause = :what WHERE id = :id", what=UNKNOWN, id=bad.job_id)
    asyncio.run(plant.launcher([])._carry_out_orders())
    assert plant.world.job(good.job_id).state is JobState.STARTING
    plant.noted(DELIVER, bad.id, UNKNOWN)
    plant.sql("UPDATE jobs SET cause = NULL")
    assert plant.world.claim(bad), "it runs all the same"


@poisons(PAY)
def test_what_cannot_be_paid_for_is_told_and_the_others_are_paid(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew = costs.renew
    paid_until = datetime.now(UTC) + timedelta(hours=1)

    def renew_others(tx: Connection, ids: Sequence[int], **_: Any) -> dict[int, Any]:
        if 2 in ids:
            raise KeyError("account")
        return dict.fromkeys(ids, paid_until)

    monkeypatch.setattr(costs, "renew", renew_others)
    found = plant.launcher([])._renew([1, 2, 3], datetime.now(UTC))
    assert (found[1], found[3]) == (paid_until, paid_until)
    assert isinstance(found[2], Unavailable), "nothing runs that nobody can prove to be paid for"
    plant.noted(PAY, 2)
    monkeypatch.setattr(costs, "renew", renew)


@poisons(RECONCILE)
def test_a_finding_that_cannot_be_mended_does_not_keep_the_others(plant: Plant) -> None:
    bad, good = plant.running(), plant.running()
    plant.sql("UPDATE jobs SET cause = :what WHERE id = :id", what=UNKNOWN, id=bad.job_id)
    reconciler = Reconciler(plant.runtime, {})
    findings = [Finding(Discrepancy.UNOWNED_ATTEMPT, each.job_id, each.id, LAUNCHER) for each in (bad, good)]
    mended = reconciler._mend(findings)
    assert (mended.mended, mended.left) == ((findings[1],), (findings[0],))
    assert plant.world.job(good.job_id).state is JobState.QUEUED
    plant.noted(RECONCILE, findings[0])
    plant.sql("UPDATE jobs SET cause = NULL WHERE id = :id", id=bad.job_id)
    assert reconciler._mend(findings[:1]).mended == (findings[0],)


def a_guard(plant: Plant) -> BudgetGuard:
    guard = BudgetGuard.__new__(BudgetGuard)
    guard.__dict__ |= {"_runtime": plant.runtime, "_shard": "0", "_proved": {}}
    return guard


@poisons(EXPIRE_HOLDS)
def test_a_hold_that_cannot_be_ended_does_not_keep_the_others(plant: Plant) -> None:
    bank = Bank(plant.store)
    bank.now = datetime.now(UTC) - timedelta(hours=1)
    first, second = bank.open(), bank.open()
    bank.submit([a_hold("bad", first), a_hold("good", second)])
    plant.sql("UPDATE money_holds SET account_ids = '{424242}' WHERE key = 'bad'")
    guard = a_guard(plant)
    asyncio.run(guard._expire())
    assert bank.used(second) == (0, 0)
    assert bank.used(first) == (10, 0)
    plant.noted(EXPIRE_HOLDS, "bad")
    asyncio.run(guard._expire())
    assert plant.counted[EXPIRE_HOLDS.name] == 1, "it is not tried again at once"
    plant.sql("UPDATE money_holds SET account_ids = ARRAY[CAST(:id AS bigint)] WHERE key = 'bad'", id=first)
    plant.let_try_again()
    asyncio.run(guard._expire())
    assert bank.used(first) == (0, 0)
    assert plant.set_aside(EXPIRE_HOLDS) == []


@poisons(RAMPS)
def test_a_ramp_that_cannot_move_does_not_keep_the_others(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int] = []

    def advance(_tx: Connection, ramp_id: int, *, now: datetime) -> None:
        if ramp_id == 2 and not moved.count(3) > 1:
            raise IndexError("stage 9")
        moved.append(ramp_id)

    monkeypatch.setattr(ramps, "live_ids", lambda _connection, *, now, limit: [1, 2, 3][:limit])
    monkeypatch.setattr(ramps, "advance", advance)
    guard = a_guard(plant)
    asyncio.run(guard._advance_ramps())
    assert moved == [1, 3], "each once"
    plant.noted(RAMPS, 2, "stage 9")
    moved.append(3)
    plant.let_try_again()
    asyncio.run(guard._advance_ramps())
    assert moved == [1, 3, 3, 1, 2, 3]
    assert plant.set_aside(RAMPS) == []


@poisons(COMMITS)
def test_an_operation_that_breaks_its_batch_fails_alone_and_is_noted(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = Bank(plant.store)
    bank.now = datetime.now(UTC)
    account = bank.open()
    apply = ledger.apply

    def apply_others(tx: Connection, requests: Sequence[Request], *, now: datetime) -> list[Outcome]:
        if any(request.key == "k7" for request in requests):
            raise ZeroDivisionError("a window of no length")
        return apply(tx, requests, now=now)

    monkeypatch.setattr(ledger, "apply", apply_others)

    async def ask() -> list[Any]:
        commits = GroupCommit(plant.store)
        loop = asyncio.create_task(commits.run())
        asked = (commits.submit([a_hold(f"k{n}", account, amount=1)]) for n in range(200))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        # A second round begins when the first is noted.
        await commits.submit([a_hold("last", account, amount=1)])
        loop.cancel()
        return answers

    answers = asyncio.run(ask())
    assert isinstance(answers[7], ZeroDivisionError)
    assert [name(answer[0]) for n, answer in enumerate(answers) if n != 7] == ["hold 1"] * 199
    assert plant.noted(COMMITS, "k7").next_try_at is None, "its caller was told"


@poisons(POINTS)
def test_a_point_that_cannot_be_stored_does_not_take_the_others_along(plant: Plant) -> None:
    job = plant.running().job_id
    points = [a_point(n, job=job, agent=2**70 if n == 3 else 1) for n in range(1, 7)]
    hub = MetricsHub.__new__(MetricsHub)

    async def store() -> None:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        hub.__dict__ |= {"_runtime": plant.runtime, "_shard": "0", "_waiting": [(points, stored)]}
        await hub._store()
        assert stored.done()

    asyncio.run(store())
    steps = plant.sql("SELECT step FROM metric_points ORDER BY step")
    assert steps == [(1,), (2,), (4,), (5,), (6,)]
    assert plant.noted(POINTS, f"job {job} step 3").next_try_at is None


@poisons(LOGS)
def test_a_line_says_where_a_piece_of_a_log_cannot_be_stored(plant: Plant) -> None:
    content = b""

    async def write(start_byte: int, piece: bytes, *, now: datetime) -> None:
        nonlocal content
        assert start_byte == len(content)
        if b"poison" in piece:
            raise ValueError("no such text")
        content += piece

    async def pieces() -> None:
        book = Logbook(write)
        for start, piece in ((0, b"one\n"), (4, b"poison\n"), (11, b"three\n")):
            await book.add(0, start, piece)

    asyncio.run(pieces())
    line = b"[7 bytes of this log could not be stored: ValueError: no such text]\n"
    assert content == b"one\n" + line + b"three\n"
    assert plant.counted[LOGS.name] == 1


@poisons(LIVE_EVENTS)
def test_an_event_that_cannot_be_read_is_passed_over_and_those_after_it_are_shown(plant: Plant) -> None:
    end = plant.store.read(feed_end)
    jobs = [plant.world.submit() for _ in range(3)]
    [(bad,)] = plant.sql(
        "UPDATE job_events SET event = :what WHERE job_id = :id RETURNING id", what=UNKNOWN, id=jobs[1].id
    )
    feed = LiveFeed(plant.store, ())
    events, reached = feed._read_events(end)
    assert [event.job_id for event in events] == [jobs[0].id, jobs[2].id]
    plant.noted(LIVE_EVENTS, bad, UNKNOWN)
    assert feed._read_events(reached)[0] == [], "it is not met again"


@poisons(LIVE_POINTS)
def test_a_point_or_a_watcher_that_is_broken_does_not_keep_the_others(plant: Plant) -> None:
    feed = LiveFeed(plant.store, ())

    async def watch() -> list[Any]:
        async with feed.subscribe(1) as bad, feed.subscribe(1) as good:
            bad.offer = lambda _: 1 / 0
            broken: Any = SimpleNamespace(agent_id=1)
            feed._pass_on(
                LIVE_POINTS, [a_point(1), broken, a_point(2)], lambda p: {"type": "m", "step": p.step}
            )
            return await good.take()

    assert [message["step"] for message in asyncio.run(watch())] == [1, 2]
    assert plant.counted[LIVE_POINTS.name] == 1


@poisons(READS)
def test_a_value_that_cannot_be_read_fails_its_own_reader_alone() -> None:
    def load(keys: Sequence[int]) -> dict[int, int]:
        return {key: 10 // key for key in keys}

    async def read() -> list[Any]:
        reads = Coalescer(load)
        return await asyncio.gather(*(reads.get(n) for n in (1, 0, 5)), return_exceptions=True)

    first, bad, last = asyncio.run(read())
    assert (first, last) == (10, 2)
    assert isinstance(bad, ZeroDivisionError)


def test_what_fails_again_waits_twice_as_long_up_to_a_limit(plant: Plant) -> None:
    now = plant.world.now
    for times in range(1, 12):
        with plant.store.engine.begin() as tx:
            assert set_aside.put(tx, WAKE.name, "7", "why", now=now, again=True) == times
        [found] = plant.set_aside(WAKE)
        assert found.next_try_at is not None
        assert found.next_try_at - now == min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (times - 1))


def test_items_set_aside_leave_the_room_in_a_round_to_others(plant: Plant) -> None:
    done: list[int] = []

    def do(_tx: Connection, items: Sequence[int]) -> None:
        if any(item < 5 for item in items):
            raise ValueError
        done.extend(items)

    def look(_connection: Connection, *, now: datetime, limit: int) -> list[int]:
        return [n for n in range(20) if n not in done][:limit]

    turn = partial(service.in_turn, plant.store, WAKE, look, do, limit=5)
    assert (turn(now=plant.world.now).done, done) == (0, [])
    assert (turn(now=plant.world.now).done, done) == (5, [5, 6, 7, 8, 9])
    assert duties.round_of(plant.store, WAKE, look, do, limit=5, now=lambda: plant.world.now) == 10


def test_a_duty_waits_while_the_database_is_away(plant: Plant) -> None:
    def do(_tx: Connection, _items: Sequence[int]) -> None:
        raise Unavailable

    with pytest.raises(Unavailable):
        service.in_turn(plant.store, WAKE, lambda *_, **__: [1], do, now=plant.world.now)
    assert plant.set_aside(WAKE) == []


def test_what_is_not_due_any_more_is_forgotten(plant: Plant) -> None:
    now = plant.world.now

    def fail(_tx: Connection, _items: Sequence[int]) -> None:
        raise ValueError

    service.in_turn(plant.store, WAKE, lambda *_, **__: [1], fail, now=now)
    assert len(plant.set_aside(WAKE)) == 1
    service.in_turn(plant.store, WAKE, lambda *_, **__: [], fail, now=now)
    assert plant.set_aside(WAKE) == []
    service.settle(plant.store, START, (), {"9": ValueError("x")}, now=now)
    plant.store.transact(service.prune, now=now + timedelta(minutes=5))
    assert len(plant.set_aside(START)) == 1
    plant.store.transact(service.prune, now=now + timedelta(hours=1))
    assert plant.set_aside(START) == []
