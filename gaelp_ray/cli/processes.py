"""The processes of one service, known by its data folder, and how they are ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from gaelp_ray.cli import homes
from gaelp_ray.domain.errors import SetupError

#: Environment variable that marks the processes of the head that belongs to a data folder.
HEAD = "GAELP_HEAD_OF"
#: The same for the driver that deployed the service.
DRIVER = "GAELP_DRIVER_OF"

_END_S = 60.0


def of_head(data_dir: Path) -> list[psutil.Process]:
    """Every live process of this data folder's head: Ray itself, actors, proxies, jobs."""
    run = homes.known_run_folder(data_dir)
    return marked(data_dir, HEAD, () if run is None else (f"{run}/ray", f"{run}/haproxy"))


def of_driver(data_dir: Path) -> list[psutil.Process]:
    """The driver that deployed the service, if it lives."""
    return marked(data_dir, DRIVER)


def marked(data_dir: Path, mark: str, words: tuple[str, ...] = ()) -> list[psutil.Process]:
    """Every live process that bears this data folder's mark or one of the words, with its descendants.

    Descendants too, because a process that renames itself, as Ray's do, may overwrite the mark.
    """
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if _is_of(process, mark, str(data_dir), words):
                found |= {process, *process.children(recursive=True)}
    return [p for p in found if p.pid not in mine and is_alive(p)]


def _is_of(process: psutil.Process, mark: str, data_dir: str, words: tuple[str, ...]) -> bool:
    with contextlib.suppress(psutil.AccessDenied):
        if process.environ().get(mark) == data_dir:
            return True
    return bool(words) and any(word in part for part in process.cmdline() for word in words)


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def end(listed: Callable[[], Iterable[psutil.Process]]) -> None:
    """End every process that is listed, and those that are by then; raises ``SetupError`` if one stays."""
    deadline = time.monotonic() + _END_S
    # More than once: a process that was just being started is not in the first list.
    while processes := list(listed()):
        if time.monotonic() > deadline:
            raise SetupError(f"Process {processes[0].pid} does not end, not even when killed.")
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        _gone, alive = psutil.wait_procs(processes, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)


def named(processes: Iterable[psutil.Process], name: str) -> bool:
    """Whether one of them is the program of that name."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.name() == name or name in (process.cmdline() or [""])[0]:
                return True
    return False
