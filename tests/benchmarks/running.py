"""A service of its own for a benchmark, and what it weighs. Nothing of it outlives the block."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType

import psutil

from tests.benchmarks.output import say
from tests.service import Service

#: What may still be ending when `gaelp down` has answered.
GONE_S = 5.0


@contextlib.contextmanager
def running(**settings: str) -> Iterator[Service]:
    """A started service with these settings; down, and every process of it gone, after the block."""
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="gaelp-bench-", ignore_cleanup_errors=True) as home:
        service = Service(Path(home), **settings)
        try:
            service.up()
            yield service
        finally:
            with _patient():
                _end(service)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Inside, nobody can interrupt: the end of the service is not left half done."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(service: Service) -> None:
    everything = processes(service)
    done = service.gaelp("down")
    if done.returncode != 0:
        say(f"gaelp down failed: {done.stdout}{done.stderr}")
    everything |= processes(service)
    _gone, left = psutil.wait_procs(everything, timeout=GONE_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            say(f"gaelp down left {process.pid} {process.name()} ({' '.join(process.cmdline())[:100]})")
            process.kill()
    psutil.wait_procs(left, timeout=GONE_S)


def processes(service: Service) -> set[psutil.Process]:
    """Every process of the service, those too whose environment was cleaned of its name."""
    found: set[psutil.Process] = set()
    for root in service.processes(""):
        if root not in found and root.pid != os.getpid():
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {root, *root.children(recursive=True)}
    return found


def memory_mib(of: Iterable[psutil.Process]) -> float:
    """Their memory, pages that they share counted once (PSS) where the system tells."""
    return sum(map(_memory, of)) / 1024**2


def _memory(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.NoSuchProcess):
        try:
            return int(process.memory_full_info().pss)
        except (psutil.AccessDenied, AttributeError):
            return int(process.memory_info().rss)
    return 0
