"""Spenders that hold through the guards of a running service, until they are killed.

``python -m tests.holders RAY_ADDRESS LOG SPENDERS ACCOUNT``. Each answer is one JSON line in the log: when
it was asked for and answered, by the clock that all processes of a machine share, and whether it was granted.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray

from gaelp_ray.actors.handles import NAMESPACE, names
from gaelp_ray.config import Settings
from gaelp_ray.domain.ledger import Hold, Receipt


async def hold(guard: Any, log: int, spender: int, account: int) -> None:
    for number in itertools.count():
        key = f"{os.getpid()} {spender} {number}"
        request = Hold(
            key=key, account_ids=(account,), currency="EUR", amount_micros=1, ttl=timedelta(seconds=5)
        )
        asked = time.monotonic()
        (outcome,) = await guard.submit.remote([request])
        granted = isinstance(outcome, Receipt)
        line = {"asked": asked, "answered": time.monotonic(), "granted": granted}
        os.write(log, (json.dumps(line) + "\n").encode())
        if not granted:
            # The refusal comes from memory; asking as fast as that would only keep the machine busy.
            await asyncio.sleep(0.005)


async def main(log: int, spenders: int, account: int) -> None:
    guards = [
        ray.get_actor(name, namespace=NAMESPACE) for name in names(Settings()) if name.startswith("budget")
    ]
    guard = guards[account % len(guards)]
    await asyncio.gather(*(hold(guard, log, spender, account) for spender in range(spenders)))


if __name__ == "__main__":
    address, path, spenders, account = sys.argv[1:]
    ray.init(address, namespace=NAMESPACE, log_to_driver=False)
    with Path(path).open("ab", buffering=0) as log:
        asyncio.run(main(log.fileno(), int(spenders), int(account)))
