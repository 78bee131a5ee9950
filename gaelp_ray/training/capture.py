"""Captures what a training process prints: redacted, in order, its beginning and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import IO

from gaelp_ray.domain.logs import left_out
from gaelp_ray.training.redaction import Redactor

_READ = 64 * 1024
#: What a process that has filled the first half of its log may go on to send; more waits here.
RATE_BYTES_S = 32 * 1024


class Capture:
    """Reads a pipe on a thread of its own and hands pieces on from the supervisor's.

    The first half of ``limit_bytes`` is handed on as it comes. Of what comes later the last half is kept
    here, and handed on as fast as ``RATE_BYTES_S`` allows and in full at the end: so the last words of a
    process, its traceback say, are never what is left out.
    """

    def __init__(
        self,
        pipe: IO[bytes],
        *,
        redactor: Redactor,
        limit_bytes: int,
        prefix: str = "",
        start_byte: int = 0,
    ) -> None:
        """With a ``prefix`` each line begins with it, and only whole lines are handed on.

        ``start_byte``: how long the log was before.
        """
        self._pipe = pipe
        self._prefix = prefix.encode()
        self._line = b""
        self._redactor = redactor
        self._room = limit_bytes // 2
        self._most_waiting = limit_bytes - limit_bytes // 2
        self._pending = bytearray()
        self._waiting = bytearray()
        self._left_out = 0
        self._allowed_at = time.monotonic()
        self._over = False
        self._lock = threading.Lock()
        self._sent = start_byte
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add a line of the supervisor's own."""
        self._accept(self._prefix + f"gaelp: {line}\n".encode(errors="replace"))

    def flush(self, send: Callable[[int, bytes], None]) -> None:
        """Send what has come since, as ``send(start_byte, content)``; kept for the next time if it fails."""
        with self._lock:
            self._let_go()
            piece = bytes(self._pending)
        if piece:
            send(self._sent, piece)
            with self._lock:
                del self._pending[: len(piece)]
            self._sent += len(piece)

    def finish(self, timeout_s: float) -> None:
        """Wait for the end of the output, not for ever: a process that cannot be ended may hold it open."""
        self._thread.join(timeout_s)
        with self._lock:
            self._over = True

    def _read(self) -> None:
        while data := self._pipe.read1(_READ):  # type: ignore[attr-defined]
            self._accept(self._labelled(self._redactor.feed(data)))
        self._accept(self._labelled(self._redactor.flush(), last=True))

    def _labelled(self, data: bytes, *, last: bool = False) -> bytes:
        if not self._prefix:
            return data
        *lines, self._line = (self._line + data).split(b"\n")
        if self._line and (last or len(self._line) > _READ):
            lines.append(self._line)
            self._line = b""
        return b"".join(self._prefix + line + b"\n" for line in lines)

    def _accept(self, data: bytes) -> None:
        with self._lock:
            self._pending += data[: self._room]
            self._waiting += data[self._room :]
            self._room -= min(self._room, len(data))
            self._drop(len(self._waiting) - self._most_waiting)

    def _drop(self, count: int) -> None:
        """The oldest of what waits; of labelled lines, whole ones."""
        if count <= 0:
            return
        if self._prefix:
            count = self._waiting.find(b"\n", count - 1) + 1 or len(self._waiting)
        del self._waiting[:count]
        self._left_out += count

    def _let_go(self) -> None:
        """Move what may be sent now from what waits to what is pending."""
        now = time.monotonic()
        allowed = min(RATE_BYTES_S, int((now - self._allowed_at) * RATE_BYTES_S))
        if self._over:
            allowed = len(self._waiting)
        elif len(self._pending) >= RATE_BYTES_S or not self._waiting or not allowed:
            return
        self._allowed_at = now
        if self._left_out:
            self._pending += left_out(self._left_out)
            self._left_out = 0
        self._pending += self._waiting[:allowed]
        del self._waiting[:allowed]
