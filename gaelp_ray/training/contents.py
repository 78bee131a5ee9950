"""What is in a folder that a training process names, read without ever following a link of it.

The supervisor may read what the process may not, so nothing that the process says or does may lead it
elsewhere: each part of a path is opened by itself and refused if it is a link.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.training.links import leads_out

MOST_ENTRIES = 100_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Not to be held up by what has become a pipe in the meantime.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class CheckpointRefused(GaelpError):
    """The folder cannot be kept as a checkpoint."""

    code = "checkpoint_refused"


class Kind(StrEnum):
    FILE = "file"
    FOLDER = "folder"
    LINK = "link"


@dataclass(frozen=True)
class Entry:
    #: Relative to the folder, with ``/``; ``.`` is the folder itself.
    name: str
    kind: Kind
    #: Permission bits.
    mode: int
    size: int
    #: Equal as long as nobody has written to it.
    version: tuple[int, ...]
    #: Of a link.
    target: str = ""


class Grounds:
    """Where an attempt's checkpoints may come from: its scratch folder and its working folder."""

    def __init__(self, scratch: Path, working: Path | None = None, private: Iterable[Path] = ()) -> None:
        """``private``: the service's own folders, which no checkpoint comes from, whatever they lie in.

        Opened now, so that a process which later replaces one of the folders gains nothing.
        """
        hidden = [path.resolve() for path in private]
        self._private = {(found.st_dev, found.st_ino) for found in map(_stat, hidden) if found is not None}
        roots = [scratch.resolve()]
        if working is not None and not any(working.resolve().is_relative_to(each) for each in hidden):
            roots.append(working.resolve())
        self._roots = [(path, os.open(path, _FOLDER)) for path in roots]

    def close(self) -> None:
        for _, descriptor in self._roots:
            os.close(descriptor)

    @contextlib.contextmanager
    def open(self, path: Path) -> Iterator[Contents]:
        """Raises ``CheckpointRefused`` for a folder elsewhere, and for one that is not there."""
        root, descriptor = self._root_of(path)
        try:
            opened = _walk(descriptor, path.relative_to(root).parts, _FOLDER, self._private)
        except OSError as error:
            raise CheckpointRefused(f"{path} is no folder that can be read ({error.strerror}).") from error
        try:
            yield Contents(opened, self._private)
        finally:
            os.close(opened)

    def _root_of(self, path: Path) -> tuple[Path, int]:
        for root, descriptor in self._roots:
            if path.is_relative_to(root) and ".." not in path.parts:
                return root, descriptor
        names = " or ".join(str(root) for root, _ in self._roots)
        raise CheckpointRefused(
            f"A checkpoint is a folder in the attempt's scratch folder (`ctx.scratch()`) or its working "
            f"folder, that is in {names}; {path} is not."
        )


class Contents:
    """A folder that was opened, and what is in it."""

    def __init__(self, descriptor: int, private: set[tuple[int, int]]) -> None:
        self._root = descriptor
        self._private = private

    def entries(self) -> list[Entry]:
        """Everything in it and the folder itself, by name.

        Raises ``CheckpointRefused`` for what cannot be kept: links that lead out, files that have another
        name elsewhere, pipes, sockets, devices, names that are not UTF-8.
        """
        found = [self._entry(".", os.fstat(self._root))]
        names: Counter[tuple[int, ...]] = Counter()
        linked: dict[tuple[int, ...], tuple[str, int]] = {}
        folders = [""]
        while folders:
            inside = folders.pop()
            for name, status in self._list(inside):
                entry = self._entry(name, status)
                found.append(entry)
                if entry.kind is Kind.FOLDER:
                    folders.append(f"{name}/")
                elif entry.kind is Kind.FILE and status.st_nlink > 1:
                    names[status.st_dev, status.st_ino] += 1
                    linked[status.st_dev, status.st_ino] = name, status.st_nlink
                if len(found) > MOST_ENTRIES:
                    raise CheckpointRefused(f"It holds more than {MOST_ENTRIES} files and folders.")
        for identity, (name, count) in linked.items():
            if names[identity] < count:
                raise CheckpointRefused(
                    f"{name!r} has another name outside of the folder (a hard link); copy the file instead."
                )
        return sorted(found, key=lambda entry: entry.name)

    @contextlib.contextmanager
    def file(self, entry: Entry) -> Iterator[int]:
        """A file, opened. Raises ``CheckpointRefused`` when it is not as it was listed, before or after."""
        changed = CheckpointRefused(
            f"{entry.name!r} changed while it was copied; report a checkpoint when its files are finished."
        )
        try:
            descriptor = _walk(self._root, entry.name.split("/"), _FILE, self._private)
        except OSError as error:
            if error.errno in _UNREADABLE:
                raise CheckpointRefused(f"{entry.name!r} may not be read by the service.") from error
            raise changed from error
        try:
            if _version(os.fstat(descriptor)) != entry.version:
                raise changed
            yield descriptor
            if _version(os.fstat(descriptor)) != entry.version:
                raise changed
        finally:
            os.close(descriptor)

    def _list(self, inside: str) -> list[tuple[str, os.stat_result]]:
        try:
            descriptor = _walk(self._root, inside.rstrip("/").split("/"), _FOLDER, self._private)
            try:
                with os.scandir(descriptor) as found:
                    return [(inside + each.name, each.stat(follow_symlinks=False)) for each in found]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CheckpointRefused(
                f"The folder {inside or '.'!r} in it cannot be read ({error.strerror})."
            ) from error

    def _entry(self, name: str, status: os.stat_result) -> Entry:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise CheckpointRefused(f"The name {name!r} is not UTF-8; rename the file.") from None
        kind = _KINDS.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            raise CheckpointRefused(
                f"{name!r} is neither a file, a folder nor a symbolic link; remove it from the checkpoint."
            )
        return Entry(
            name,
            kind,
            stat.S_IMODE(status.st_mode) & 0o777,
            status.st_size if kind is Kind.FILE else 0,
            _version(status) if kind is Kind.FILE else (),
            self._target(name) if kind is Kind.LINK else "",
        )

    def _target(self, name: str) -> str:
        *folders, last = name.split("/")
        descriptor = _walk(self._root, folders, _FOLDER, self._private)
        try:
            target = os.readlink(last, dir_fd=descriptor)
        except OSError as error:
            raise CheckpointRefused(f"The symbolic link {name!r} changed while it was read.") from error
        finally:
            os.close(descriptor)
        if leads_out(name, target):
            raise CheckpointRefused(
                f"The symbolic link {name!r} leads to {target[:200]!r}, out of the folder; let it lead "
                f"to a file in the folder by a relative path, or copy the file."
            )
        return target


_KINDS = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFLNK: Kind.LINK}
_UNREADABLE = (1, 13)  # EPERM, EACCES


def _walk(root: int, parts: Sequence[str], flags: int, private: set[tuple[int, int]]) -> int:
    """Open what lies under ``root``, part by part. Raises ``OSError``, also where a part is a link."""
    opened = os.open(".", _FOLDER, dir_fd=root)
    names = [part for part in parts if part not in ("", ".")]
    try:
        for number, name in enumerate(names):
            step = os.open(name, flags if number == len(names) - 1 else _FOLDER, dir_fd=opened)
            os.close(opened)
            opened = step
            found = os.fstat(opened)
            if (found.st_dev, found.st_ino) in private:
                raise CheckpointRefused(f"{name!r} is a folder of the service's own; it is not kept.")
    except BaseException:
        os.close(opened)
        raise
    return opened


def _version(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None
