"""A race for money: processes of spenders, replaced when they are killed, and the proof of what they did."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from gaelp_ray.domain.access import SYSTEM, Principal
from gaelp_ray.domain.agents import AgentType, NewAgent, VersionSpec
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.ledger import Account, Money, NewAccount, Operation, Scope
from gaelp_ray.domain.quotas import Quota, QuotaKind
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.windows import Period, window
from gaelp_ray.services import accounts, agents, ledger, quotas, statements
from gaelp_ray.store.engine import Store
from tests.builders import MIB
from tests.service import eventually
from tests.spenders import SPENT, Place, Purse

ROOT = Path(__file__).parent.parent
#: How long what was hurt may take to be whole again.
HEALED_S = 90.0


@dataclass
class Town:
    """Agents of three users, two of one team, two campaigns, and one account over all of them.

    Nothing else has money of this currency, so a race disturbs nobody else on the same database.
    """

    store: Store
    currency: str
    limits: Mapping[Scope, int]

    def settle(self, now: datetime) -> list[Purse]:
        """Open the accounts, each limited by the day and in total."""
        users = [f"{self.currency} {name}" for name in ("ann", "bob", "cy")]
        teams = [(users[0], "red"), (users[1], "red"), (users[2], None)]
        for user, team in teams:
            quota = Quota(QuotaKind.USER, user, team=team and f"{self.currency} {team}")
            admin = replace(SYSTEM, admin=True)
            self.store.transact(quotas.put, quota, by=admin, now=now)
            self._open(Scope.USER, user, now)
        self._open(Scope.TEAM, f"{self.currency} red", now, timezone="Asia/Kolkata")
        campaigns = [f"{self.currency} spring", f"{self.currency} fall"]
        for campaign in campaigns:
            self._open(Scope.CAMPAIGN, campaign, now, timezone="America/New_York")
        self._open(Scope.GLOBAL, "", now)
        own = [self._agent(user, number, now) for user in users for number in (1, 2)]
        return [self._purse(account, campaign) for account in own for campaign in (None, *campaigns)]

    def _agent(self, user: str, number: int, now: datetime) -> Account:
        spec = VersionSpec(
            version="1.0.0", entrypoint="trainers:count", resources=Resources(memory_bytes=MIB)
        )
        new = NewAgent(name=f"agent {number}", type=AgentType.SIMULATION, spec=spec)
        by = Principal(user=user)
        agent = self.store.transact(agents.register, new, currency=self.currency, by=by, now=now)
        return self._open(Scope.AGENT, str(agent.id), now)

    def _open(self, scope: Scope, subject: str, now: datetime, timezone: str = "UTC") -> Account:
        new = NewAccount(scope, subject, self.currency, Money.SIMULATED, timezone)
        account = self.store.transact(accounts.open_account, new, now=now)
        for period in (Period.HOUR, Period.DAY, Period.TOTAL):
            self.store.transact(accounts.set_limit, account.id, period, self.limits[scope], now=now)
        return account

    def _purse(self, account: Account, campaign: str | None) -> Purse:
        bound = self.store.read(accounts.chain, account, campaign=campaign)
        return Purse(account.id, tuple(each.id for each in bound), campaign)


@dataclass(frozen=True)
class Told:
    """What a spender was told, or how much of a lease it spent."""

    key: str
    kind: str
    #: As the ledger knows it.
    hold: str
    amount: int | None
    refusal: str | None


@dataclass(frozen=True)
class Runner:
    door: str
    process: subprocess.Popen[bytes]


class Race:
    """Processes of spenders, so many for each door."""

    def __init__(
        self,
        place: Place,
        folder: Path,
        *,
        doors: Sequence[str],
        spenders: int,
        environment: Mapping[str, str],
    ) -> None:
        self._folder, self._spenders, self._environment = folder, spenders, environment
        self._lives = itertools.count(1)
        place.save(folder / "place.json")
        self._runners = [self._start(door) for door in doors]

    def kill_a_spender(self, chance: random.Random) -> None:
        """kill -9 one of the processes, and start another."""
        victim = chance.randrange(len(self._runners))
        self._end(self._runners[victim])
        self._runners[victim] = self._start(self._runners[victim].door)

    def stop(self) -> None:
        for runner in self._runners:
            self._end(runner)

    def await_progress(self, answers: int) -> None:
        """Until spenders were told so many more things."""
        goal = self._count() + answers
        eventually(
            lambda: self._all_alive() and self._count() >= goal,
            within_s=HEALED_S,
            what=f"{answers} more answers",
            progress=self._count,
        )

    def await_every_door(self) -> None:
        """Until something more was told at every door."""
        for door in sorted({runner.door for runner in self._runners}):
            before = self._count(door)
            eventually(
                lambda door=door, before=before: self._all_alive() and self._count(door) > before,  # type: ignore[misc]
                within_s=HEALED_S,
                what=f"an answer at the door {door}",
            )

    def told(self) -> list[Told]:
        """All of it, in no order."""
        lines = [line for log in self._folder.glob("*.log") for line in log.read_text().splitlines()]
        return [Told(**json.loads(line)) for line in lines]

    def _count(self, door: str = "") -> int:
        """Answers; spending from a lease asks nobody."""
        logs = [log.read_bytes() for log in self._folder.glob(f"{door}*.log")]
        return sum(log.count(b"\n") - log.count(f'"{SPENT}"'.encode()) for log in logs)

    def _start(self, door: str) -> Runner:
        name = f"{door} {next(self._lives)}"
        given = [str(self._folder / "place.json"), door, name, str(self._spenders)]
        with (self._folder / f"{name}.err").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.spenders", *given],
                cwd=ROOT,
                env=self._environment,
                stderr=errors,
            )
        return Runner(door, process)

    def _all_alive(self) -> bool:
        ended = [runner.door for runner in self._runners if runner.process.poll() is not None]
        assert not ended, f"spenders at {ended} ended by themselves; their words are in {self._folder}"
        return True

    @staticmethod
    def _end(runner: Runner) -> None:
        runner.process.kill()
        runner.process.wait()


@contextmanager
def racing(race: Race) -> Iterator[Race]:
    """From when every door gives answers until every process has ended."""
    try:
        race.await_every_door()
        yield race
        # Whatever died is whole again.
        race.await_every_door()
    finally:
        race.stop()


def crash(store: Store) -> None:
    """Kill a process of the database: it drops all connections and recovers from its log."""
    with suppress(Unavailable):
        pid = store.read(lambda c: c.execute(text("SELECT pg_backend_pid()")).scalar_one())
        os.kill(int(pid), signal.SIGKILL)


class Proof:
    """The books after a race, beside what the spenders were told."""

    def __init__(self, store: Store, purses: Sequence[Purse], told: Sequence[Told]) -> None:
        self._store, self._told = store, told
        self._ids = sorted({account for purse in purses for account in purse.chain})

    def now(self) -> datetime:
        found: datetime = self._store.read(lambda c: c.execute(text("SELECT now()")).scalar_one())
        return found

    def settled(self) -> bool:
        """No hold is left that nobody has ended; False, too, when the database does not answer."""
        try:
            return self._pending() == 0
        except Unavailable:
            return False

    def _pending(self) -> int:
        query = """
            SELECT count(*) FROM money_holds
            WHERE state = 'pending' AND account_ids && CAST(:ids AS bigint[])
        """
        return int(self._rows(query)[0][0])

    def expire(self, within: timedelta) -> bool:
        """End what would end within so long; False when the database does not answer."""
        try:
            now = self.now() + within
            self._store.transact(ledger.expire_due, now=now, limit=1_000_000)
        except Unavailable:
            return False
        return True

    def check(self) -> None:
        kinds = {(told.kind, told.refusal) for told in self._told}
        wanted: set[tuple[str, str | None]] = {(Operation.HOLD, None), (Operation.HOLD, "budget_exceeded")}
        assert wanted | {(Operation.SETTLE, None), (SPENT, None)} <= kinds, "there was a race"
        assert self._store.read(statements.reconcile, now=self.now()) == []
        assert self._pending() == 0
        self._no_limit_was_ever_passed()
        self._every_key_has_one_answer()
        self._what_was_told_is_booked()
        self._what_leases_spent_is_counted()

    def _no_limit_was_ever_passed(self) -> None:
        """Add the entries up in the order in which they were booked: an account is locked while it is."""
        query = """
            SELECT e.account_id, a.timezone, e.counted_at, e.pending_micros + e.posted_micros AS micros
            FROM ledger_entries e JOIN accounts a ON a.id = e.account_id
            WHERE e.account_id = ANY(:ids) ORDER BY e.id
        """
        limits = self._limits()
        used: Counter[tuple[int, Period, datetime]] = Counter()
        for account_id, timezone, counted_at, micros in self._rows(query):
            for period, limit in limits[account_id].items():
                at = account_id, period, window(period, timezone, counted_at).starts_at
                used[at] += micros
                assert 0 <= used[at] <= limit, f"{used[at]} of {limit} micros are used of {at}"

    def _limits(self) -> dict[int, dict[Period, int]]:
        query = "SELECT account_id, period, limit_micros FROM account_limits WHERE account_id = ANY(:ids)"
        found: dict[int, dict[Period, int]] = defaultdict(dict)
        for account_id, period, limit in self._rows(query):
            found[account_id][Period(period)] = limit
        return found

    def _every_key_has_one_answer(self) -> None:
        first: dict[tuple[str, str, str], Told] = {}
        for told in self._told:
            if told.kind != SPENT:
                assert first.setdefault((told.key, told.kind, told.hold), told) == told
        query = """
            SELECT key, account_id FROM ledger_entries WHERE account_id = ANY(:ids)
            GROUP BY key, account_id HAVING count(*) > 1
        """
        assert self._rows(query) == [], "no operation is booked twice"

    def _what_was_told_is_booked(self) -> None:
        """Each success exactly once and with its amount; of what was refused, nothing."""
        booked: dict[tuple[str, str], list[int]] = defaultdict(list)
        query = """
            SELECT DISTINCT o.operation, o.hold_key, o.key, o.amount_micros
            FROM ledger_operations o JOIN money_holds h ON h.key = o.hold_key
            WHERE h.account_ids && CAST(:ids AS bigint[]) AND o.refusal IS NULL
        """
        for kind, hold, _, amount in self._rows(query):
            booked[kind, hold].append(amount)
        for told in self._told:
            if told.kind != SPENT:
                found = booked[told.kind, told.hold]
                assert found == ([] if told.amount is None else [told.amount]), f"{told}; booked is {found}"

    def _what_leases_spent_is_counted(self) -> None:
        spent: Counter[str] = Counter()
        for told in self._told:
            if told.kind == SPENT:
                spent[told.hold] += told.amount or 0
        query = """
            SELECT hold_key, account_id, sum(posted_micros)
            FROM ledger_entries WHERE account_id = ANY(:ids) GROUP BY hold_key, account_id
        """
        posted = {(hold, account): micros for hold, account, micros in self._rows(query)}
        for (hold, _), micros in posted.items():
            assert spent[hold] <= micros, f"{hold}: {spent[hold]} micros were spent and {micros} are counted"
        assert spent.keys() <= {hold for hold, _ in posted}

    def _rows(self, query: str) -> Sequence[Any]:
        return self._store.read(lambda c: c.execute(text(query), {"ids": self._ids}).all())
