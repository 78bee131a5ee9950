"""What processes forked from a training process may do."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from gaelp_ray.domain.errors import Forbidden
from gaelp_ray.training import TrainingContext


def in_fork(work: Callable[[], str]) -> str:
    """What a forked process has to say."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            os.write(writing, work().encode())
        except Forbidden as error:
            os.write(writing, f"Forbidden: {error.message}".encode())
        os._exit(0)
    os.close(writing)
    said = os.read(reading, 4096).decode()
    os.wait()
    return said


def ask(ctx: TrainingContext) -> dict[str, Any]:
    """Each question, from a fork."""
    leased = ctx.budget.lease(slice_micros=100)
    leased.spend(10)

    def said(call: Callable[[], Any]) -> str:
        return in_fork(lambda: f"{call()}")

    result = {
        "checkpoint": said(lambda: ctx.report({}, step=1, checkpoint=ctx.scratch())),
        "spend": said(lambda: ctx.budget.spend(5, key="a")),
        "new lease": said(lambda: ctx.budget.lease(slice_micros=10).spend(5)),
        "lease of the parent": said(lambda: leased.spend(5)),
        "order": said(lambda: ctx.orders.place(5, key="b")),
        "orders": said(ctx.orders.reports),
        "metrics": said(lambda: ctx.report({"of_fork": 1.0}, step=2)),
    }
    leased.close()
    return result


def fork_while_asking(ctx: TrainingContext) -> dict[str, Any]:
    """Forks are made while other threads hold every lock of the way to the service."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            ctx.report({"of_thread": 1.0}, step=1)
            ctx.report({}, step=1, checkpoint=ctx.scratch())

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(10):
        in_fork(lambda n=number: f"{ctx.report({'of_fork': float(n)}, step=n)}")  # type: ignore[misc]
    over.set()
    for thread in threads:
        thread.join()
    return {}


def wait_in_worker(ctx: TrainingContext) -> dict[str, Any]:
    """A worker process that goes on until the job is told to stop."""

    def work() -> None:
        ctx.report({"pid": os.getpid()}, step=1)
        while not ctx.should_stop():
            time.sleep(0.01)
        ctx.report({"heard": 1.0}, step=2)

    worker = multiprocessing.get_context("fork").Process(target=work)
    worker.start()
    worker.join()
    return {"reason": ctx.stop_reason()}


def share(ctx: TrainingContext) -> dict[str, Any]:
    """One array that forked workers read."""
    data = bytes(int(ctx.hyperparameters["mib"]) * 1024 * 1024 - 1) + b"x"
    touched = bytearray(data)

    def read() -> None:
        assert touched[-1] == ord("x")
        assert sum(touched[:: 4096 * 16]) >= 0
        time.sleep(float(ctx.hyperparameters["for_s"]))

    workers = [multiprocessing.get_context("fork").Process(target=read) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {"exits": [worker.exitcode for worker in workers]}


def hoard(ctx: TrainingContext) -> dict[str, Any]:
    """Forked workers that each hold as much of their own."""

    def hold() -> None:
        kept = bytearray(os.urandom(1024)) * 1024 * int(ctx.hyperparameters["mib"])
        time.sleep(30)
        del kept

    workers = [multiprocessing.get_context("fork").Process(target=hold) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return {}
