"""The wire between a training process and its supervisor: JSON, one message a line, over a socket pair.

JSON, not pickle: user code on one end must not be able to run code on the other.
"""

from __future__ import annotations

import contextlib
import json
import math
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
        """Raises ``ValueError`` for a message that the other end would not take."""
        line = json.dumps(message, default=_plain).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"{len(line)} bytes are too much to report; the most is {MAX_LINE}.")
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
        message = _storable(json.loads(line))
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


def _storable(value: Any) -> Any:
    """The value as the database can hold it: no NaN, no infinity, no NUL, no half of a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd").encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as numbers and lists; anything else as its text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    return str(value)
