"""The wire between a training process and its supervisor: JSON, one message a line, over a socket pair.

JSON, not pickle: user code on one end must not be able to run code on the other.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

#: Environment variable with the number of the inherited socket.
FD_VARIABLE = "GAELP_CHANNEL_FD"
MAX_LINE = 16 * 1024 * 1024


class Channel:
    """One end. ``send`` may be called from any thread; one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader = end.makefile("rb")
        self._lock = threading.Lock()

    @staticmethod
    def pair() -> tuple[Channel, socket.socket]:
        """A channel and the other end's socket, to be inherited by a child."""
        ours, theirs = socket.socketpair()
        return Channel(ours), theirs

    def send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message, default=_plain).encode() + b"\n"
        with self._lock:
            self._socket.sendall(line)

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other end is gone."""
        try:
            line = self._reader.readline(MAX_LINE)
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        message = json.loads(line)
        assert isinstance(message, dict)
        return message

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (message := self.receive()) is not None:
            yield message

    def close(self) -> None:
        # Shutting down wakes a reader that is blocked on the socket.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as numbers and lists; anything else as its text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    return str(value)
