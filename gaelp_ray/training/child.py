"""The training process: takes its order from the supervisor, runs the entry point, says how it ended.

Started as ``python -m gaelp_ray.training.child`` with the channel's socket inherited.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import inspect
import math
import os
import runpy
import shlex
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from gaelp_ray.domain.agents import is_script
from gaelp_ray.domain.errors import BudgetExceeded, GaelpError, Halted
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import Settle
from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.training import refusals
from gaelp_ray.training.budget import Lease
from gaelp_ray.training.channel import FD_VARIABLE, Channel
from gaelp_ray.training.context import Checkpoint, TrainingContext, set_current
from gaelp_ray.training.orders import Delivery, Placed, Proposal

_PR_SET_PDEATHSIG = 1
#: What is raised for modules, names and files that are not where the code looks for them.
_MISSING = (
    ImportError,
    SyntaxError,
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)


class ChannelReporter:
    """A ``Reporter`` that asks the supervisor."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stop: str | None = None
        self._answer: dict[str, Any] = {}
        self._answered = threading.Semaphore(0)
        self._asking = threading.Lock()
        self._noted: set[str] = set()

    def listen(self) -> None:
        """Read the supervisor's messages until it is gone; then this process has no reason to live."""
        for message in self._channel:
            if message["kind"] == "stop":
                self._stop = message["cause"]
            else:
                self._answer = message
                self._answered.release()
        os.killpg(0, signal.SIGKILL)

    def report(
        self, metrics: Mapping[str, float], *, step: int, total_steps: int | None, checkpoint: Path | None
    ) -> None:
        message: dict[str, Any] = {
            "kind": "report",
            "metrics": self._finite(metrics),
            "step": int(step),
            "total_steps": None if total_steps is None else int(total_steps),
        }
        if checkpoint is None:
            self._channel.send(message)
        else:
            self._ask(message | {"checkpoint": str(checkpoint.resolve())})

    def spend(self, amount_micros: int, key: str) -> None:
        self._ask({"kind": "spend", "amount_micros": amount_micros, "key": key})

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        answer = self._ask({"kind": "lend", "asked": [_plain(each) for each in asked]})
        return [None if each is None else refusals.read(each) for each in answer["refusals"]]

    def place(self, proposal: Proposal, profit_micros: int | None) -> Placed:
        asked = {"kind": "place", "proposal": asdict(proposal), "profit_micros": profit_micros}
        placed = self._ask(asked)["placed"]
        return Placed(**placed | {"reasons": tuple(placed["reasons"])})

    def deliveries(self) -> list[Delivery]:
        return [Delivery(**each) for each in self._ask({"kind": "deliveries"})["deliveries"]]

    def stop_order(self, key: str) -> None:
        self._ask({"kind": "stop_order", "key": key})

    def notice(self, words: str) -> None:
        self._channel.send({"kind": "notice", "words": words})

    def stop_reason(self) -> str | None:
        return self._stop

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        with self._asking:
            self._channel.send(message)
            self._answered.acquire()
            answer = self._answer
        if "refusal" in answer:
            raise refusals.read(answer["refusal"])
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def _finite(self, metrics: Mapping[str, float]) -> dict[str, float]:
        values = {str(name): float(value) for name, value in metrics.items()}
        for name, value in values.items():
            if not math.isfinite(value) and name not in self._noted:
                self._noted.add(name)
                print(f"gaelp: metric {name!r} is {value}; such values are left out", file=sys.stderr)
        return {name: value for name, value in values.items() if math.isfinite(value)}


def main() -> NoReturn:
    _die_with_parent()
    channel = Channel(socket.socket(fileno=int(os.environ.pop(FD_VARIABLE))))
    order = channel.receive()
    assert order is not None
    reporter = ChannelReporter(channel)
    threading.Thread(target=reporter.listen, daemon=True).start()
    context = _context(order, reporter)
    set_current(context)
    ending = _run(order["entrypoint"], context)
    with contextlib.suppress(GaelpError):  # what cannot be settled now counts as spent
        context.budget.close()
    sys.stdout.flush()
    sys.stderr.flush()
    channel.send({"kind": "end", **ending})
    # Threads that user code left running must not keep a finished job alive.
    os._exit(0)


def _run(entrypoint: str, context: TrainingContext) -> dict[str, Any]:
    try:
        entry = _script(entrypoint) if is_script(entrypoint) else _function(entrypoint)
    except Exception as error:
        traceback.print_exc()
        return _never_works(entrypoint, error)
    try:
        return {"cause": EndCause.SUCCESS, "result": _result(entry(context))}
    except (BudgetExceeded, Halted) as error:
        return {"cause": EndCause.BUDGET, "message": error.message}
    except MemoryError:
        traceback.print_exc()
        return {"cause": EndCause.OOM, "message": "The process could not get the memory it asked for."}
    except SystemExit as leaving:
        return _exited(leaving.code)
    except BaseException as error:
        traceback.print_exc()
        return _failed(entrypoint, error, context)


def _failed(entrypoint: str, error: BaseException, context: TrainingContext) -> dict[str, Any]:
    if isinstance(error, _MISSING) and not context.has_reported:
        return _never_works(entrypoint, error)
    return {"cause": EndCause.USER_ERROR, "message": _say(error)}


def _never_works(entrypoint: str, error: Exception) -> dict[str, Any]:
    """What was never there will not be there for the next attempt either."""
    words = f"The entry point {entrypoint!r} in the folder {str(Path.cwd())!r}: {_say(error)}"
    return {"cause": EndCause.MISCONFIGURED, "message": words}


def _function(entrypoint: str) -> Callable[[TrainingContext], Any]:
    module_name, _, name = entrypoint.partition(":")
    entry = getattr(importlib.import_module(module_name), name)
    if not callable(entry):
        raise TypeError(f"{name} is not a function.")
    function: Callable[[TrainingContext], Any] = entry
    _check_takes_context(function, name)
    return function


def _check_takes_context(function: Callable[..., Any], name: str) -> None:
    try:
        takes = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some callables written in C do not say
    try:
        takes.bind(None)
    except TypeError as error:
        raise TypeError(f"{name} must take one argument, the context: {error}.") from None


def _script(entrypoint: str) -> Callable[[TrainingContext], Any]:
    words = shlex.split(entrypoint)
    words = words[1:] if words[0] in ("python", "python3") else words
    path = Path(words[0])
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {words[0]!r} in {Path.cwd()}.")

    def run(_context: TrainingContext) -> None:
        sys.argv = words
        sys.path.insert(0, str(path.resolve().parent))
        runpy.run_path(str(path), run_name="__main__")

    return run


def _result(returned: Any) -> dict[str, Any]:
    if returned is None:
        return {}
    if isinstance(returned, Mapping):
        return dict(returned)
    raise TypeError(f"A training function returns a dict or None, not {type(returned).__name__}.")


def _exited(code: object) -> dict[str, Any]:
    if code in (None, 0):
        return {"cause": EndCause.SUCCESS, "result": {}}
    status = code if isinstance(code, int) else 1
    return {
        "cause": EndCause.USER_ERROR,
        "message": f"The job exited with {code!r}.",
        "exit_code": status,
    }


def _plain(asked: Lease | Settle) -> dict[str, Any]:
    if isinstance(asked, Settle):
        return asdict(asked)
    return {**asdict(asked), "ttl": asked.ttl.total_seconds()}


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


def _context(order: Mapping[str, Any], reporter: ChannelReporter) -> TrainingContext:
    saved = order["checkpoint"]
    checkpoint = Checkpoint(Path(saved["path"]), saved["step"], saved["metrics"]) if saved else None
    return TrainingContext(
        reporter,
        job_id=order["job_id"],
        agent_id=order["agent_id"],
        attempt=order["attempt"],
        config=order["config"],
        hyperparameters=order["hyperparameters"],
        seed=order["seed"],
        checkpoint=checkpoint,
        rank=order["rank"],
        peers=order["peers"],
        reward_clips=[RewardClip(**rule) for rule in order["reward_clips"]],
    )


def _die_with_parent() -> None:
    """Ask Linux to kill this process when the supervisor dies, even in the middle of native code."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):
        return  # not Linux: the channel's end of file does it
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
