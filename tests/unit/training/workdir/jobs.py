"""Entry points for tests of training processes, each with a way of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any, NoReturn

import numpy as np

from gaelp_ray.domain.errors import Conflict
from gaelp_ray.training import BudgetExhausted, Denied, TrainingContext


def succeed(ctx: TrainingContext) -> dict[str, Any]:
    print("hello from the job")
    ctx.report({"reward": 0.5}, step=1, total_steps=2)
    ctx.report({"reward": np.float32(1.5)}, step=2, total_steps=2)
    return {"answer": 42, "mean": np.float64(0.25), "curve": np.arange(3)}


def say_nothing(_ctx: TrainingContext) -> None:
    pass


def show_context(ctx: TrainingContext) -> dict[str, Any]:
    return {
        "job_id": ctx.job_id,
        "agent_id": ctx.agent_id,
        "attempt": ctx.attempt,
        "config": dict(ctx.config),
        "hyperparameters": dict(ctx.hyperparameters),
        "seed": ctx.seed,
        "folder": os.getcwd(),  # noqa: PTH109 - what the process itself says
    }


def show_environment(_ctx: TrainingContext) -> dict[str, Any]:
    return {"environment": dict(os.environ), "imported_ray": "ray" in sys.modules}


def return_a_list(_ctx: TrainingContext) -> Any:
    return [1, 2]


def return_what_json_has_not(_ctx: TrainingContext) -> dict[str, Any]:
    return {"loss": float("nan"), "deep": [{"worst": float("-inf")}], "text": "a\x00b", "half": "\ud800"}


def return_too_much(_ctx: TrainingContext) -> dict[str, Any]:
    return {"text": "x" * (17 * 1024 * 1024)}


def fail(ctx: TrainingContext) -> NoReturn:
    raise ValueError(f"attempt {ctx.attempt} went wrong")


def fail_with_a_nul(_ctx: TrainingContext) -> NoReturn:
    raise ValueError("bad byte: \x00")


def tell_the_secret(_ctx: TrainingContext) -> NoReturn:
    secret = os.environ["API_KEY"]
    print("whole:", secret)
    half = len(secret) // 2
    os.write(1, b"split: " + secret[:half].encode())
    os.write(1, secret[half:].encode() + b"\n")
    raise RuntimeError(f"401 for {secret}")


def leave(ctx: TrainingContext) -> None:
    sys.exit(ctx.hyperparameters["code"])


def vanish(ctx: TrainingContext) -> None:
    os._exit(ctx.hyperparameters["code"])


def crash(_ctx: TrainingContext) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def wait(ctx: TrainingContext) -> dict[str, Any]:
    """Until it is told to stop."""
    ctx.report({"pid": os.getpid()}, step=1)
    while not ctx.should_stop():
        time.sleep(0.01)
    return {"saved": True}


def say_why(ctx: TrainingContext) -> dict[str, Any]:
    """Why it was told to stop."""
    before = ctx.stop_reason()
    ctx.report({"pid": os.getpid()}, step=1)
    while not ctx.should_stop():
        time.sleep(0.01)
    return {"before": before, "after": ctx.stop_reason()}


def wait_for_ever(ctx: TrainingContext) -> None:
    ctx.report({"pid": os.getpid()}, step=1)
    threading.Event().wait()


def resist(ctx: TrainingContext) -> None:
    """Hears every word and stays."""
    signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"I was asked to end\n"))
    ctx.report({"pid": os.getpid()}, step=1)
    while True:
        time.sleep(0.01)


def take_memory(ctx: TrainingContext) -> None:
    kept = bytearray(os.urandom(1024)) * 1024 * int(ctx.hyperparameters["mib"])
    threading.Event().wait()
    del kept


def take_memory_in_one_go(_ctx: TrainingContext) -> None:
    bytearray(8 * 1024**3)


def spend(ctx: TrainingContext) -> None:
    for key in ("click-1", "click-1", "click-2"):
        ctx.budget.spend(2_000_000, key=key)


def spend_with_care(ctx: TrainingContext) -> dict[str, Any]:
    try:
        ctx.budget.spend(2_000_000, key="click-1")
    except BudgetExhausted as refused:
        return {"refused": refused.message, "left": refused.left_micros}
    return {}


def spend_for_ever(ctx: TrainingContext) -> None:
    """Deaf to every refusal, and to the order to stop."""
    for number in itertools.count():
        with contextlib.suppress(BudgetExhausted):
            ctx.budget.spend(2_000_000, key=f"click-{number}")
        time.sleep(0.01)


def lease(ctx: TrainingContext) -> dict[str, Any]:
    """Spend until nothing is left, seven micros at a time."""
    spent = 0
    with ctx.budget.lease(slice_micros=100) as budget:
        while True:
            try:
                budget.spend(7)
            except BudgetExhausted:
                return {"spent": spent}
            spent += 7


def lease_and_forget(ctx: TrainingContext) -> None:
    ctx.budget.lease(slice_micros=100).spend(30)


def lease_and_vanish(ctx: TrainingContext) -> None:
    ctx.budget.lease(slice_micros=100).spend(30)
    os._exit(3)


def order(ctx: TrainingContext) -> dict[str, Any]:
    """Place what ``amounts`` says, and wait until the last word on all of it is in."""
    placed, refused, heard = [], [], {}
    for number, amount in enumerate(ctx.hyperparameters["amounts"]):
        ctx.report({"profit": float(number)}, step=number)
        try:
            order = ctx.orders.place(
                amount, key=f"{number}", bid_micros=10, campaign="spring", profit_micros=number
            )
        except (Denied, BudgetExhausted) as error:
            refused.append([error.code, error.message])
        else:
            placed.append([order.key, order.amount_micros])
    while not ctx.should_stop() and sum(each.final for each in heard.values()) < len(placed):
        heard |= {each.key: each for each in ctx.orders.reports()}
        time.sleep(0.01)
    return {
        "placed": placed,
        "refused": refused,
        "spent": {key: each.spent_micros for key, each in heard.items()},
    }


def order_and_leave(ctx: TrainingContext) -> None:
    ctx.orders.place(1000, key="0")


def order_when_told(ctx: TrainingContext) -> dict[str, Any]:
    """Too late."""
    while not ctx.should_stop():
        time.sleep(0.01)
    try:
        ctx.orders.place(1000, key="0")
    except Conflict as refused:
        return {"refused": refused.message}
    return {}


def hear(ctx: TrainingContext) -> dict[str, Any]:
    """What a new attempt hears first."""
    return {"heard": [[each.key, each.final] for each in ctx.orders.reports()]}


def report_nan(ctx: TrainingContext) -> None:
    for step in (1, 2, 3):
        ctx.report({"loss": float("nan"), "reward": float(step), "ratio": float("inf")}, step=step)
    ctx.report({"loss": float("nan")}, step=4)


def report_far(ctx: TrainingContext) -> None:
    ctx.report({"reward": 1.0}, step=2**63)


def print_much(ctx: TrainingContext) -> dict[str, Any]:
    for line in range(int(ctx.hyperparameters["lines"])):
        print(f"line {line:06d} {'.' * 87}")
    return {"printed": True}


def count(ctx: TrainingContext) -> dict[str, Any]:
    """One step an attempt, from where the last left off."""
    found = ctx.latest_checkpoint()
    before = int((found.path / "deep" / "step").read_text()) if found else 0
    folder = ctx.scratch() / "checkpoint"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "step").write_text(str(before + 1))
    ctx.report({"reward": before + 1.0}, step=before + 1, checkpoint=folder)
    return {
        "resumed": found and [found.step, dict(found.metrics)],
        "step": before + 1,
    }


def checkpoint_twice(ctx: TrainingContext) -> None:
    """Two checkpoints of one step, in a folder that is used again."""
    folder = ctx.scratch()
    for content in ("first", "second"):
        (folder / "weights").write_text(content)
        ctx.report({}, step=5, checkpoint=folder)


def read_input(ctx: TrainingContext) -> dict[str, Any]:
    with open(os.path.join(ctx.config["checkpoint_dir"], "weights")) as file:  # noqa: PTH118, PTH123
        return {"weights": file.read()}


def leave_others_behind(ctx: TrainingContext) -> None:
    """A process and a thread of its own that would go on for ever."""
    threading.Thread(target=threading.Event().wait).start()
    ctx.report({"pid": subprocess.Popen(["sleep", "600"]).pid}, step=1)


not_a_function = 7


def clip_rewards(ctx: TrainingContext) -> dict[str, Any]:
    return {"clips": ctx.clips_rewards, "rewards": [ctx.clip_reward(float(n)) for n in range(-100, 101)]}


def complain(ctx: TrainingContext) -> None:
    """Says more than anybody wants to hear; a job's code may speak the channel's language itself."""
    for n in range(50):
        ctx._reporter.notice(f"{n} " + "x" * 1000)


def count_with(ctx: TrainingContext) -> dict[str, Any]:
    """Saves a checkpoint, and says which packages it has."""
    import fsspec  # noqa: PLC0415

    folder = ctx.scratch()
    (folder / "weights").write_text("good ones")
    ctx.report({"reward": 1.0}, step=1, checkpoint=folder)
    return {"fsspec": fsspec.__version__, "numpy": np.__file__}


def takes_nothing() -> None:
    pass


def read_what_is_missing(ctx: TrainingContext) -> None:
    if ctx.hyperparameters.get("after_a_report"):
        ctx.report({"reward": 1.0}, step=1)
    open(ctx.hyperparameters["path"])  # noqa: PTH123, SIM115


def import_what_is_missing(_ctx: TrainingContext) -> None:
    import a_module_that_does_not_exist  # noqa: F401, PLC0415


def save_a_link(ctx: TrainingContext) -> None:
    (ctx.scratch() / "model").symlink_to(ctx.hyperparameters["link_to"])
    ctx.report({}, step=1, checkpoint=ctx.scratch())


def save_a_folder(ctx: TrainingContext) -> None:
    ctx.report({}, step=1, checkpoint=ctx.hyperparameters["folder"])


def save_sizes(ctx: TrainingContext) -> dict[str, Any]:
    kept = []
    for step, size in enumerate(ctx.hyperparameters["sizes"], start=1):
        (ctx.scratch() / "weights").write_bytes(bytes(size))
        try:
            ctx.report({}, step=step, checkpoint=ctx.scratch())
        except RuntimeError:
            kept.append(False)
        else:
            kept.append(True)
    return {"kept": kept}
