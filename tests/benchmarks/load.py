"""A closed-loop HTTP/1.1 load generator, light enough to share two cores with the server it loads.

Each connection sends its next request as soon as the answer to the last has arrived, so the offered load
follows the server and never floods it. Loopback only; bounded by count and by time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

CONNECTIONS = 32


@dataclass(frozen=True)
class Request:
    """One HTTP request, already serialised, with the name its latency is booked under."""

    raw: bytes
    kind: str = "request"

    @staticmethod
    def build(method: str, path: str, *, token: str = "", body: bytes = b"", kind: str = "request") -> Request:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        if token:
            head += f"Authorization: Bearer {token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return Request(raw=head.encode() + b"\r\n" + body, kind=kind)


@dataclass
class LoadResult:
    """What one run measured: seconds, latencies in seconds, and answers by status code."""

    elapsed_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rps(self) -> float:
        return len(self.latencies_s) / self.elapsed_s

    def percentile_ms(self, q: float) -> float:
        ordered = sorted(self.latencies_s)
        return 1000 * ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class _Connection(asyncio.Protocol):
    """Speaks just enough HTTP to find where an answer ends: status line, Content-Length, body."""

    def __init__(self, requests: Iterator[Request], result: LoadResult, deadline: float, done: asyncio.Future[None]):
        self.requests, self.result, self.deadline, self.done = requests, result, deadline, done
        self.buffer = bytearray()
        self.sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._next()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(self.buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self.buffer) < head_end + 4 + length:
            return
        del self.buffer[: head_end + 4 + length]
        self.result.latencies_s.append(time.perf_counter() - self.sent_at)
        status = int(head[9:12])
        self.result.statuses[status] = self.result.statuses.get(status, 0) + 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None) if exc is None else self.done.set_exception(exc)

    def _next(self) -> None:
        request = next(self.requests, None)
        if request is None or time.perf_counter() > self.deadline:
            if not self.done.done():
                self.done.set_result(None)
            self.transport.close()
            return
        self.sent_at = time.perf_counter()
        self.transport.write(request.raw)


async def _run(make: Callable[[], Iterator[Request]], port: int, connections: int, seconds: float) -> LoadResult:
    loop = asyncio.get_running_loop()
    result, requests = LoadResult(), make()
    started = time.perf_counter()
    waits = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(
            lambda done=done: _Connection(requests, result, started + seconds, done), "127.0.0.1", port  # type: ignore[misc]
        )
        waits.append(done)
    await asyncio.gather(*waits)
    result.elapsed_s = time.perf_counter() - started
    return result


def run_load(
    make: Callable[[], Iterator[Request]], *, port: int, connections: int = CONNECTIONS, seconds: float = 8.0
) -> LoadResult:
    """Run requests from ``make()`` against ``127.0.0.1:port`` for at most ``seconds``."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(make, port, connections, seconds))
