"""What comes before an attempt's process starts: its packages, its code, its checkpoints.

It may take minutes. Meanwhile the attempt shows life, hears orders to stop, and its log says what goes on.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gaelp_ray.domain.attempts import Outcome
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training.link import Link
from gaelp_ray.training.redaction import Redactor

R = TypeVar("R")

BEAT_S = 1.0
FLUSH_S = 0.1
#: What is kept of a command's words for the message, and what all of them may add to the log.
TAIL_LINES, LOG_BYTES = 400, 256 * 1024
_READ = 64 * 1024
#: How long work that was told to stop may take to let go.
LET_GO_S = 2.0

_USERINFO = re.compile(r"(\w://)[^/\s@]+@")
#: Ends the command with the thread that started it, also where that is killed. Linux only.
_ENDS_WITH_PARENT = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Ended(Exception):
    """The attempt ends before its process has started."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


def ends(cause: EndCause, message: str) -> Ended:
    return Ended(Outcome(cause, message[:2000]))


class _LetGo(Exception):
    """The work was told to stop."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    status: int
    #: The last lines of what it said.
    words: list[str]


class Preparation:
    """Does the work on a thread of its own, and what the service expects of an attempt meanwhile.

    ``left_s``: seconds until the job's deadline, None without one.
    """

    def __init__(
        self,
        link: Link,
        redactor: Redactor,
        *,
        prefix: str = "",
        left_s: float | None = None,
        log_bytes: int = LOG_BYTES,
    ) -> None:
        self._link = link
        self._redactor = redactor
        self._prefix = prefix
        self._room = min(log_bytes, LOG_BYTES)
        self._started = time.monotonic()
        self._left_s = left_s
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        #: Bytes of the attempt's log so far.
        self.logged = 0

    @property
    def took_s(self) -> float:
        return time.monotonic() - self._started

    def run(self, work: Callable[[], R]) -> R:
        """The work's result. Raises what it raises, and ``Ended`` when the attempt has to end first."""
        done: list[R] = []
        failed: list[BaseException] = []

        def attempt() -> None:
            try:
                done.append(work())
            except BaseException as error:
                failed.append(error)

        worker = threading.Thread(target=attempt, daemon=True)
        worker.start()
        try:
            self._accompany(worker)
        finally:
            self._stopping.set()
            worker.join(LET_GO_S)
            self._flush()
        if failed:
            raise failed[0]
        return done[0]

    def _accompany(self, worker: threading.Thread) -> None:
        next_beat = time.monotonic() + BEAT_S
        while worker.is_alive():
            worker.join(FLUSH_S)
            self._flush()
            now = time.monotonic()
            if now >= next_beat:
                next_beat = now + BEAT_S
                told = self._link.beat()
                if told.stop is not None:
                    why = f" {told.message}" if told.message else ""
                    words = f"Stopped as ordered ({told.stop}) before its process started."
                    raise ends(told.stop, words + why)
            if self._left_s is not None and self.took_s > self._left_s:
                raise ends(EndCause.DEADLINE, "The job's deadline came before its process had started.")

    def check(self) -> None:
        """To be called by the work often: it raises when the attempt is to end."""
        if self._stopping.is_set():
            raise _LetGo

    def pause(self, seconds: float) -> None:
        """Wait, unless the attempt is to end."""
        if self._stopping.wait(seconds):
            raise _LetGo

    def say(self, line: str) -> None:
        """Add a line to the attempt's log, without secrets."""
        line = self._redactor.redact(_USERINFO.sub(r"\1****@", line))
        content = f"{self._prefix}{line}\n".encode(errors="replace")
        with self._lock:
            if self._room <= 0:
                return
            self._room -= len(content)
            self._pending += content if self._room > 0 else b"gaelp: more of this is left out\n"

    def _flush(self) -> None:
        with self._lock:
            piece = bytes(self._pending)
            self._pending.clear()
        if piece:
            self._link.log(self.logged, piece)
            self.logged += len(piece)

    def command(
        self,
        words: Sequence[str],
        *,
        environment: Mapping[str, str],
        python: str,
        timeout_s: float,
        keep_open: Sequence[int] = (),
    ) -> Finished:
        """Run a command to its end, its words going to the log; it ends with the attempt.

        Raises ``TimeoutError``. ``python`` starts it so that it ends with this process too.
        """
        process = subprocess.Popen(
            [python, "-I", "-S", "-c", _ENDS_WITH_PARENT, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Nothing there steers an installer, and an operator's own configuration is found all the same.
            cwd="/",
            env=dict(environment),
            pass_fds=keep_open,
            start_new_session=True,
        )
        try:
            said = self._follow(process, time.monotonic() + timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
        return Finished(status, said)

    def _follow(self, process: subprocess.Popen[bytes], deadline: float) -> list[str]:
        assert process.stdout is not None
        said: deque[str] = deque(maxlen=TAIL_LINES)
        rest, is_open = b"", True
        with process.stdout as pipe, selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            # What it started may hold the pipe open after it, and it may close the pipe before its end.
            while is_open or process.poll() is None:
                self.check()
                if time.monotonic() > deadline:
                    raise TimeoutError
                if not is_open:
                    self.pause(FLUSH_S)
                elif selector.select(FLUSH_S):
                    data = os.read(pipe.fileno(), _READ)
                    *lines, rest = (rest + data).split(b"\n")
                    if not data or len(rest) > _READ:
                        lines, rest = [*lines, rest], b""
                    for text in filter(None, map(_line, lines)):
                        said.append(text)
                        self.say(text)
                    is_open = bool(data)
                else:
                    is_open = process.poll() is None
        return list(said)


def _line(raw: bytes) -> str:
    """As a terminal would show it in the end: a progress bar writes over itself."""
    return raw.decode(errors="replace").rstrip().rsplit("\r", 1)[-1]
