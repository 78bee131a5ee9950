"""Keeps a guard's memory of the kill switches fresh: told at once, and looked up twice a second anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial

from gaelp_ray.actors.loops import every
from gaelp_ray.domain.duties import WATCH_SWITCHES
from gaelp_ray.domain.ledger import Outcome, Request
from gaelp_ray.domain.switches import Board
from gaelp_ray.services import ledger, switches
from gaelp_ray.store.engine import Store
from gaelp_ray.store.notifications import Listener
from gaelp_ray.store.switches import CHANNEL

#: How old the memory may be when nothing was heard.
POLL_S = 0.5


class SwitchWatch:
    """Refuses what is stopped without a transaction; that of the ledger looks again.

    A memory that cannot be refreshed is kept. It lets nothing through: the ledger is not reached either.
    """

    def __init__(self, store: Store, *, poll_s: float = POLL_S) -> None:
        self._store = store
        self._poll_s = poll_s
        self._moved = asyncio.Event()
        self._listener: Listener | None = None
        self.board = Board()

    async def run(self) -> None:
        """Watch, without end."""
        try:
            await every(self._poll_s, WATCH_SWITCHES, self._refresh, wake=self._moved)
        finally:
            self._stop_listening()

    def split(self, requests: Sequence[Request]) -> tuple[list[Request], list[Outcome | None]]:
        """What is to be asked of the ledger, and for each request its refusal or None.

        What was answered before is asked for again: the ledger gives the first answer, whatever is engaged
        since. To find that out, the database is asked, but only where something would be refused.
        """
        refusals: list[Outcome | None] = list(map(self.board.refusal, requests))
        stopped = [
            request.key for request, refusal in zip(requests, refusals, strict=True) if refusal is not None
        ]
        answered = self._store.read(ledger.answered, stopped) if stopped else frozenset()
        refusals = [
            None if request.key in answered else refusal
            for request, refusal in zip(requests, refusals, strict=True)
        ]
        asked = [request for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        return asked, refusals

    def stops(self, requests: Iterable[Request]) -> bool:
        """Whether any of these would be refused, were it new."""
        return any(map(self.board.refusal, requests))

    async def _refresh(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.to_thread(partial(Listener, self._store, CHANNEL))
            asyncio.get_running_loop().add_reader(self._listener.descriptor, self._hear)
        self.board = await asyncio.to_thread(self._store.read, switches.board)

    def _hear(self) -> None:
        assert self._listener is not None
        try:
            told = self._listener.heard()
        except Exception:
            self._stop_listening()
            return
        if told:
            self._moved.set()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener.descriptor)
            listener.close()
