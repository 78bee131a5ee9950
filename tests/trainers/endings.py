"""Entry points that end in ways of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from typing import Any

import psutil

from gaelp_ray.training import TrainingContext


def leave_with_much(_ctx: TrainingContext) -> None:
    sys.exit(2**31)


def claim(ctx: TrainingContext) -> None:
    """Write an end on the channel, as ``hyperparameters`` have it."""
    for number in range(3, 64):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if found.family == socket.AF_UNIX:
            found.sendall(json.dumps({"kind": "end"} | dict(ctx.hyperparameters)).encode() + b"\n")
    time.sleep(60)


def fork(ctx: TrainingContext) -> dict[str, Any]:
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    ctx.report({"reward": 1.0}, step=30)
    return {"answer": 42}


def close(_ctx: TrainingContext) -> dict[str, Any]:
    sys.stdout.close()
    os.close(2)
    return {"answer": 42}


def tuple_key(_ctx: TrainingContext) -> dict[Any, Any]:
    return {(1, 2): "x"}


def real_time(_ctx: TrainingContext) -> None:
    os.kill(os.getpid(), 40)


def kill_the_worker(_ctx: TrainingContext) -> None:
    """The Ray worker above, as a job may do that kills whatever it finds."""
    worker = next(p for p in psutil.Process().parents() if p.name().startswith("ray::"))
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(60)


def report_fast(ctx: TrainingContext) -> None:
    for step in range(int(ctx.hyperparameters["steps"])):
        ctx.report({"reward": float(step)}, step=step)


def print_too_much(_ctx: TrainingContext) -> None:
    """More than a log keeps, as a progress bar does, and then the reason of its end."""
    for _ in range(60):
        sys.stdout.write("=" * 100_000 + "\r")
    raise ValueError("the reason")
