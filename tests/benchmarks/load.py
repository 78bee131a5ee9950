"""An HTTP/1.1 load generator, light enough to share two cores with the server it loads.

Each connection sends its next request as soon as the answer to the last has arrived, so the offered load
follows the server and never floods it. With a pace, requests come due at a steady rate whatever the answers
take, and one that is sent late counts from when it was due. Loopback only; bounded by time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import cast

import uvloop

from tests.benchmarks.output import percentile

#: Enough that two replicas always have a request to work on while another waits for the database.
CONNECTIONS = 64
#: A server that has not answered by then has failed, not slowed down.
STUCK_S = 30.0


class LoadError(Exception):
    """The server did something that voids the measurement."""


@dataclass(frozen=True)
class Request:
    """One HTTP request, already serialised."""

    raw: bytes

    @staticmethod
    def build(method: str, path: str, *, token: str = "", body: bytes = b"") -> Request:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return Request(head.encode() + b"\r\n" + body)


@dataclass
class LoadResult:
    """What one run measured: seconds, latencies in seconds, and answers by status code."""

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    #: Connections that the server asked to be closed, as a proxy does that has read a new configuration.
    reopened: int = 0

    @property
    def rps(self) -> float:
        return len(self.latencies_s) / self.elapsed_s

    def percentile_ms(self, q: float) -> float:
        return 1000 * percentile(self.latencies_s, q)


class _Connection(asyncio.Protocol):
    """Speaks just enough HTTP to find where an answer ends: status line, Content-Length, body.

    A server may end a connection with an answer that says ``Connection: close``; the next request goes over a
    new one. A connection that is closed while a request waits for its answer is an error.
    """

    def __init__(
        self,
        requests: Iterator[Request],
        port: int,
        result: LoadResult,
        due: Iterator[float],
        deadline: float,
    ) -> None:
        self._requests, self._port, self._result = requests, port, result
        self._due, self._deadline = due, deadline
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._sent_at = 0.0
        self._told_to_leave = False
        self._reopening: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)

    async def _reopen(self) -> None:
        try:
            await self.open()
        except OSError as error:
            self._end(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self._buffer[:head_end]).lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._end(LoadError(f"an answer without Content-Length: {head[:200]!r}"))
            return
        end = head_end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end:
            return
        self._result.latencies_s.append(time.perf_counter() - self._sent_at)
        status = int(head[9:12])
        self._result.statuses[status] += 1
        if status // 100 != 2:
            self._end(LoadError(f"status {status}: {bytes(self._buffer[head_end + 4 : end])[:300]!r}"))
            return
        del self._buffer[:end]
        if b"\r\nconnection: close" in head:
            self._result.reopened += 1
            self._told_to_leave = True
            self._transport.close()
        else:
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._told_to_leave:
            self._told_to_leave = False
            self._reopening = asyncio.create_task(self._reopen())
        else:
            self._end(exc or LoadError("the server closed a connection before it answered"))

    def _next(self) -> None:
        self._sent_at = next(self._due)
        if self._sent_at > self._deadline:
            self._end()
            return
        ahead = self._sent_at - time.perf_counter()
        if ahead > 0:
            asyncio.get_running_loop().call_later(ahead, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._transport.write(next(self._requests).raw)

    def _end(self, error: Exception | None = None) -> None:
        """The first end counts; closing brings a second one."""
        if not self.done.done():
            self.done.set_exception(error) if error else self.done.set_result(None)
        self._transport.close()


def _due(started: float, per_s: float | None) -> Iterator[float]:
    """When each request is to be sent; without a pace, at once."""
    if per_s is None:
        while True:
            yield time.perf_counter()
    for number in count():
        yield started + number / per_s


async def _run(
    requests: Iterator[Request], port: int, connections: int, seconds: float, per_s: float | None
) -> LoadResult:
    result, started = LoadResult(), time.perf_counter()
    due = _due(started, per_s)
    opened = [_Connection(requests, port, result, due, started + seconds) for _ in range(connections)]
    for connection in opened:
        await connection.open()
    await asyncio.wait_for(asyncio.gather(*(each.done for each in opened)), seconds + STUCK_S)
    result.elapsed_s = time.perf_counter() - started
    return result


def run_load(
    requests: Iterator[Request],
    *,
    port: int,
    connections: int = CONNECTIONS,
    seconds: float,
    per_s: float | None = None,
) -> LoadResult:
    """Send an endless supply of requests to ``127.0.0.1:port`` for so many seconds.

    Raises ``LoadError`` at the first answer that is not a success.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(requests, port, connections, seconds, per_s))
