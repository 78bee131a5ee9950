"""The data folder that names a service, and the short private folder of its sockets and Ray sessions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from gaelp_ray.domain.errors import SetupError

#: What the embedded PostgreSQL and Ray's logs need to begin with, and to go on.
_FREE_BYTES_NEW, _FREE_BYTES = 256 * 1024**2, 64 * 1024**2
#: The link in the data folder to the private one.
_RUN = "run"
_LOCK = "lock"
#: Says in the private folder which data folder it serves, so that a copied data folder gets its own.
_OF = "data-folder"
#: A Unix socket's path has 107 bytes at most, and those below this folder take up to 88 of them.
_SHORT = Path("/tmp")  # noqa: S108 - mkdtemp makes an unguessable folder there, for its owner only
_LOCK_S = 180.0


def prepare(data_dir: Path) -> Path:
    """Make the data folder if need be; raises ``SetupError`` unless the service can live in it."""
    if not str(data_dir).isprintable():
        raise SetupError(f"The data folder {str(data_dir)!r} has unprintable characters; set GAELP_HOME.")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise SetupError(f"GAELP_HOME names {data_dir}, which is a file; name a folder.") from None
    except OSError as error:
        raise SetupError(
            f"The data folder {data_dir} cannot be made: {reason(error)}; "
            f"set GAELP_HOME to a folder that you may write."
        ) from None
    _check_owner(data_dir)
    _check_space(data_dir)
    return data_dir


def reason(error: OSError) -> str:
    """What the system says, as part of a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _check_owner(data_dir: Path) -> None:
    owner = data_dir.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise SetupError(
            f"The data folder {data_dir} belongs to {_user(owner)} and you are {_user(os.geteuid())}; "
            f"set GAELP_HOME to a folder of your own."
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def _check_space(data_dir: Path) -> None:
    """By writing, for that finds out about a folder, a file system and a quota alike."""
    try:
        with tempfile.TemporaryFile(dir=data_dir) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(data_dir).free
    except OSError as error:
        raise SetupError(
            f"The data folder {data_dir} cannot be written: {reason(error)}; "
            f"set GAELP_HOME to a folder that you may write."
        ) from None
    needed = _FREE_BYTES if (data_dir / "postgres").exists() else _FREE_BYTES_NEW
    if free < needed:
        raise SetupError(
            f"The disk of the data folder {data_dir} has {free // 1024**2} MiB left and {needed // 1024**2} "
            f"MiB are needed; make room or set GAELP_HOME to another disk."
        )


def run_folder(data_dir: Path) -> Path:
    """The private folder of this data folder, made at first use: short, and closed to other users.

    Its name cannot be guessed, so nobody can have made it before. HOME/run leads to it, for people and for
    the next command; one that is gone, is not ours or serves another data folder is replaced by a new one.
    """
    found = known_run_folder(data_dir)
    if found is not None:
        return found
    try:
        base = _SHORT if os.access(_SHORT, os.W_OK | os.X_OK) else None
        made = Path(tempfile.mkdtemp(prefix="gaelp-", dir=base))
        (made / _OF).write_text(str(data_dir))
        fresh = data_dir / f".{_RUN}-{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(made)
        fresh.replace(data_dir / _RUN)
    except OSError as error:
        raise SetupError(
            f"The folder for sockets cannot be made in {_SHORT} and linked from {data_dir / _RUN}: "
            f"{reason(error)}."
        ) from None
    return made


def known_run_folder(data_dir: Path) -> Path | None:
    """The private folder if it is there and is as ``run_folder`` made it."""
    with contextlib.suppress(OSError):
        found = Path((data_dir / _RUN).readlink())
        if _is_private(found) and (found / _OF).read_text() == str(data_dir):
            return found
    return None


def _is_private(folder: Path) -> bool:
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o066


@contextlib.contextmanager
def held(data_dir: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[int]:
    """Hold the data folder against other commands that start or stop parts; yields the lock's descriptor.

    Who inherits the descriptor holds the folder too. Raises ``SetupError`` when another holds on for minutes.
    """
    try:
        descriptor = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SetupError(f"{data_dir / _LOCK} cannot be opened: {reason(error)}.") from None
    try:
        _lock(descriptor, data_dir, say)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, data_dir: Path, say: Callable[[str], None]) -> None:
    deadline, told = time.monotonic() + _LOCK_S, False
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                raise SetupError(
                    f"Another `gaelp up` or `gaelp down` of {data_dir} does not end; see what it waits for."
                ) from None
        if not told:
            say(f"Waiting for another `gaelp up` or `gaelp down` of {data_dir}")
            told = True
        time.sleep(0.1)
