"""Entry points that behave, and some that do not."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

from gaelp_ray.training import BudgetExhausted, TrainingContext


def count(ctx: TrainingContext) -> dict[str, Any]:
    """Counts to ``steps``, one every ``pause_s``, from where its checkpoint left off.

    With ``gate``, a path, it goes past step ``gate_at`` only once that file is there.
    """
    steps = int(ctx.hyperparameters.get("steps", 5))
    pause_s = float(ctx.hyperparameters.get("pause_s", 0.05))
    saved = ctx.latest_checkpoint()
    first = int((saved.path / "step").read_text()) if saved else 0
    for step in range(first + 1, steps + 1):
        wait_at_gate(ctx, step)
        if ctx.should_stop():
            break
        time.sleep(pause_s)
        folder = ctx.scratch() / "checkpoint"
        folder.mkdir(exist_ok=True)
        (folder / "step").write_text(str(step))
        ctx.report({"reward": float(step)}, step=step, total_steps=steps, checkpoint=folder)
        print(f"step {step}", flush=True)
    return {"counted_to": steps, "resumed_from": first, "attempt": ctx.attempt}


def wait_at_gate(ctx: TrainingContext, step: int) -> None:
    """Lets a test decide what happens before a step, however slow the machine is."""
    gate = ctx.hyperparameters.get("gate")
    if gate is None or step <= int(ctx.hyperparameters.get("gate_at", 2)):
        return
    while not Path(str(gate)).exists() and not ctx.should_stop():
        time.sleep(0.05)


def chatter(ctx: TrainingContext) -> dict[str, Any]:
    """Reports at ``hz`` for ``seconds``, without checkpoints; each report carries the time it was made."""
    hz, seconds = float(ctx.hyperparameters["hz"]), float(ctx.hyperparameters["seconds"])
    started, step = time.monotonic(), 0
    while time.monotonic() - started < seconds and not ctx.should_stop():
        step += 1
        ctx.report({"reported_at": time.time()}, step=step)
        time.sleep(max(0.0, started + step / hz - time.monotonic()))
    return {"reports": step}


def nothing(_ctx: TrainingContext) -> None:
    """Ends at once."""


def sleep(ctx: TrainingContext) -> None:
    """Ignores every request to stop."""
    time.sleep(float(ctx.hyperparameters.get("seconds", 600)))


def wait(ctx: TrainingContext) -> None:
    """Waits until it is told to stop."""
    while not ctx.should_stop():
        time.sleep(0.05)


def fail(ctx: TrainingContext) -> None:
    raise ValueError(f"attempt {ctx.attempt} went wrong")


def fail_once(ctx: TrainingContext) -> dict[str, Any]:
    if ctx.attempt == 1:
        raise ValueError("the first attempt goes wrong")
    return {"attempt": ctx.attempt}


def leave(ctx: TrainingContext) -> None:
    sys.exit(int(ctx.hyperparameters.get("code", 3)))


def vanish(_ctx: TrainingContext) -> None:
    os._exit(7)


def gorge(_ctx: TrainingContext) -> None:
    """Takes memory until somebody stops it."""
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1024)) * 20_000)
        time.sleep(0.05)


def spend(ctx: TrainingContext) -> dict[str, Any]:
    """Spends one unit of currency a step."""
    steps = int(ctx.hyperparameters["steps"])
    for step in range(1, steps + 1):
        wait_at_gate(ctx, step)
        ctx.budget.spend(1_000_000, key=f"step-{step}")
        ctx.report({"spent": float(step)}, step=step)
        time.sleep(float(ctx.hyperparameters.get("pause_s", 0.0)))
    return {"total_micros": steps * 1_000_000}


def spend_deaf(ctx: TrainingContext) -> None:
    """Spends one unit of currency a step, and hears neither refusals nor orders."""
    for step in itertools.count(1):
        with contextlib.suppress(BudgetExhausted):
            ctx.budget.spend(1_000_000, key=f"step-{step}")
        time.sleep(0.05)


def lease(ctx: TrainingContext) -> dict[str, Any]:
    """Spends 7 micros at a time from slices of 1000, ``spends`` times, and says how often it could."""
    spent, pause_s = 0, float(ctx.hyperparameters.get("pause_s", 0.0))
    ttl_s = float(ctx.hyperparameters.get("ttl_s", 30.0))
    with ctx.budget.lease(slice_micros=1000, ttl_s=ttl_s) as budget:
        for number in range(1, int(ctx.hyperparameters["spends"]) + 1):
            try:
                budget.spend(7)
            except BudgetExhausted:
                break
            spent += 7
            if pause_s:
                ctx.report({"spent": float(spent), "worker": ray_worker()}, step=number)
                time.sleep(pause_s)
    return {"spent": spent, "attempt": ctx.attempt}


def order(ctx: TrainingContext) -> dict[str, Any]:
    """Has ``orders`` orders delivered, one after the other placed, and returns what each has cost."""
    orders, micros = int(ctx.hyperparameters["orders"]), int(ctx.hyperparameters.get("micros", 1_000_000))
    heard: dict[str, Any] = {}
    for number in range(orders):
        ctx.orders.place(micros, key=f"order-{number}", bid_micros=micros // 10)
        heard |= {each.key: each for each in ctx.orders.reports()}
        ctx.report({"placed": number + 1.0, "worker": ray_worker()}, step=number + 1)
        time.sleep(float(ctx.hyperparameters.get("pause_s", 0.0)))
    while not ctx.should_stop() and sum(each.final for each in heard.values()) < orders:
        heard |= {each.key: each for each in ctx.orders.reports()}
        time.sleep(0.05)
    return {"spent": {key: each.spent_micros for key, each in heard.items()}, "attempt": ctx.attempt}


def show_environment(ctx: TrainingContext) -> dict[str, Any]:
    print("the secret is", os.environ.get("API_KEY"))
    return {"names": sorted(os.environ), "greeting": os.environ.get("GREETING"), "config": dict(ctx.config)}


def read_input(ctx: TrainingContext) -> dict[str, Any]:
    """Shows what another job's checkpoint holds."""
    return {"step": (Path(ctx.config["checkpoint_dir"]) / "step").read_text()}


def whose_child(_ctx: TrainingContext) -> dict[str, Any]:
    """Names the Ray worker that runs the attempt."""
    return {"worker": ray_worker()}


def ray_worker() -> int:
    """The nearest process above this one that Ray has given a title."""
    import psutil  # noqa: PLC0415

    above = psutil.Process().parents()
    return next(process.pid for process in above if process.cmdline()[0].startswith("ray::"))


def show_packages(ctx: TrainingContext) -> dict[str, Any]:
    """Which versions it has of two packages that the service needs in others, and a checkpoint."""
    import fsspec  # noqa: PLC0415
    import pydantic  # noqa: PLC0415

    (ctx.scratch() / "weights").touch()
    ctx.report({"reward": 1.0}, step=1, checkpoint=ctx.scratch())
    return {"fsspec": fsspec.__version__, "pydantic": pydantic.__version__}


def spoil(ctx: TrainingContext) -> dict[str, Any]:
    """Saves steps 1 to 3, ruins what is stored of the last, and fails; then says where it goes on."""
    saved = ctx.latest_checkpoint()
    if saved is not None:
        return {"resumed_from": saved.step, "attempt": ctx.attempt}
    for step in (1, 2, 3):
        (ctx.scratch() / "step").write_text(str(step))
        ctx.report({}, step=step, checkpoint=ctx.scratch())
    stored = Path(ctx.hyperparameters["storage"]) / f"storage/checkpoints/job-{ctx.job_id}"
    (stored / f"attempt-{ctx.attempt}/step-000000003/files/step").write_text("spoilt")
    raise RuntimeError("and then it fails")
