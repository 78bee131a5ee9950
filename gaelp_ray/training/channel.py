"""The wire between a training process and its supervisor: JSON, one message a line, over a socket pair.

JSON, not pickle: user code on one end must not be able to run code on the other.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gaelp_ray.domain.errors import GaelpError, InvalidInput

#: Environment variable with the number of the inherited socket.
FD_VARIABLE = "GAELP_CHANNEL_FD"
MAX_LINE = 16 * 1024 * 1024
#: A process that does not read what it is told for so long is not waited for.
SEND_S = 5.0
_READ = 64 * 1024
#: Process, user and group (``man 7 unix``, SCM_CREDENTIALS).
_CREDENTIALS = struct.Struct("iII")


class ChannelClosed(GaelpError):
    """This process has closed its channel to the service, or the service is gone."""

    code = "channel_closed"


class Channel:
    """One end. ``send`` may be called from any thread; one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._reader = end.makefile("rb")
        self._lock = threading.Lock()
        self._patience_s = -1.0
        self._number, self._identity = end.fileno(), _identity(end.fileno())

    @staticmethod
    def pair() -> tuple[Channel, socket.socket]:
        """A channel and the other end's socket, to be inherited by a child."""
        ours, theirs = socket.socketpair()
        # Where the system has it, each piece that arrives names the process that wrote it.
        if hasattr(socket, "SO_PASSCRED"):
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        return Channel(ours), theirs

    def send(self, message: Mapping[str, Any]) -> None:
        """Raises ``ValueError`` for a message that the other end would not take, ``ChannelClosed`` where the
        socket's descriptor has been closed or is something else by now."""
        line = self.line(message)
        if not self._lock.acquire(timeout=self._patience_s):
            raise TimeoutError("The other end does not read.")
        try:
            if _identity(self._number) != self._identity:
                raise ChannelClosed(
                    f"File descriptor {self._number}, the connection to the service, was closed by the job."
                )
            self._socket.sendall(line)
        finally:
            self._lock.release()

    def limit_sends(self) -> None:
        """From now on give up, with an ``OSError``, on an end that does not read for ``SEND_S``."""
        self._patience_s = SEND_S
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(SEND_S), 0))

    @staticmethod
    def line(message: Mapping[str, Any]) -> bytes:
        """A message as it is written; raises ``ValueError`` for one that is too long."""
        line = json.dumps(message, default=_plain).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise ValueError(f"{len(line)} bytes are too much to report; the most is {MAX_LINE}.")
        return line

    def receive(self) -> dict[str, Any] | None:
        """The next message; None when the other end is gone."""
        try:
            line = self._reader.readline(MAX_LINE)
        except (OSError, ValueError):
            return None
        return read(line) if line.endswith(b"\n") else None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (message := self.receive()) is not None:
            yield message

    def lines(self) -> Iterator[tuple[int | None, bytes]]:
        """``(process, line)`` of each whole line, until nobody can write any more.

        The number is that of the process that wrote it, as the kernel saw it; None where it does not tell.
        Lines of several processes are never mixed. What is to be read this way is not read by ``receive``.
        Raises ``InvalidInput`` for a line that does not end.
        """
        begun: dict[int | None, bytearray] = {}
        while True:
            try:
                data, told, _, _ = self._socket.recvmsg(_READ, socket.CMSG_SPACE(_CREDENTIALS.size))
            except OSError:
                return
            if not data:
                return
            writer = _writer(told)
            line = begun.pop(writer, bytearray()) + data
            if b"\n" in data:
                *whole, rest = bytes(line).split(b"\n")
                yield from ((writer, each) for each in whole)
                line = bytearray(rest)
            if line:
                begun[writer] = line
            if sum(map(len, begun.values())) > MAX_LINE:
                raise InvalidInput(f"A message is longer than {MAX_LINE} bytes.")

    def renew(self) -> None:
        """In a forked process: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def close(self) -> None:
        # Shutting down wakes a reader that is blocked on the socket.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def read(line: bytes) -> dict[str, Any]:
    """A line as a message of values that the database holds; raises ``InvalidInput`` for any other."""
    try:
        message = _storable(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"A message is a line of JSON; this is none: {error}.") from None
    if not isinstance(message, dict):
        raise InvalidInput(f"A message is a JSON object, not {type(message).__name__}.")
    return message


def _identity(number: int) -> tuple[int, int] | None:
    """What a file descriptor is; None when it is closed."""
    try:
        status = os.fstat(number)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _writer(told: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in told:
        if level == socket.SOL_SOCKET and kind == getattr(socket, "SCM_CREDENTIALS", None):
            return int(_CREDENTIALS.unpack_from(data)[0])
    return None


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
