"""A closed-loop HTTP/1.1 load generator, light enough to share two cores with the server it loads.

Each connection sends its next request as soon as the answer to the last has arrived, so the offered load
follows the server and never floods it. Loopback only; bounded by time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

from tests.benchmarks.output import percentile

CONNECTIONS = 32
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

    @property
    def rps(self) -> float:
        return len(self.latencies_s) / self.elapsed_s

    def percentile_ms(self, q: float) -> float:
        return 1000 * percentile(self.latencies_s, q)


class _Connection(asyncio.Protocol):
    """Speaks just enough HTTP to find where an answer ends: status line, Content-Length, body."""

    def __init__(
        self, requests: Iterator[Request], result: LoadResult, deadline: float, done: asyncio.Future[None]
    ) -> None:
        self._requests, self._result, self._deadline, self._done = requests, result, deadline, done
        self._buffer = bytearray()
        self._sent_at = 0.0

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
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or LoadError("the server closed a connection"))

    def _next(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at > self._deadline:
            self._end()
            return
        self._transport.write(next(self._requests).raw)

    def _end(self, error: Exception | None = None) -> None:
        """The first end counts; closing brings a second one."""
        if not self._done.done():
            self._done.set_exception(error) if error else self._done.set_result(None)
        self._transport.close()


async def _run(requests: Iterator[Request], port: int, connections: int, seconds: float) -> LoadResult:
    loop = asyncio.get_running_loop()
    result, started = LoadResult(), time.perf_counter()
    ends: list[asyncio.Future[None]] = [loop.create_future() for _ in range(connections)]
    for end in ends:
        connection = _Connection(requests, result, started + seconds, end)
        await loop.create_connection(lambda it=connection: it, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*ends), seconds + STUCK_S)
    result.elapsed_s = time.perf_counter() - started
    return result


def run_load(
    requests: Iterator[Request], *, port: int, connections: int = CONNECTIONS, seconds: float
) -> LoadResult:
    """Send an endless supply of requests to ``127.0.0.1:port`` for so many seconds.

    Raises ``LoadError`` at the first answer that is not a success.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(requests, port, connections, seconds))
