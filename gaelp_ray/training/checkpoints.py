"""Checkpoint files in storage (a path, ``s3://``, ``gs://``) through fsspec.

A checkpoint is a folder ``files`` and a ``manifest.json`` that lists each file with its size, SHA-256 and
mode, each folder with its mode, and each symbolic link with its target. The manifest is written last, and its
own SHA-256 is the checkpoint's digest: what has no manifest does not exist, and what does not match is
refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.training.contents import CheckpointRefused, Contents, Entry, Grounds, Kind
from gaelp_ray.training.links import leads_out

MANIFEST = "manifest.json"
#: A folder of their own, so that a trainer may call its files as it likes, even ``manifest.json``.
FILES = "files"
_PIECE = 1024**2


class CheckpointCorrupt(GaelpError):
    """The checkpoint's files do not match its manifest."""

    code = "checkpoint_corrupt"


@dataclass(frozen=True)
class Saved:
    uri: str
    digest: str
    size_bytes: int
    #: The same place relative to the storage's root, by which it is found when that has moved.
    address: str = ""


def save(source: Path, uri: str, grounds: Grounds | None = None, *, address: str = "") -> Saved:
    """Copy the folder ``source`` to the folder ``uri``; complete when it returns, else absent.

    ``grounds``: where it may come from; None, from where it is. Links are kept as links, folders and modes as
    they are; times, owners and extended attributes are not kept. Raises ``CheckpointRefused`` for what cannot
    be kept so, and what the storage raises; then nothing of it stays.
    """
    fs, root = _open(uri)
    with contextlib.ExitStack() as closing:
        if grounds is None:
            grounds = Grounds(source)
            closing.callback(grounds.close)
            source = source.resolve()
        contents = closing.enter_context(grounds.open(source))
        # Before anything is written.
        entries = contents.entries()
        try:
            return _store(contents, entries, fs, root, Saved(uri, "", 0, address))
        except BaseException:
            with contextlib.suppress(Exception):  # what cannot be removed now is collected later
                delete(uri)
            raise


def _store(contents: Contents, entries: list[Entry], fs: Any, root: str, saved: Saved) -> Saved:
    listed: dict[str, dict[str, Any]] = {"files": {}, "folders": {}, "links": {}}
    fs.makedirs(root, exist_ok=True)
    for entry in entries:
        if entry.kind is Kind.LINK:
            listed["links"][entry.name] = {"target": entry.target}
        elif entry.kind is Kind.FOLDER:
            listed["folders"][entry.name] = {"mode": entry.mode}
        else:
            target = f"{root}/{FILES}/{entry.name}"
            fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
            digest = _put(contents, entry, fs, target)
            listed["files"][entry.name] = {"size": entry.size, "sha256": digest, "mode": entry.mode}
    _check_same(entries, contents.entries())
    manifest = json.dumps(listed, sort_keys=True).encode()
    fs.pipe_file(f"{root}/{MANIFEST}.part", manifest)
    _sync(fs, f"{root}/{MANIFEST}.part")
    fs.mv(f"{root}/{MANIFEST}.part", f"{root}/{MANIFEST}")
    _sync(fs, root)
    size = len(manifest) + sum(entry.size for entry in entries)
    return Saved(saved.uri, hashlib.sha256(manifest).hexdigest(), size, saved.address)


def _put(contents: Contents, entry: Entry, fs: Any, target: str) -> str:
    """Copy a file; returns its SHA-256, taken from what was copied."""
    digest = hashlib.sha256()
    with contents.file(entry) as descriptor, fs.open(target, "wb") as copy:
        while piece := os.read(descriptor, _PIECE):
            digest.update(piece)
            copy.write(piece)
    _sync(fs, target)
    return digest.hexdigest()


def _check_same(before: list[Entry], after: list[Entry]) -> None:
    different = {entry.name for entry in set(before) ^ set(after)}
    if different:
        raise CheckpointRefused(
            f"{min(different)!r} changed while the folder was copied; report a checkpoint when its files "
            f"are finished."
        )


def _nothing() -> None:
    pass


def restore(uri: str, digest: str, target: Path, check: Callable[[], None] = _nothing) -> Path:
    """Copy a checkpoint to the local folder ``target``, which is made anew, and check every byte of it.

    Raises ``CheckpointCorrupt`` when anything is missing or differs from what was saved, and what ``check``
    raises, which is called often.
    """
    fs, root = _open(uri)
    listed = _manifest(fs, root, uri, digest)
    remove_folder(target)
    target.mkdir(parents=True)
    # Those saved by earlier releases list files alone.
    folders, links = listed.get("folders", {}), listed.get("links", {})
    for name in folders:
        _within(target, name, uri).mkdir(parents=True, exist_ok=True)
    for name, entry in listed["files"].items():
        path = _within(target, name, uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            size, found = _get(fs, f"{root}/{FILES}/{name}", path, check)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise CheckpointCorrupt(f"{name} is missing from the checkpoint {uri}.") from None
        if size != entry["size"] or found != entry["sha256"]:
            raise CheckpointCorrupt(f"{name} in the checkpoint {uri} is not as it was saved.")
        path.chmod(entry.get("mode", 0o644))
    for name, entry in links.items():
        if leads_out(name, entry["target"]):
            raise CheckpointCorrupt(f"{name} in the checkpoint {uri} leads out of it.")
        _within(target, name, uri).symlink_to(entry["target"])
    # The deepest first: a folder that may not be written to closes those in it.
    for name in sorted(folders, key=lambda each: -len(PurePosixPath(each).parts)):
        _within(target, name, uri).chmod(folders[name]["mode"])
    return target


def _manifest(fs: Any, root: str, uri: str, digest: str) -> dict[str, Any]:
    try:
        manifest: bytes = fs.cat_file(f"{root}/{MANIFEST}")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise CheckpointCorrupt(f"The checkpoint {uri} has no manifest; it was never complete.") from None
    if hashlib.sha256(manifest).hexdigest() != digest:
        raise CheckpointCorrupt(f"The manifest of {uri} is not the one that was saved.")
    listed: dict[str, Any] = json.loads(manifest)
    return listed


def _get(fs: Any, source: str, target: Path, check: Callable[[], None]) -> tuple[int, str]:
    """Copy a file; returns its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    with fs.open(source, "rb") as stored, target.open("xb") as copy:
        while piece := stored.read(_PIECE):
            check()
            size += len(piece)
            digest.update(piece)
            copy.write(piece)
    return size, digest.hexdigest()


def _within(target: Path, name: str, uri: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise CheckpointCorrupt(f"{name!r} in the checkpoint {uri} would lie outside of it.")
    return target / path


def find(storage_uri: str, uri: str, address: str) -> str:
    """Where a checkpoint lies now: under the storage's present root, else where it was saved."""
    if not address:
        return uri
    present = under(storage_uri, address)
    if present != uri:
        fs, root = _open(present)
        if not fs.exists(f"{root}/{MANIFEST}"):
            fs, root = _open(uri)
            return uri if fs.exists(f"{root}/{MANIFEST}") else present
    return present


def under(storage_uri: str, address: str) -> str:
    return f"{storage_uri.rstrip('/')}/{address}"


def delete(uri: str) -> None:
    """Remove a checkpoint's files; one that is gone already is fine."""
    fs, root = _open(uri)
    if isinstance(fs, LocalFileSystem):
        shutil.rmtree(root, ignore_errors=True)
    elif fs.exists(root):
        fs.rm(root, recursive=True)


def names(uri: str) -> list[str]:
    """What lies in a folder of the storage; nothing in one that is not there."""
    fs, root = _open(uri)
    try:
        return sorted(PurePosixPath(str(path)).name for path in fs.ls(root, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove_folder(folder: Path) -> None:
    """Remove a local folder with all in it, also where a folder in it may not be written to."""
    if not folder.is_dir() or folder.is_symlink():
        return
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for _, _, _, descriptor in os.fwalk(folder, follow_symlinks=False):
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, 0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _open(uri: str) -> tuple[Any, str]:
    if "://" not in uri:
        # A path may look like an address chained of several.
        return LocalFileSystem(), str(Path(uri).absolute()).rstrip("/")
    fs, root = fsspec.core.url_to_fs(uri)
    return fs, str(root).rstrip("/")


def _sync(fs: Any, path: str) -> None:
    """On a local disk, make sure that it survives a power cut; object stores promise it by themselves."""
    if not isinstance(fs, LocalFileSystem):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
