"""Takes down what an unfinished `gaelp up` has started, however that ended.

``gaelp up`` starts this process first and names each part to it before it starts that part. When its input
ends without the word that all is well, because the command failed, was interrupted or was killed, it ends
these parts, the last first. It holds the data folder until it is done, so that the next command waits for it.

``python -m gaelp_ray.cli.unfinished`` reads the settings from its environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from threading import current_thread, main_thread

from gaelp_ray.cli import database, head, processes
from gaelp_ray.config import Settings

_DONE = "done"


class Part(StrEnum):
    """What `gaelp up` starts, in this order."""

    DATABASE = "database"
    HEAD = "head"
    JOINED = "joined"
    DRIVER = "driver"


class Start:
    """A start that is under way."""

    def __init__(self, undoing: subprocess.Popen[str]) -> None:
        self._undoing = undoing

    def begin(self, part: Part) -> None:
        """Say that the part is about to be started."""
        self._say(part)

    def finish(self) -> None:
        """Keep what was started."""
        self._say(_DONE)

    def _say(self, word: str) -> None:
        assert self._undoing.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._undoing.stdin.write(f"{word}\n")
            self._undoing.stdin.flush()


@contextlib.contextmanager
def start(settings: Settings, lock: int) -> Iterator[Start]:
    """A start that leaves nothing behind unless the block ends well. ``lock`` holds the data folder."""
    undoing = subprocess.Popen(
        [sys.executable, "-m", "gaelp_ray.cli.unfinished"],
        env=os.environ | {"GAELP_HOME": str(settings.data_dir)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        pass_fds=(lock,),
        start_new_session=True,
    )
    try:
        with _terminated():
            started = Start(undoing)
            yield started
            started.finish()
    finally:
        _wait(undoing)


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that there is time to wait for the end."""

    def leave(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    # Python lets only the main thread choose.
    chosen = (signal.SIGTERM, signal.SIGHUP) if current_thread() is main_thread() else ()
    before = {number: signal.signal(number, leave) for number in chosen}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(undoing: subprocess.Popen[str]) -> None:
    """Until it is gone, whatever is pressed meanwhile."""
    assert undoing.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        undoing.stdin.close()
    while undoing.poll() is None:
        with contextlib.suppress(KeyboardInterrupt, SystemExit, subprocess.TimeoutExpired):
            undoing.wait(1)


def undo(settings: Settings, parts: Iterable[Part]) -> None:
    """End these parts."""
    from gaelp_ray.cli import machine  # noqa: PLC0415 - slow to import, and most starts end well

    home = settings.data_dir
    steps = {
        Part.DATABASE: lambda: database.stop(home),
        Part.HEAD: lambda: head.stop(home),
        Part.JOINED: lambda: machine.leave_cluster(settings),
        Part.DRIVER: lambda: processes.end(lambda: processes.of_driver(home)),
    }
    for part in parts:
        with contextlib.suppress(Exception):
            steps[part]()


def main() -> None:
    begun: list[Part] = []
    for line in sys.stdin:
        if line.strip() == _DONE:
            return
        begun.append(Part(line.strip()))
    undo(Settings(), reversed(begun))


if __name__ == "__main__":
    main()
