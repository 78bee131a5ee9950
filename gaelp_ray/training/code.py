"""A job's code on the node: a folder as it is, an archive unpacked into the attempt's scratch folder."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

from gaelp_ray.domain import code
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.training.links import leads_out
from gaelp_ray.training.preparation import Ended, Preparation, ends

#: Of an archive, and of what is in it.
MAX_ARCHIVE_BYTES, MAX_UNPACKED_BYTES, MOST_ENTRIES = 2 * 1024**3, 8 * 1024**3, 200_000
_PIECE = 1024**2

_WRONG = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "does not exist",
    errno.EACCES: "may not be read by the service",
    errno.EPERM: "may not be read by the service",
    errno.ENAMETOOLONG: "is too long a path",
    errno.ELOOP: "is a symbolic link that leads round in a circle",
}


def lay_out(working_dir: str | None, scratch: Path, preparation: Preparation, node: str) -> Path | None:
    """The folder to run in; None where the job names none.

    To be called in ``preparation``'s work. Raises ``Ended`` where there is no such code.
    """
    if working_dir is None:
        return None
    try:
        found = code.read(working_dir)
    except InvalidInput as error:
        raise _no_folder(working_dir, node, error.message) from None
    if found.address:
        archive = scratch / f"fetched{found.archive}"
        _fetch(found.address, archive, preparation)
        try:
            return _unpack(archive, found.archive, scratch / "code", working_dir, preparation)
        finally:
            archive.unlink(missing_ok=True)
    return _on_this_node(found, scratch, preparation, working_dir, node)


def _on_this_node(found: code.Code, scratch: Path, preparation: Preparation, given: str, node: str) -> Path:
    path = Path(found.path)
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            os.scandir(path).close()
            if not os.access(path, os.X_OK):
                raise PermissionError(errno.EACCES, "")
            return path
        if stat.S_ISREG(kind) and found.archive:
            path.open("rb").close()
    except OSError as error:
        why = _WRONG.get(error.errno or 0, f"cannot be used ({error.strerror})")
        raise _no_folder(given, node, f"it {why}.") from error
    if not (stat.S_ISREG(kind) and found.archive):
        raise _no_folder(given, node, f"nor is it an archive ({', '.join(sorted(code.ARCHIVES))}).")
    return _unpack(path, found.archive, scratch / "code", given, preparation)


def _fetch(address: str, target: Path, preparation: Preparation) -> None:
    scheme = address.partition("://")[0]
    preparation.say(f"gaelp: fetching {address.partition('?')[0]}")
    try:
        # Not by `fsspec.open`, which takes several addresses chained in one.
        storage = fsspec.filesystem(scheme)
        with storage.open(address, "rb") as source, target.open("wb") as copy:
            _copy(source, copy, preparation, MAX_ARCHIVE_BYTES)
    except (FileNotFoundError, IsADirectoryError) as error:
        if _is_unanswered(error):
            raise _unfetched(address, error.__cause__ or error) from error
        raise _misconfigured(f"There is no archive at {_short(address)}.") from error
    except PermissionError as error:
        raise _misconfigured(f"The service may not read {_short(address)}.") from error
    except (ImportError, ValueError) as error:
        raise _misconfigured(f"{_short(address)} cannot be fetched: {error}.") from error
    except _TooMuch as error:
        raise _misconfigured(f"The archive at {_short(address)} {error}.") from error
    except Exception as error:  # each storage has errors of its own
        if _is_ours(error):
            raise
        raise _unfetched(address, error) from error


def _is_unanswered(error: OSError) -> bool:
    """fsspec's HTTP says that a file is not there whatever went wrong; the server's status tells."""
    cause = error.__cause__
    if cause is None or not type(cause).__module__.startswith("aiohttp"):
        return False
    status = getattr(cause, "status", None)
    return status is None or status in (408, 425, 429) or status >= 500


def _unfetched(address: str, error: BaseException) -> Ended:
    """The host is one that the user chose: what it costs is theirs, but it may answer the next time."""
    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return ends(EndCause.USER_ERROR, f"The archive at {_short(address)} could not be fetched: {words}")


def _is_ours(error: Exception) -> bool:
    return type(error).__module__ == Preparation.__module__


class _TooMuch(Exception):
    """More than is taken."""


def _copy(source: Any, target: IO[bytes], preparation: Preparation, most: int) -> int:
    """Returns how many bytes there were."""
    done = 0
    while piece := source.read(_PIECE):
        preparation.check()
        done += len(piece)
        if done > most:
            raise _TooMuch(f"holds more than {most / 1024**3:g} GiB")
        target.write(piece)
    return done


@dataclass(frozen=True)
class _Entry:
    name: str
    is_folder: bool
    mode: int
    #: What a symbolic link says; None for what is none.
    link: str | None
    #: Files and folders are taken, and links within the archive.
    kind: str
    content: Any


def _unpack(archive: Path, kind: str, target: Path, given: str, preparation: Preparation) -> Path:
    """The folder with the code: where the archive holds nothing but one folder, and no package, that one."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    links: list[_Entry] = []
    left = MAX_UNPACKED_BYTES
    try:
        for number, entry in enumerate(_entries(archive, kind)):
            preparation.check()
            if number >= MOST_ENTRIES:
                raise _TooMuch(f"holds more than {MOST_ENTRIES} files")
            if entry.link is not None:
                links.append(entry)
            else:
                left -= _place(entry, target, preparation, left)
        for entry in links:
            _link(entry, target)
    except (_TooMuch, _Unsafe) as error:
        raise _misconfigured(f"The archive {_short(given)} {error}.") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise ends(
                EndCause.NODE_LOST, f"There is no room on the node to unpack {_short(given)}."
            ) from error
        raise _misconfigured(f"{_short(given)} cannot be unpacked as {kind}: {error}.") from error
    except Exception as error:  # the readers of archives have many of their own
        if _is_ours(error):
            raise
        raise _misconfigured(f"{_short(given)} cannot be unpacked as {kind}: {error}.") from error
    inside = list(target.iterdir())
    alone = len(inside) == 1 and inside[0].is_dir() and not inside[0].is_symlink()
    return inside[0] if alone and not (inside[0] / "__init__.py").exists() else target


class _Unsafe(Exception):
    """An entry that would reach outside."""


def _place(entry: _Entry, target: Path, preparation: Preparation, left: int) -> int:
    if entry.kind == "other":
        raise _Unsafe(f"holds {entry.name[:200]!r}, which is neither a file, a folder nor a symbolic link")
    path = target / _inside(entry.name)
    if entry.is_folder:
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with entry.content() as source, path.open("wb") as copy:
        size = _copy(source, copy, preparation, left)
    path.chmod(0o600 | entry.mode & 0o777)
    return size


def _link(entry: _Entry, target: Path) -> None:
    """After all files, so that none is written through it."""
    assert entry.link is not None
    name = _inside(entry.name)
    if leads_out(name, entry.link):
        raise _Unsafe(f"holds the symbolic link {entry.name[:200]!r}, which leads out of it")
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.resolve() != target.resolve() / PurePosixPath(name).parent:
        raise _Unsafe(f"holds {entry.name[:200]!r} under a symbolic link")
    path.symlink_to(entry.link)


def _inside(name: str) -> str:
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if name.startswith(("/", "\\")) or ".." in parts or "\x00" in name:
        raise _Unsafe(f"holds {name[:200]!r}, which would lie outside of it")
    return "/".join(parts) or "."


def _entries(archive: Path, kind: str) -> Iterator[_Entry]:
    return _of_zip(archive) if kind == ".zip" else _of_tar(archive)


def _of_zip(archive: Path) -> Iterator[_Entry]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            link = opened.read(info).decode(errors="replace") if stat.S_ISLNK(mode) else None
            known = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
            yield _Entry(
                info.filename,
                info.is_dir(),
                mode & 0o777,
                link,
                "known" if known else "other",
                lambda info=info: opened.open(info),
            )


def _of_tar(archive: Path) -> Iterator[_Entry]:
    with tarfile.open(archive, "r:*") as opened:
        for info in opened:
            # A hard link is a second name of a file before it: it is copied.
            known = info.isreg() or info.isdir() or info.issym() or info.islnk()
            yield _Entry(
                info.name,
                info.isdir(),
                info.mode & 0o777,
                info.linkname if info.issym() else None,
                "known" if known else "other",
                lambda info=info: opened.extractfile(info),
            )


def _short(name: str) -> str:
    return repr(name) if len(name) <= 300 else f"{name[:300]!r}..."


def _no_folder(given: str, node: str, why: str) -> Ended:
    return _misconfigured(f"The working folder {_short(given)} is no folder on the node {node}: {why}")


def _misconfigured(message: str) -> Ended:
    return ends(EndCause.MISCONFIGURED, message)
