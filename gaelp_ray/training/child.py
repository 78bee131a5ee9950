"""The training process: takes its order from the supervisor, runs the entry point, says how it ended.

Started as ``python -m gaelp_ray.training.child`` with the channel's socket inherited. The user's folder comes
first among the places where modules are looked for, but only once everything that this process needs itself
has been imported. When the entry point has returned, the interpreter ends as that of any program does:
threads are waited for, exit handlers run, buffers are written.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import mmap
import os
import shlex
import socket
import sys
import threading
import traceback
import types
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gaelp_ray.domain.agents import is_script
from gaelp_ray.domain.errors import BudgetExceeded, Forbidden, GaelpError, Halted
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import Settle
from gaelp_ray.domain.results import kept, plain_text, type_name
from gaelp_ray.domain.safety.rewards import RewardClip
from gaelp_ray.training import refusals
from gaelp_ray.training.budget import Lease
from gaelp_ray.training.channel import FD_VARIABLE, Channel
from gaelp_ray.training.context import Checkpoint, TrainingContext, set_current
from gaelp_ray.training.orders import Delivery, Placed, Proposal

#: What is raised for modules, names and files that are not where the code looks for them.
_MISSING = (
    ImportError,
    SyntaxError,
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    PermissionError,
)
#: Room for why the job was told to stop.
_STOP_BYTES = 64


@dataclass(frozen=True)
class Ending:
    """What this process says of its end, and what it leaves with."""

    word: dict[str, Any]
    #: As for ``sys.exit``.
    code: Any = None


class ChannelReporter:
    """A ``Reporter`` that asks the supervisor.

    A process forked from this one may report metrics and learn whether to stop. Whatever has an answer only
    the process that was started may ask, for answers come to it alone.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        #: Shared with processes forked from this one.
        self._stop = mmap.mmap(-1, _STOP_BYTES)
        self._owner = os.getpid()
        self._answer: dict[str, Any] = {}
        self._answered = threading.Semaphore(0)
        self._asking = threading.Lock()
        self._noted: set[str] = set()
        os.register_at_fork(after_in_child=channel.renew)

    @property
    def is_fork(self) -> bool:
        return os.getpid() != self._owner

    def listen(self) -> None:
        """Read the supervisor's messages as long as there are any."""
        for message in self._channel:
            if message["kind"] == "stop":
                cause = message["cause"].encode()
                # The first byte last: who finds it finds the rest.
                self._stop[1 : len(cause)] = cause[1:]
                self._stop[0] = cause[0]
            else:
                self._answer = message
                self._answered.release()
        # Whoever waits for an answer now waits in vain.
        self._answer = {"error": "The connection to the service was closed."}
        self._answered.release(2**16)

    def report(
        self, metrics: Mapping[str, float], *, step: int, total_steps: int | None, checkpoint: Path | None
    ) -> None:
        message: dict[str, Any] = {
            "kind": "report",
            "metrics": self._finite(metrics),
            "step": step,
            "total_steps": total_steps,
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

    def end(self, word: Mapping[str, Any], letter: Path) -> None:
        """Say how it ended: on the channel, or in a file where user code has closed that."""
        message = {"kind": "end", **word}
        try:
            self._channel.send(message)
        except (GaelpError, OSError):
            letter.write_bytes(Channel.line(message))

    def stop_reason(self) -> str | None:
        if not self._stop[0]:
            return None
        return self._stop[:].rstrip(b"\0").decode()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self.is_fork:
            raise Forbidden(
                f"Process {os.getpid()} was forked from the training process, {self._owner}. Only that one "
                f"saves checkpoints, spends and places orders; hand it what it needs. A fork may report "
                f"metrics and ask whether to stop."
            )
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
        for name, value in metrics.items():
            if not math.isfinite(value) and name not in self._noted:
                self._noted.add(name)
                with contextlib.suppress(Exception):  # the job may have closed its stderr
                    print(f"gaelp: metric {name!r} is {value}; such values are left out", file=sys.stderr)
        return {name: value for name, value in metrics.items() if math.isfinite(value)}


def main() -> None:
    number = int(os.environ.pop(FD_VARIABLE))
    os.set_inheritable(number, False)
    channel = Channel(socket.socket(fileno=number))
    order = channel.receive()
    assert order is not None
    channel.send({"kind": "began"})
    reporter = ChannelReporter(channel)
    threading.Thread(target=reporter.listen, daemon=True).start()
    context = _context(order, reporter)
    set_current(context)
    sys.path[:0] = order["paths"]
    ending = _run(order["entrypoint"], context)
    if not reporter.is_fork:  # else it came here by itself, and has nothing to say
        with contextlib.suppress(Exception):  # what cannot be settled now counts as spent
            context.budget.close()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # the job may have closed or replaced it
                stream.flush()
        reporter.end(ending.word, Path(order["letter"]))
    sys.exit(ending.code)


def _run(entrypoint: str, context: TrainingContext) -> Ending:
    try:
        entry = _script(entrypoint) if is_script(entrypoint) else _function(entrypoint)
    except Exception as error:
        _print_error()
        return _never_works(entrypoint, error)
    except BaseException as error:
        return _raised(entrypoint, error, context)
    try:
        returned = entry(context)
    except BaseException as error:
        return _raised(entrypoint, error, context)
    return _returned(returned)


def _raised(entrypoint: str, error: BaseException, context: TrainingContext) -> Ending:
    if isinstance(error, SystemExit):
        return _exited(error.code)
    if isinstance(error, BudgetExceeded | Halted):
        return Ending({"cause": EndCause.BUDGET, "message": error.message}, 1)
    _print_error()
    if isinstance(error, MemoryError):
        words = "The process could not get the memory it asked for."
        return Ending({"cause": EndCause.OOM, "message": words}, 1)
    if isinstance(error, _MISSING) and not context.has_reported:
        return _never_works(entrypoint, error)
    return Ending({"cause": EndCause.USER_ERROR, "message": _say(error)}, 1)


def _never_works(entrypoint: str, error: BaseException) -> Ending:
    """What was never there will not be there for the next attempt either."""
    words = f"The entry point {entrypoint!r} in the folder {_folder()!r}: {_say(error)}"
    return Ending({"cause": EndCause.MISCONFIGURED, "message": words}, 1)


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - text, also of what is no path
    except OSError:
        return "(it was removed)"


def _returned(returned: Any) -> Ending:
    if issubclass(type(returned), Awaitable | types.GeneratorType | types.AsyncGeneratorType):
        words = f"A training function returns a dict or None; this one returned a {type_name(returned)}, "
        words += "and so has not run. Let it be an ordinary function."
        return Ending({"cause": EndCause.MISCONFIGURED, "message": words}, 1)
    result = kept(returned)
    return Ending({"cause": EndCause.SUCCESS, "result": result.values, "notices": result.notices})


def _function(entrypoint: str) -> Callable[[TrainingContext], Any]:
    module_name, _, name = entrypoint.partition(":")
    _prefer_own(module_name.partition(".")[0])
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


def _prefer_own(name: str) -> None:
    """The user's module, where it has the name of one that this process has imported for itself."""
    folder = Path.cwd()
    own = next((p for p in (folder / f"{name}.py", folder / name / "__init__.py") if p.is_file()), None)
    if own is not None and name in sys.modules and not name.startswith("gaelp_ray"):
        for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            del sys.modules[loaded]


def _script(entrypoint: str) -> Callable[[TrainingContext], Any]:
    words = shlex.split(entrypoint)
    words = words[1:] if words[0] in ("python", "python3") else words
    path = Path(words[0])
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {words[0]!r} in {Path.cwd()}.")

    def run(_context: TrainingContext) -> None:
        sys.argv = [str(path), *words[1:]]
        sys.path.insert(0, str(path.resolve().parent))
        # It stays the main module, for what it leaves to threads and exit handlers.
        module = types.ModuleType("__main__")
        module.__file__ = str(path)
        sys.modules["__main__"] = module
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # noqa: S102 - it is what we run

    return run


def _exited(code: object) -> Ending:
    if code is None or (isinstance(code, int) and code == 0):
        return Ending({"cause": EndCause.SUCCESS, "result": {}}, code)
    # As the system reports it: its low eight bits. A script that asked for a failure has failed.
    status = (code & 0xFF or 1) if isinstance(code, int) else 1
    try:
        shown = f"{code!r:.300}"
    except Exception:
        shown = f"a {type_name(code)}"
    word = {"cause": EndCause.USER_ERROR, "message": f"The job exited with {shown}.", "exit_code": status}
    return Ending(word, code)


def _print_error() -> None:
    """As the interpreter does for an error that nobody catches."""
    try:
        sys.excepthook(*sys.exc_info())
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()


def _plain(asked: Lease | Settle) -> dict[str, Any]:
    if isinstance(asked, Settle):
        return asdict(asked)
    return {**asdict(asked), "ttl": asked.ttl.total_seconds()}


def _say(error: BaseException) -> str:
    return f"{type_name(error)}: {plain_text(error, most=2000)}"[:2000]


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


if __name__ == "__main__":
    main()
