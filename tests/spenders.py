"""Concurrent spenders in a process made to be killed: ``python -m tests.spenders PLACE DOOR NAME SPENDERS``.

What a spender was told is appended to the log ``NAME.log`` beside the place at once, one JSON line each,
before it asks for anything more; the line outlives the process.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx
import ray
from ray.exceptions import RayError, RayTaskError

from gaelp_ray.actors import handles
from gaelp_ray.actors.group_commit import GroupCommit
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import BudgetExceeded, GaelpError, LinkFailed, Unavailable
from gaelp_ray.domain.ledger import (
    Expire,
    Hold,
    Operation,
    Outcome,
    Post,
    Receipt,
    Request,
    Settle,
    Void,
    operation,
    refusal,
)
from gaelp_ray.store.engine import Store
from gaelp_ray.training.budget import AccountLender, LeasedBudget

#: What is written down of money that a lease was spent on.
SPENT = "spent"
#: How long one waits before one asks again who could not answer.
AGAIN_S = 0.05
#: For every so many spenders that ask before each spend, one that leases.
PER_LEASE = 10


@dataclass(frozen=True)
class Purse:
    """What somebody spends from: an account, and all that bind it."""

    account: int
    chain: tuple[int, ...]
    campaign: str | None = None


@dataclass(frozen=True)
class Place:
    """Where a race is: what all of its processes know."""

    currency: str
    ttl_s: float
    purses: tuple[Purse, ...]
    database: str = ""
    ray: str = ""
    url: str = ""
    token: str = ""
    #: What the service puts before the keys of who bears the token.
    prefix: str = ""

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def load(path: Path) -> Place:
        fields = json.loads(path.read_text())
        purses = [Purse(p["account"], tuple(p["chain"]), p["campaign"]) for p in fields.pop("purses")]
        return Place(purses=tuple(purses), **fields)


class Door(Protocol):
    """A way to the ledger."""

    #: Put before the keys of holds on their way through.
    prefix: str

    async def submit(self, purse: Purse, requests: Sequence[Request]) -> list[Outcome]:
        """Raises ``Unavailable`` when nobody answers, or not for sure."""


class Direct:
    """A guard of one's own beside those of the service."""

    prefix = ""

    def __init__(self, place: Place) -> None:
        self._commits = GroupCommit(Store(place.database, pool_size=2))
        self._running = asyncio.create_task(self._commits.run())

    async def submit(self, purse: Purse, requests: Sequence[Request]) -> list[Outcome]:
        return await self._commits.submit(requests)


class Guards:
    prefix = ""

    def __init__(self, place: Place) -> None:
        ray.init(place.ray, namespace=handles.NAMESPACE, log_to_driver=False)
        self._guards = [
            ray.get_actor(name, namespace=handles.NAMESPACE)
            for name in handles.names(Settings())
            if name.startswith("budget-guard")
        ]

    async def submit(self, purse: Purse, requests: Sequence[Request]) -> list[Outcome]:
        guard: Any = self._guards[min(purse.chain) % len(self._guards)]
        try:
            outcomes: list[Outcome] = await guard.submit.remote(list(requests))
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else None
            if cause is not None and not isinstance(cause, Unavailable):
                raise
            raise Unavailable from error
        return outcomes


class Http:
    def __init__(self, place: Place) -> None:
        self.prefix = place.prefix
        self._api = httpx.AsyncClient(
            base_url=f"{place.url}/api/v1/budgets",
            headers={"Authorization": f"Bearer {place.token}"},
            timeout=15,
            limits=httpx.Limits(max_connections=None),
        )

    async def submit(self, purse: Purse, requests: Sequence[Request]) -> list[Outcome]:
        match requests:
            case [Settle() as settle, Hold() as then]:
                return await self._renew(purse, settle, then)
            case [Hold() as hold]:
                return [_outcome(await self._send(purse, "holds", _hold(purse, hold)))]
            case [(Post() | Void() | Settle()) as one]:
                path = f"holds/{one.hold_key}/{operation(one)}"
                return [_outcome(await self._send(purse, path, _amount(one)))]
        body = {"operations": [_operation(purse, request) for request in requests]}
        answer = await self._send(purse, "operations", body)
        return [_outcome(item["receipt"] or item["problem"]) for item in answer["items"]]

    async def _renew(self, purse: Purse, settle: Settle, then: Hold) -> list[Outcome]:
        body = _hold(purse, then) | {"spent_micros": settle.spent_micros}
        answer = await self._send(purse, f"holds/{settle.hold_key}/renew", body)
        if "settled" in answer:
            return [_outcome(answer["settled"]), _outcome(answer["hold"])]
        refused = _outcome(answer)
        if not isinstance(refused, BudgetExceeded):
            return [refused, LinkFailed()]
        at = datetime.fromtimestamp(0).astimezone()  # Not told, and nobody asks.
        return [Receipt(settle.key, Operation.SETTLE, answer["settled_micros"], at), refused]

    async def _send(self, purse: Purse, path: str, body: Mapping[str, Any]) -> Any:
        try:
            answer = await self._api.post(f"/{purse.account}/{path}", json=body)
        except httpx.HTTPError as error:
            raise Unavailable from error
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise Unavailable
        return answer.json()


DOORS: Mapping[str, type[Direct] | type[Guards] | type[Http]] = {
    "direct": Direct,
    "guards": Guards,
    "http": Http,
}


def _hold(purse: Purse, hold: Hold) -> dict[str, Any]:
    return {
        "key": hold.key,
        "amount_micros": hold.amount_micros,
        "currency": hold.currency,
        "ttl_seconds": hold.ttl.total_seconds(),
        "at_expiry": hold.at_expiry,
        "campaign": purse.campaign,
    }


def _amount(request: Post | Void | Settle) -> dict[str, Any]:
    if isinstance(request, Void):
        return {}
    if isinstance(request, Post):
        return {"amount_micros": request.amount_micros}
    return {"spent_micros": request.spent_micros}


def _operation(purse: Purse, request: Request) -> dict[str, Any]:
    named = {"operation": operation(request)}
    if isinstance(request, Hold):
        return named | _hold(purse, request)
    assert isinstance(request, Post | Void | Settle)
    return named | {"hold_key": request.hold_key} | _amount(request)


def _outcome(told: Mapping[str, Any]) -> Outcome:
    """A receipt or a problem as what it was made from."""
    if "code" in told:
        return refusal(told["code"], told["detail"], dict(told))
    kind, at = Operation(told["operation"]), datetime.fromisoformat(told["at"])
    return Receipt(told["key"], kind, told["amount_micros"], at, told["hold_key"])


class Witness:
    """Asks until the ledger answers, and writes down what it says."""

    def __init__(self, door: Door, purse: Purse, log: int) -> None:
        self._door, self._purse, self._log = door, purse, log

    async def ask(self, *requests: Request) -> list[Outcome]:
        while True:
            try:
                outcomes = await self._door.submit(self._purse, requests)
                break
            except Unavailable:
                await asyncio.sleep(AGAIN_S)
        for request, outcome in zip(requests, outcomes, strict=True):
            assert not isinstance(request, Expire)
            hold = request.hold_key if isinstance(request, Post | Void | Settle) else request.key
            amount = outcome.amount_micros if isinstance(outcome, Receipt) else None
            refused = outcome.code if isinstance(outcome, GaelpError) else None
            self._write(request.key, operation(request), hold, amount, refused)
        return outcomes

    def spent(self, hold: str, amount_micros: int) -> None:
        self._write(hold, SPENT, hold, amount_micros, None)

    def _write(self, key: str, kind: str, hold: str, amount: int | None, refused: str | None) -> None:
        hold = self._door.prefix + hold
        line = {"key": key, "kind": kind, "hold": hold, "amount": amount, "refusal": refused}
        os.write(self._log, (json.dumps(line) + "\n").encode())


class LoopBank:
    """As ``training.budget.Bank``, for a thread beside the loop."""

    def __init__(self, witness: Witness, loop: asyncio.AbstractEventLoop) -> None:
        self._witness, self._loop = witness, loop
        #: The key of the lease that is being spent.
        self.lease = ""

    def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        asked = self._witness.ask(*requests)
        outcomes = asyncio.run_coroutine_threadsafe(asked, self._loop).result()
        self.lease = requests[-1].key
        return outcomes


class Spender:
    """Holds on overlapping accounts; posts some, voids some, forgets some, and asks for some twice."""

    def __init__(self, door: Door, place: Place, log: int, name: str) -> None:
        self._door, self._place, self._log, self._name = door, place, log, name
        self._chance = random.Random(name)

    async def spend(self) -> None:
        for number in itertools.count(1):
            purse = self._chance.choice(self._place.purses)
            await self._once(Witness(self._door, purse, self._log), purse, f"{self._name}/{number}")

    async def _once(self, witness: Witness, purse: Purse, key: str) -> None:
        amount, fate = self._chance.randint(1, 50), self._chance.random()
        hold = Hold(
            key=key,
            account_ids=purse.chain,
            currency=self._place.currency,
            amount_micros=amount,
            ttl=timedelta(seconds=self._place.ttl_s),
        )
        post = Post(key=f"{key} post", hold_key=key, amount_micros=self._chance.randint(1, amount))
        if fate < 0.2:
            await self._ask(witness, hold, post)
        elif isinstance((await self._ask(witness, hold))[0], Receipt):
            if fate < 0.6:
                await self._ask(witness, post)
            elif fate < 0.8:
                await self._ask(witness, Void(key=f"{key} void", hold_key=key))

    async def _ask(self, witness: Witness, *requests: Request) -> list[Outcome]:
        outcomes = await witness.ask(*requests)
        if self._chance.random() < 0.1:
            await witness.ask(*requests)
        return outcomes

    def lease(self, loop: asyncio.AbstractEventLoop) -> None:
        """Spend from leases; some are left as they are, as if their holder had died."""
        while True:
            purse = self._chance.choice(self._place.purses)
            witness = Witness(self._door, purse, self._log)
            bank = LoopBank(witness, loop)
            budget = LeasedBudget(
                AccountLender(bank, account_ids=purse.chain, currency=self._place.currency),
                slice_micros=self._chance.randint(40, 120),
                ttl=timedelta(seconds=self._place.ttl_s),
            )
            for _ in range(self._chance.randint(5, 50)):
                amount = self._chance.randint(5, 20)
                try:
                    budget.spend(amount)
                except BudgetExceeded:
                    break
                witness.spent(bank.lease, amount)
            if self._chance.random() < 0.9:
                budget.close()


async def main(place: Place, door: Door, name: str, spenders: int, log: int) -> None:
    people = [Spender(door, place, log, f"{name}/{n}") for n in range(spenders)]
    loop, leasing = asyncio.get_running_loop(), people[::PER_LEASE]
    others = [person.spend() for person in people if person not in leasing]
    with ThreadPoolExecutor(len(leasing)) as threads:
        leased = [loop.run_in_executor(threads, person.lease, loop) for person in leasing]
        await asyncio.gather(*others, *leased)


async def run(path: Path, door: str, name: str, spenders: int) -> None:
    place = Place.load(path)
    with path.with_name(f"{name}.log").open("ab", buffering=0) as log:
        await main(place, DOORS[door](place), name, spenders, log.fileno())


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
