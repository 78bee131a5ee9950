"""Group commit: requests that arrive together are committed together.

A transaction waits for the disk, and for the row of a busy account; what one waits for, a hundred can wait
for at once. That is the whole of it: correctness rests on the locks of the database, so two of these side by
side do no harm, and one that dies loses nothing that it had answered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from gaelp_ray.actors.duties import settle
from gaelp_ray.actors.loops import utc_now, without_end
from gaelp_ray.domain.duties import COMMITS, Failed, is_no_items_fault, isolated
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.ledger import Outcome, Request
from gaelp_ray.services import ledger
from gaelp_ray.store.engine import Store

#: How long the first request of an idle guard waits for company.
GATHER_S = 0.002
#: Requests in one transaction. More make it longer for all without making it much cheaper for each.
BATCH = 256
#: Requests that may wait; past it callers are turned away at once, as when the database does not answer.
MAX_WAITING = 20_000


#: What one caller asks for, and where its answer goes.
_Asked = tuple[Sequence[Request], asyncio.Future[list[Outcome]]]


class GroupCommit:
    """Gathers requests and applies them in batches, one batch at a time."""

    def __init__(self, store: Store, *, committed: Callable[[int, float], None] | None = None) -> None:
        self._store = store
        #: Told of each batch: how many requests, how many seconds.
        self._committed = committed
        self._waiting: deque[_Asked] = deque()
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
        """Commit what arrives, without end."""
        await without_end(COMMITS, self._commit_what_waits)

    async def _commit_what_waits(self) -> None:
        await self._arrived.wait()
        if self._count < BATCH:
            await asyncio.sleep(GATHER_S)
        # Cleared first: what arrives while a batch is committed is not slept through if that fails.
        self._arrived.clear()
        while batch := self._next_batch():
            await self._commit(batch)

    def _next_batch(self) -> list[_Asked]:
        batch, count = [], 0
        while self._waiting and count < BATCH:
            requests, answer = self._waiting.popleft()
            self._count -= len(requests)
            if not answer.cancelled():
                count += len(requests)
                batch.append((requests, answer))
        return batch

    async def _commit(self, batch: Sequence[_Asked]) -> None:
        """Carry a batch out and answer all who wait for it; one that breaks it fails alone."""
        started = time.perf_counter()
        results = await asyncio.to_thread(isolated, batch, self._apply)
        failed: dict[str, Exception] = {}
        for (asked, answer), result in zip(batch, results, strict=True):
            if isinstance(result, Failed):
                failed[asked[0].key] = result.error
            if answer.done():
                continue
            if isinstance(result, Failed):
                answer.set_exception(result.error)
            else:
                answer.set_result(result)
        broken = {key: error for key, error in failed.items() if not isinstance(error, Unavailable)}
        if broken:
            await asyncio.to_thread(self._note, broken)
        if len(failed) < len(batch):
            count = sum(len(asked) for asked, _ in batch)
            self._measure(count, time.perf_counter() - started)

    def _apply(self, batch: Sequence[_Asked]) -> list[list[Outcome] | Failed]:
        """The outcomes of each caller's requests, all of one transaction."""
        requests = [request for asked, _ in batch for request in asked]
        try:
            outcomes = iter(self._store.transact(ledger.apply, requests, now=utc_now()))
        except Exception as error:
            if not is_no_items_fault(error):
                raise
            # Nobody's fault: to ask for each alone would only take longer.
            return [Failed(error)] * len(batch)
        return [[next(outcomes) for _ in asked] for asked, _ in batch]

    def _note(self, broken: Mapping[str, Exception]) -> None:
        settle(self._store, COMMITS, (), broken, known={}, again=False)

    def _measure(self, count: int, seconds: float) -> None:
        if self._committed is not None:
            self._committed(count, seconds)
