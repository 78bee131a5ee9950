"""Captures what a training process prints: redacted, in order, up to a limit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import IO

from gaelp_ray.training.redaction import Redactor

_READ = 64 * 1024


class Capture:
    """Reads a pipe on a thread of its own and hands pieces on from the supervisor's."""

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
        self._limit = limit_bytes
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._sent = start_byte
        self._accepted = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add a line of the supervisor's own."""
        with self._lock:
            self._pending += self._prefix + f"gaelp: {line}\n".encode()

    def flush(self, send: Callable[[int, bytes], None]) -> None:
        """Send what has come since, as ``send(start_byte, content)``; kept for the next time if it fails."""
        with self._lock:
            piece = bytes(self._pending)
        if piece:
            send(self._sent, piece)
            with self._lock:
                del self._pending[: len(piece)]
            self._sent += len(piece)

    def finish(self, timeout_s: float) -> None:
        """Wait for the end of the output; a grandchild may hold the pipe open, so not for ever."""
        self._thread.join(timeout_s)

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
        room = self._limit - self._accepted
        with self._lock:
            self._pending += data[: max(0, room)]
            if 0 <= room < len(data):
                self._pending += b"\ngaelp: the log is cut here; it reached its limit\n"
        self._accepted += len(data)
