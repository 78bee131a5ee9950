"""Group commit: requests that arrive together are committed together.

A transaction waits for the disk, and for the row of a busy account; what one waits for, a hundred can wait
for at once. That is the whole of it: correctness rests on the locks of the database, so two of these side by
side do no harm, and one that dies loses nothing that it had answered.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.ledger import Outcome, Request
from gaelp_ray.services import ledger
from gaelp_ray.store.engine import Store

log = logging.getLogger(__name__)

#: How long the first request of an idle guard waits for company.
GATHER_S = 0.002
#: Requests in one transaction. More make it longer for all without making it much cheaper for each.
BATCH = 256
#: Requests that may wait; past it callers are turned away at once, as when the database does not answer.
MAX_WAITING = 20_000


class GroupCommit:
    """Gathers requests and applies them in batches, one batch at a time."""

    def __init__(self, store: Store, *, committed: Callable[[int, float], None] | None = None) -> None:
        self._store = store
        #: Told of each batch: how many requests, how many seconds.
        self._committed = committed
        self._waiting: deque[tuple[Sequence[Request], asyncio.Future[list[Outcome]]]] = deque()
        self._count = 0
        self._arrived = asyncio.Event()

    async def submit(self, requests: Sequence[Request]) -> list[Outcome]:
        """Carry out requests, in order and in one transaction; when this answers, the database has it.

        Raises ``Unavailable`` when the database does not answer. Then nothing was changed, or only the answer
        was lost: the same requests with the same keys may be sent again.
        """
        if not requests:
            return []
        if self._count + len(requests) > MAX_WAITING:
            raise Unavailable("Too many operations wait for the ledger; nothing was changed, try again.")
        answer: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append((requests, answer))
        self._count += len(requests)
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Commit what arrives, for ever."""
        while True:
            await self._arrived.wait()
            if self._count < BATCH:
                await asyncio.sleep(GATHER_S)
            while batch := self._next_batch():
                await self._commit(batch)
            self._arrived.clear()

    def _next_batch(self) -> list[tuple[Sequence[Request], asyncio.Future[list[Outcome]]]]:
        batch, count = [], 0
        while self._waiting and count < BATCH:
            requests, answer = self._waiting.popleft()
            self._count -= len(requests)
            if not answer.cancelled():
                count += len(requests)
                batch.append((requests, answer))
        return batch

    async def _commit(self, batch: list[tuple[Sequence[Request], asyncio.Future[list[Outcome]]]]) -> None:
        requests = [request for asked, _ in batch for request in asked]
        started = time.perf_counter()
        apply = partial(self._store.transact, ledger.apply, requests, now=utc_now())
        try:
            outcomes = iter(await asyncio.to_thread(apply))
        except Exception as error:
            await self._give_up(batch, error)
            return
        if self._committed is not None:
            self._committed(len(requests), time.perf_counter() - started)
        for asked, answer in batch:
            own = [next(outcomes) for _ in asked]
            if not answer.done():
                answer.set_result(own)

    async def _give_up(
        self, batch: list[tuple[Sequence[Request], asyncio.Future[list[Outcome]]]], error: Exception
    ) -> None:
        """Pass the error on; where it may be the fault of one caller, ask for each alone first."""
        if not isinstance(error, Unavailable):
            log.error("batch refused", exc_info=error, extra={"count": len(batch)})
            if len(batch) > 1:
                for one in batch:
                    await self._commit([one])
                return
        for _, answer in batch:
            if not answer.done():
                answer.set_exception(error)
