"""The training process of an attempt: started under an init process of its own, ended with all it left."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from gaelp_ray.domain.endings import signal_name
from gaelp_ray.domain.errors import InvalidInput, Unavailable
from gaelp_ray.training import init

#: How long the init process may take to kill what an attempt left; then it is done from here.
SWEEP_S = 10.0
#: The node's doing: it has no more processes, memory or files to give.
_SCARCE = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC}
#: What the init process needs itself of the worker's environment.
_FOR_INIT = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class Program:
    """What is started."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    folder: str | None
    #: Of the data segment: for what grows faster than memory is sampled.
    data_limit_bytes: int
    #: Variable whose value none but the attempt's processes have.
    marker: str = "TMPDIR"


class TrainingProcess:
    """One started program, followed through its init process. Used from one thread."""

    def __init__(self, program: Program, channel: socket.socket) -> None:
        """Raises ``InvalidInput`` for a program that cannot be started as it was asked for, ``Unavailable``
        when the node has no room for one."""
        order = _order(program, channel)
        self._mark = f"{program.marker}={program.environment[program.marker]}".encode()
        self._read = b""
        self._errno: int | None = None
        #: It has ended, and so has all that it left behind.
        self.ended = False
        #: Its exit code, or minus a signal's number; None while it runs, and when nobody saw its end.
        self.status: int | None = None
        self.pid = 0
        #: What it was stopped by, for now.
        self.stopped_by: str | None = None
        try:
            self._init, self._control = _start_init(channel)
            with contextlib.suppress(BrokenPipeError):
                self._control.sendall(order)
        except OSError as error:
            raise _refusal(error.errno, program) from error
        while not (self.pid or self.ended or self._errno is not None):
            self.wait(1.0)
        if not self.pid:
            self.end()
            raise _refusal(self._errno, program)

    @property
    def output(self) -> IO[bytes]:
        assert self._init.stdout is not None
        return self._init.stdout

    @property
    def root(self) -> int:
        """The process above all processes of the attempt."""
        return self._init.pid

    @property
    def killed_from_outside(self) -> bool:
        """Its init process was, and it went with it."""
        return self.status is None and self._init.poll() == -signal.SIGKILL

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended; waits for that, or for news of it, at most so long."""
        if not self.ended:
            self._listen(timeout_s)
        if not self.ended and self._init.poll() is not None:
            # Its last word may have come since.
            while not self.ended and self._listen(0.0):
                pass
            self.ended = True
        return self.ended

    def send(self, number: signal.Signals) -> None:
        """To it and its process group."""
        if self.pid and not self.ended:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)

    def end(self) -> None:
        """Kill it and everything that it left behind, wherever that hides. Done again, it does nothing."""
        # Its init process kills all when it finds that nobody writes any more, and then says how it ended.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)
        until = time.monotonic() + SWEEP_S
        while not self.wait(0.1) and time.monotonic() < until:
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._init.wait(SWEEP_S)
        self._control.close()
        if self._init.returncode != 0 or self.status is None:
            _kill([self.root, *init.descendants(self.root), *_marked(self._mark)])
            self._init.wait()
        self.ended = True

    def _listen(self, timeout_s: float) -> bool:
        """Whether there was news."""
        if not select.select([self._control], [], [], timeout_s)[0]:
            return False
        try:
            data = self._control.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return True
        *lines, self._read = (self._read + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError):  # no words of the init process
                self._take(line)
        return True

    def _take(self, line: bytes) -> None:
        match line.split():
            case [b"started", pid]:
                self.pid = int(pid)
            case [b"failed", number]:
                self._errno = int(number)
            case [b"stopped", number]:
                self.stopped_by = signal_name(int(number))
            case [b"continued"]:
                self.stopped_by = None
            case [b"exit", status]:
                self.status, self.ended = int(status), True


def _start_init(channel: socket.socket) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    environment = {name: os.environ[name] for name in _FOR_INIT if name in os.environ}
    try:
        # The last argument is for those who look at the list of processes.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", init.__file__, str(theirs.fileno()), "gaelp_ray.training.child"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[theirs.fileno(), channel.fileno()],
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _order(program: Program, channel: socket.socket) -> bytes:
    """As ``training/init.py`` reads it."""
    for name, value in program.environment.items():
        if not name or "=" in name or "\0" in name + value:
            raise InvalidInput(
                f"The environment variable {name[:100]!r} cannot be set: it holds '=' or a NUL."
            )
    fields = [
        str(channel.fileno()),
        str(program.data_limit_bytes),
        program.folder or "",
        str(len(program.arguments)),
        *program.arguments,
        *(f"{name}={value}" for name, value in program.environment.items()),
    ]
    try:
        order = "\0".join(fields).encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise InvalidInput(
            "An environment variable holds half of a surrogate pair; it must be text."
        ) from None
    return len(order).to_bytes(8) + order


def _refusal(number: int | None, program: Program) -> InvalidInput | Unavailable:
    if number is None:
        return Unavailable("The node could not start a process: its init process was killed.")
    reason = os.strerror(number)
    if number in _SCARCE:
        return Unavailable(f"The node could not start a process: {reason}.")
    if number == errno.E2BIG:
        size = sum(map(len, program.environment.values()))
        return InvalidInput(
            f"The process could not be started: {reason}. Its environment variables hold {size:,} bytes; use "
            f"a file for what is large."
        )
    folder = program.folder or str(Path.cwd())
    return InvalidInput(f"The process could not be started in {folder!r:.300}: {reason}.")


def _marked(mark: bytes) -> list[int]:
    """Processes that were started with a variable."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with contextlib.suppress(psutil.Error, OSError):
            os.kill(pid, signal.SIGKILL)
