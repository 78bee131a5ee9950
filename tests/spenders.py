"""Concurrent spenders in a process made to be killed: ``python -m tests.spenders URL LOG NAME SPENDERS IDS``.

What a spender was told is appended to the log at once, one JSON line each, before it asks for anything more;
the line outlives the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from gaelp_ray.actors.group_commit import GroupCommit
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.ledger import Hold, Outcome, Post, Receipt, Void, operation
from gaelp_ray.store.engine import Store


async def ask(commits: GroupCommit, request: Hold | Post | Void, log: int) -> Outcome:
    """Ask until the ledger answers, and write down what it says."""
    while True:
        try:
            (outcome,) = await commits.submit([request])
        except Unavailable:
            await asyncio.sleep(0.05)
            continue
        amount = outcome.amount_micros if isinstance(outcome, Receipt) else None
        hold = request.key if isinstance(request, Hold) else request.hold_key
        line = {"key": request.key, "kind": operation(request), "hold": hold, "amount": amount}
        os.write(log, (json.dumps(line) + "\n").encode())
        return outcome


async def spend(commits: GroupCommit, log: int, name: str, ids: Sequence[int]) -> None:
    """Hold on overlapping accounts; post some, void some, forget some."""
    chance = random.Random(name)
    number = 0
    while True:
        number += 1
        key, amount = f"{name}/{number}", chance.randint(1, 50)
        accounts = tuple(chance.sample(ids, chance.randint(1, 3)))
        hold = Hold(
            key=key, account_ids=accounts, currency="EUR", amount_micros=amount, ttl=timedelta(hours=1)
        )
        if not isinstance(await ask(commits, hold, log), Receipt):
            continue
        fate = chance.random()
        if fate < 0.5:
            spent = chance.randint(1, amount)
            await ask(commits, Post(key=f"{key} post", hold_key=key, amount_micros=spent), log)
        elif fate < 0.8:
            await ask(commits, Void(key=f"{key} void", hold_key=key), log)


async def main(url: str, log: int, name: str, spenders: int, ids: Sequence[int]) -> None:
    commits = GroupCommit(Store(url, pool_size=2))
    await asyncio.gather(commits.run(), *(spend(commits, log, f"{name}/{n}", ids) for n in range(spenders)))


if __name__ == "__main__":
    url, path, name, spenders, *ids = sys.argv[1:]
    with Path(path).open("ab", buffering=0) as log:
        asyncio.run(main(url, log.fileno(), name, int(spenders), [int(i) for i in ids]))
