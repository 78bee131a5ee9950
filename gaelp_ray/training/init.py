"""The init process of an attempt: the parent of its training process, and of all that this leaves behind.

Started by its path, ``python -I -S init.py FD NAME``, because it must be small: it imports nothing of ours.
``FD`` is a socket to the supervisor. An order comes first: eight bytes of length, then fields separated by
NUL: the descriptor of the channel, a limit of the data segment or 0, the working folder or nothing, the
number of arguments, the arguments, and the environment.

It writes lines: ``started PID`` or ``failed ERRNO``, then ``stopped SIGNAL`` and ``continued`` when that
happens, and ``exit STATUS``, an exit code or minus the number of a signal, once all that the process left has
been killed too. When nobody writes to the socket any more, because the supervisor is done or dead, all of
them are killed.

It is two processes. The supervisor's child does nothing but wait for the second: Ray kills the children of a
worker that it ends, and the second lives on for the moment that it takes to kill what the attempt left.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import os
import sys
import time

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_SIGKILL = 9
#: A process that cannot be killed is left to the system.
_GIVE_UP_S = 20.0
_LEAVE_S, _PAUSE_S = 0.5, 0.005


def main() -> int:
    control = int(sys.argv[1])
    os.set_inheritable(control, False)  # the program could speak in our name on it
    _prctl(_SET_CHILD_SUBREAPER, 1)
    inner = os.fork()
    if inner:
        # A copy of the socket here would keep it open after the end of the other.
        os.close(control)
        while os.waitpid(-1, 0)[0] != inner:
            pass
        end_all()
        return 0
    _prctl(_SET_CHILD_SUBREAPER, 1)
    _run(control)
    return 0


def _run(control: int) -> None:
    channel, data_limit, folder, arguments, environment = _order(control)
    failed, fails = os.pipe()
    child = os.fork()
    if child == 0:
        _become(fails, data_limit, folder, arguments, environment)
    os.close(fails)
    os.close(channel)
    number = os.read(failed, 16)  # closed by the start of the program, else the reason why there is none
    os.write(control, b"failed " + number + b"\n" if number else b"started %d\n" % child)
    _thread.start_new_thread(_until_closed, (control,))
    status = _wait_for(child, control)
    # First what it left behind: then its channel and its output are at their ends.
    _let_leave()
    end_all()
    with contextlib.suppress(OSError):
        os.write(control, b"exit %d\n" % status)


def _order(control: int) -> tuple[int, int, bytes, list[bytes], dict[bytes, bytes]]:
    length = int.from_bytes(_exactly(control, 8))
    channel, data_limit, folder, count, *rest = _exactly(control, length).split(b"\0")
    arguments, variables = rest[: int(count)], rest[int(count) :]
    return int(channel), int(data_limit), folder, arguments, dict(v.split(b"=", 1) for v in variables)


def _exactly(descriptor: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = os.read(descriptor, length - len(data))
        if not piece:
            os._exit(1)  # the supervisor has died before anything began
        data += piece
    return data


def _become(
    fails: int, data_limit: int, folder: bytes, arguments: list[bytes], environment: dict[bytes, bytes]
) -> None:
    """Turn into the training process, in a session of its own."""
    try:
        os.setsid()
        _reset_signals()
        _prctl(_SET_PDEATHSIG, _SIGKILL)
        if data_limit:
            _limit_data(data_limit)
        if folder:
            os.chdir(folder)
        os.execve(arguments[0], arguments, environment)  # noqa: S606 - an argument list of our own
    except OSError as error:
        os.write(fails, b"%d" % (error.errno or 0))
    finally:
        os._exit(127)


def _reset_signals() -> None:
    """The service may have been started with other meanings: a background job ignores SIGINT."""
    with contextlib.suppress(AttributeError):
        system = ctypes.CDLL(None)
        for number in range(1, 65):
            system.signal(number, None)


def _limit_data(most: int) -> None:
    import resource  # noqa: PLC0415 - a shared library that the parent does not need

    with contextlib.suppress(OSError, ValueError):  # sampling still holds
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _until_closed(control: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(control, 16):
            pass
    while True:  # the other thread reaps, and ends the process when there is nothing left
        _kill(descendants(os.getpid()))
        time.sleep(_PAUSE_S)


def _wait_for(child: int, control: int) -> int:
    """Its exit status; whatever else ends meanwhile has been adopted, and is reaped."""
    while True:
        pid, status = os.waitpid(-1, os.WUNTRACED | os.WCONTINUED)
        if pid != child:
            continue
        if os.WIFSTOPPED(status):
            os.write(control, b"stopped %d\n" % os.WSTOPSIG(status))
        elif os.WIFCONTINUED(status):
            os.write(control, b"continued\n")
        else:
            return os.waitstatus_to_exitcode(status)


def _let_leave() -> None:
    """A moment for helpers that leave by themselves, such as the one that unlinks shared memory."""
    until = time.monotonic() + _LEAVE_S
    while descendants(os.getpid()) and time.monotonic() < until:
        _reap()
        time.sleep(_PAUSE_S)


def end_all() -> None:
    """Kill every process below this one until there is none: one that is killed may just have forked."""
    until = time.monotonic() + _GIVE_UP_S
    while time.monotonic() < until:
        below = descendants(os.getpid())
        _kill(below)
        _reap()
        if not below:
            return
        time.sleep(_PAUSE_S)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, _SIGKILL)


def descendants(pid: int) -> list[int]:
    """All processes below one, zombies among them; nothing where the system does not list them."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def children(pid: int) -> list[int]:
    """Processes that one has started or adopted; none where the system does not list them."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - pathlib is not worth its import here
            path = f"/proc/{pid}/task/{thread}/children"
            with contextlib.suppress(OSError), open(path) as file:  # noqa: PTH123
                found += map(int, file.read().split())
    return found


def _prctl(what: int, value: int) -> None:
    # Elsewhere than on Linux the end of the socket is all that ends an attempt's processes.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main())
