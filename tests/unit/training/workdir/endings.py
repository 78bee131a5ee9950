"""Ways to end, each a function: most are habits of ordinary trainers, the rest is what code may try."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import enum
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from gaelp_ray.training import TrainingContext

DONE = {"answer": 42}


def channel_socket() -> socket.socket:
    """The process's channel to the service, as any code in it may find it."""
    for number in range(3, 256):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        if found.family == socket.AF_UNIX:
            return found
    raise LookupError


def write_on_channel(data: bytes) -> None:
    channel_socket().sendall(data)
    time.sleep(30)


def say(ctx: TrainingContext) -> None:
    """Write what ``message`` says as JSON."""
    write_on_channel(json.dumps(ctx.hyperparameters["message"]).encode() + b"\n")


def say_garbage(_ctx: TrainingContext) -> None:
    write_on_channel(b"\xff\xfe not json\n")


def say_without_end(_ctx: TrainingContext) -> None:
    write_on_channel(b"[" * (17 * 1024 * 1024))


def say_deep(_ctx: TrainingContext) -> None:
    write_on_channel(b"[" * 100_000 + b"]" * 100_000 + b"\n")


def say_half_and_go(_ctx: TrainingContext) -> dict[str, Any]:
    """A piece of a message of a fork that dies while it writes."""
    if (pid := os.fork()) == 0:
        channel_socket().sendall(b'{"kind": "report", "met')
        os._exit(0)
    os.waitpid(pid, 0)
    return DONE


def leave(ctx: TrainingContext) -> None:
    sys.exit(ctx.hyperparameters["code"])


def leave_with_much(ctx: TrainingContext) -> None:
    sys.exit(2 ** int(ctx.hyperparameters["power"]))


def leave_oddly(_ctx: TrainingContext) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError("no")

        __str__ = __repr__

    sys.exit(Odd())


def leave_with_zero_float(_ctx: TrainingContext) -> None:
    sys.exit(0.0)


def vanish(ctx: TrainingContext) -> None:
    os._exit(int(ctx.hyperparameters["code"]))


def die_of(ctx: TrainingContext) -> None:
    os.kill(os.getpid(), int(ctx.hyperparameters["signal"]))
    time.sleep(30)


def abort(_ctx: TrainingContext) -> None:
    os.abort()


def crash(_ctx: TrainingContext) -> None:
    ctypes.string_at(0)


def interrupt(_ctx: TrainingContext) -> None:
    signal.raise_signal(signal.SIGINT)
    time.sleep(30)


def become_true(_ctx: TrainingContext) -> NoReturn:
    os.execv("/bin/true", ["true"])


def become_false(_ctx: TrainingContext) -> NoReturn:
    os.execv("/bin/false", ["false"])


def recurse(ctx: TrainingContext) -> None:
    recurse(ctx)


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raise_hostile(_ctx: TrainingContext) -> None:
    raise Hostile


def raise_long(_ctx: TrainingContext) -> None:
    raise ValueError("x" * 1_000_000)


def raise_surrogate(_ctx: TrainingContext) -> None:
    raise ValueError("half \ud800 and NUL \x00")


def raise_group(_ctx: TrainingContext) -> None:
    raise ExceptionGroup("two", [ValueError("a"), TypeError("b")])


class Shy(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise ValueError("no name")


class Nameless(Exception, metaclass=Shy):
    pass


def raise_nameless(_ctx: TrainingContext) -> None:
    raise Nameless("the real reason")


def open_in_a_lost_folder(_ctx: TrainingContext) -> None:
    folder = Path(tempfile.mkdtemp())
    os.chdir(folder)
    folder.rmdir()
    Path("model.bin").read_bytes()


def raise_base(_ctx: TrainingContext) -> None:
    raise GeneratorExit("stop")


def raise_with_stderr_closed(_ctx: TrainingContext) -> None:
    sys.stderr.close()
    raise ValueError("nobody sees the traceback")


def hook(_ctx: TrainingContext) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError("the hook fails")

    sys.excepthook = broken
    raise ValueError("the real reason")


async def asynchronous(_ctx: TrainingContext) -> dict[str, Any]:
    await asyncio.sleep(0)
    return DONE


def generate(_ctx: TrainingContext) -> Any:
    yield DONE


def close_stdout(_ctx: TrainingContext) -> dict[str, Any]:
    sys.stdout.close()
    return DONE


def close_streams(_ctx: TrainingContext) -> dict[str, Any]:
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        stream.close()
    return DONE


def close_descriptors(_ctx: TrainingContext) -> dict[str, Any]:
    print("said before")
    for number in (0, 1, 2):
        os.close(number)
    return DONE


def lose_streams(ctx: TrainingContext) -> dict[str, Any]:
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]
    ctx.report({"loss": float("nan"), "reward": 1.0}, step=1)
    return DONE


def replace_stdout(_ctx: TrainingContext) -> dict[str, Any]:
    class Broken:
        def write(self, _text: str) -> None:
            raise OSError("full")

        def flush(self) -> None:
            raise OSError("full")

    sys.stdout = sys.stderr = Broken()  # type: ignore[assignment]
    return DONE


def close_all(_ctx: TrainingContext) -> dict[str, Any]:
    os.closerange(3, 1024)
    return DONE


def close_all_and_report(ctx: TrainingContext) -> None:
    os.closerange(3, 1024)
    ctx.report({"reward": 1.0}, step=1)


def close_all_and_open(ctx: TrainingContext) -> dict[str, Any]:
    """The channel's number is soon that of a file of the job."""
    os.closerange(3, 1024)
    files = [open(ctx.scratch() / f"{n}", "w+") for n in range(40)]  # noqa: PTH123, SIM115
    return {"written": sum(len(file.read()) for file in files)}


def close_all_and_fail(_ctx: TrainingContext) -> None:
    os.closerange(3, 1024)
    raise ValueError("with the channel closed")


def fork_that_exits(ctx: TrainingContext) -> dict[str, Any]:
    if os.fork() == 0:
        sys.exit(0)
    os.wait()
    ctx.report({"reward": 1.0}, step=30)
    return DONE


def fork_that_fails(_ctx: TrainingContext) -> dict[str, Any]:
    if os.fork() == 0:
        raise ValueError("of the fork")
    return {"status": os.waitstatus_to_exitcode(os.wait()[1])}


def fork_that_returns(_ctx: TrainingContext) -> dict[str, Any]:
    if os.fork() == 0:
        return {"answer": "of the fork"}
    os.wait()
    time.sleep(0.1)
    return DONE


def fork_that_claims_the_end(_ctx: TrainingContext) -> dict[str, Any]:
    if os.fork() == 0:
        message = {"kind": "end", "cause": "success", "result": {"answer": "of the fork"}}
        channel_socket().sendall(json.dumps(message).encode() + b"\n")
        os._exit(0)
    os.wait()
    time.sleep(0.2)
    return DONE


def fork_that_goes_on(ctx: TrainingContext) -> dict[str, Any]:
    if (pid := os.fork()) == 0:
        time.sleep(600)
    ctx.report({"pid": pid}, step=1)
    return DONE


def fork_in_a_session_of_its_own(ctx: TrainingContext) -> dict[str, Any]:
    sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    ctx.report({"pid": sleeper.pid}, step=1)
    return DONE


def daemon(ctx: TrainingContext) -> dict[str, Any]:
    """As daemons are made: two forks, a session of its own, every descriptor closed."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
            os.closerange(0, 256)
            time.sleep(600)
        os._exit(0)
    os.wait()
    ctx.report({"pid": int(os.read(reading, 20))}, step=1)
    return DONE


def daemon_that_kills_its_parent(ctx: TrainingContext) -> dict[str, Any]:
    parent = os.getpid()
    if os.fork() == 0:
        os.setsid()
        os.kill(parent, signal.SIGKILL)
        time.sleep(600)
    time.sleep(600)
    return DONE


def kill_parent(_ctx: TrainingContext) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)
    return DONE


def terminate_parent(_ctx: TrainingContext) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(30)
    return DONE


def stop_parent(_ctx: TrainingContext) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGSTOP)
    return DONE


def stop_itself(ctx: TrainingContext) -> dict[str, Any]:
    ctx.report({"pid": os.getpid()}, step=1)
    os.kill(os.getpid(), signal.SIGSTOP)
    return DONE


def kill_group(_ctx: TrainingContext) -> None:
    os.killpg(0, signal.SIGTERM)
    time.sleep(30)


def run_handlers(ctx: TrainingContext) -> dict[str, Any]:
    atexit.register(lambda: print("handler done"))
    atexit.register(lambda: ctx.report({"at_exit": 1.0}, step=9))
    return DONE


def save_at_exit(ctx: TrainingContext) -> dict[str, Any]:
    folder = ctx.scratch()
    (folder / "weights").write_text("last")
    atexit.register(lambda: ctx.report({"at_exit": 1.0}, step=9, checkpoint=folder))
    return DONE


def fail_in_handler(_ctx: TrainingContext) -> dict[str, Any]:
    def handler() -> None:
        raise ValueError("the handler fails")

    atexit.register(handler)
    return DONE


def exit_in_handler(_ctx: TrainingContext) -> dict[str, Any]:
    atexit.register(lambda: os._exit(7))
    return DONE


def crash_in_handler(_ctx: TrainingContext) -> dict[str, Any]:
    atexit.register(lambda: ctypes.string_at(0))
    return DONE


def hang_in_handler(_ctx: TrainingContext) -> dict[str, Any]:
    atexit.register(lambda: time.sleep(600))
    return DONE


def resist_in_handler(_ctx: TrainingContext) -> dict[str, Any]:
    def handler() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)

    atexit.register(handler)
    return DONE


def garbage_in_handler(_ctx: TrainingContext) -> dict[str, Any]:
    atexit.register(lambda: channel_socket().sendall(b"not json\n"))
    return DONE


def _later(words: str) -> None:
    time.sleep(0.15)
    print(words)


def leave_a_thread(_ctx: TrainingContext) -> dict[str, Any]:
    threading.Thread(target=_later, args=("thread done",)).start()
    return DONE


def leave_an_endless_thread(_ctx: TrainingContext) -> dict[str, Any]:
    threading.Thread(target=threading.Event().wait).start()
    return DONE


def leave_an_executor(_ctx: TrainingContext) -> dict[str, Any]:
    ThreadPoolExecutor(2).submit(_later, "executor done")
    return DONE


def leave_a_process(_ctx: TrainingContext) -> dict[str, Any]:
    multiprocessing.get_context("fork").Process(target=_later, args=("process done",)).start()
    return DONE


def leave_a_pool(_ctx: TrainingContext) -> dict[str, Any]:
    pool = multiprocessing.get_context("fork").Pool(2)
    return {"sum": sum(pool.map(abs, range(-3, 3)))}


def leave_text_unwritten(_ctx: TrainingContext) -> dict[str, Any]:
    file = open(1, "w", closefd=False)  # noqa: SIM115
    file.write("buffered text")
    globals()["kept"] = file
    return DONE


def delete_noisily(_ctx: TrainingContext) -> dict[str, Any]:
    class Noisy:
        def __del__(self) -> None:
            raise ValueError("in __del__")

    globals()["noisy"] = Noisy()
    return DONE


def fail_with_a_handler(_ctx: TrainingContext) -> None:
    atexit.register(lambda: print("handler done"))
    raise ValueError("on purpose")


class Color(enum.Enum):
    RED = 1


@dataclass
class Point:
    x: int = 1


class Unlistable:
    def tolist(self) -> Any:
        raise ValueError("no list")

    def __repr__(self) -> str:
        raise ValueError("no text")


class Uncountable(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise ValueError("no items")


class Hidden:
    """Whatever is asked of it fails."""

    @property
    def __class__(self) -> Any:
        raise ValueError("no class")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise ValueError("no class")

    def __repr__(self) -> str:
        raise ValueError("no text")


class OddItems(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        return [1, 2, 3]


class OddInt(int):
    def __int__(self) -> int:
        raise ValueError("no number")


class OddFloat(float):
    def __float__(self) -> float:
        raise ValueError("no number")


class OddText(str):
    def __len__(self) -> int:
        raise ValueError("no length")


class Lists:
    """Each says that it is a list of the other."""

    def tolist(self) -> Any:
        return OtherLists()


class OtherLists:
    def tolist(self) -> Any:
        return Lists()


def _shared(times: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(times):
        found = [found, found]
    return found


def _cycle() -> dict[str, Any]:
    found: dict[str, Any] = {"a": 1}
    found["self"] = found
    return found


def _deep() -> dict[str, Any]:
    found: Any = "end"
    for _ in range(5000):
        found = [found]
    return {"deep": found}


RESULTS: dict[str, Callable[[], Any]] = {
    "a tuple as key": lambda: {(1, 2): "x"},
    "numbers as keys": lambda: {1: "one", "1": "text", None: 0},
    "NUL and half characters": lambda: {"a\x00": "b\x00", "\ud800": "\udfff"},
    "huge numbers": lambda: {"big": 10**30, "huge": 10**5000, "fits": 2**63 - 1},
    "NaN": lambda: {"loss": float("nan")},
    "itself": _cycle,
    "depth": _deep,
    "objects": lambda: {
        "color": Color.RED,
        "point": Point(),
        "path": Path("/x"),
        "bytes": b"\xff",
        "set": {1},
    },
    "hostile objects": lambda: {"odd": Unlistable()},
    "a hostile mapping": lambda: Uncountable(a=1),
    "what hides its class": lambda: {
        "alone": Hidden(),
        "key": Hidden(),
        "int": OddInt(3),
        "float": OddFloat(0.5),
        OddText("k"): 1,
    },
    "only what hides its class": Hidden,
    "odd items": lambda: {"m": OddItems()},
    "endless lists": lambda: {"lists": Lists()},
    "shared lists": lambda: {"large": _shared(24), "small": 1},
    "many shared lists": lambda: {str(number): _shared(30) for number in range(50)},
    "a list": lambda: [1, 2],
    "text": lambda: "fine",
    "far too much": lambda: {"small": 1, "weights": list(range(400_000))},
    "a long key": lambda: {"k" * 5000: 1},
}


def give(ctx: TrainingContext) -> Any:
    return RESULTS[ctx.hyperparameters["what"]]()


REPORTS: dict[str, Callable[[TrainingContext], None]] = {
    "20,000 names": lambda ctx: ctx.report({f"m{n}": 1.0 for n in range(20_000)}, step=1),
    "text": lambda ctx: ctx.report({"loss": "0.5"}, step=1),  # type: ignore[dict-item]
    "an endless number": lambda ctx: ctx.report({"loss": 10**400}, step=1),
    "half a step": lambda ctx: ctx.report({"loss": 1.0}, step=2.5),  # type: ignore[arg-type]
    "a truth as step": lambda ctx: ctx.report({"loss": 1.0}, step=True),
    "a list": lambda ctx: ctx.report([1.0], step=1),  # type: ignore[arg-type]
}


def report(ctx: TrainingContext) -> None:
    REPORTS[ctx.hyperparameters["what"]](ctx)
