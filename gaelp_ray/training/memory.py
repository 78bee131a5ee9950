"""How much memory the processes of an attempt use.

Resident sizes are cheap to read and count a page once for each process that maps it. Proportional sizes (PSS,
``man 5 proc_pid_smaps_rollup``) share such a page out, so their sum is what the tree really holds; the kernel
walks all pages for them. So resident sizes decide while they are under the limit, for they are never the
smaller sum, and proportional ones where several processes share.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable
from pathlib import Path

import psutil

from gaelp_ray.training import init

#: How often the real use of several processes is measured while nothing is near the limit.
EXACT_S = 2.0


class MemoryWatch:
    """Measures the processes of an attempt, below its init processes."""

    def __init__(self, root: int, limit_bytes: int) -> None:
        self._root, self._limit = root, limit_bytes
        self._exact_at = 0.0
        #: The largest use that was seen.
        self.peak_bytes = 0

    def look(self, now: float) -> int:
        """Bytes in use; 0 when the processes are gone."""
        pids = processes(self._root)
        used = total(pids, resident_bytes)
        several = len(pids) > 1
        if several and (used > self._limit or now >= self._exact_at):
            self._exact_at = now + EXACT_S
            used = total(pids, proportional_bytes)
            self.peak_bytes = max(self.peak_bytes, used)
        elif not several:
            self.peak_bytes = max(self.peak_bytes, used)
        return used


def processes(root: int) -> list[int]:
    """All below the pair of init processes of which ``root`` is the first."""
    if Path(f"/proc/{root}/task").is_dir():
        inner = init.children(root)
        return [pid for pid in init.descendants(root) if pid not in inner]
    try:
        first = psutil.Process(root)
        return [each.pid for inner in first.children() for each in inner.children(recursive=True)]
    except psutil.Error:
        return []


def total(pids: list[int], measure: Callable[[int], int]) -> int:
    return sum(map(measure, pids))


def resident_bytes(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        pass
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def proportional_bytes(pid: int) -> int:
    """0 for a process that is gone; the resident size where the system does not tell the proportional one."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return resident_bytes(pid)
