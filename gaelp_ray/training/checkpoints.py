"""Checkpoint files in storage (a path, ``s3://``, ``gs://``) through fsspec.

A checkpoint is a folder ``files`` and a ``manifest.json`` that lists each file with its size and SHA-256. The
manifest is written last, and its own SHA-256 is the checkpoint's digest: what has no manifest does not exist,
and what does not match is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gaelp_ray.domain.errors import GaelpError

MANIFEST = "manifest.json"
#: A folder of their own, so that a trainer may call its files as it likes, even ``manifest.json``.
FILES = "files"


class CheckpointCorrupt(GaelpError):
    """The checkpoint's files do not match its manifest."""

    code = "checkpoint_corrupt"


@dataclass(frozen=True)
class Saved:
    uri: str
    digest: str
    size_bytes: int


def save(source: Path, uri: str) -> Saved:
    """Copy the files under ``source`` to the folder ``uri``; complete when it returns, else absent."""
    fs, root = _open(uri)
    files = sorted(p for p in source.rglob("*") if p.is_file())
    listed: dict[str, dict[str, Any]] = {}
    fs.makedirs(root, exist_ok=True)
    for path in files:
        name = path.relative_to(source).as_posix()
        listed[name] = {"size": path.stat().st_size, "sha256": _digest(path)}
        target = f"{root}/{FILES}/{name}"
        fs.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        fs.put_file(str(path), target)
        _sync(fs, target)
    manifest = json.dumps({"files": listed}, sort_keys=True).encode()
    fs.pipe_file(f"{root}/{MANIFEST}.part", manifest)
    _sync(fs, f"{root}/{MANIFEST}.part")
    fs.mv(f"{root}/{MANIFEST}.part", f"{root}/{MANIFEST}")
    _sync(fs, root)
    size = len(manifest) + sum(entry["size"] for entry in listed.values())
    return Saved(uri=uri, digest=hashlib.sha256(manifest).hexdigest(), size_bytes=size)


def restore(uri: str, digest: str, target: Path) -> Path:
    """Copy a checkpoint to the local folder ``target`` and check every byte of it.

    Raises ``CheckpointCorrupt`` when anything differs from what was saved.
    """
    fs, root = _open(uri)
    try:
        manifest: bytes = fs.cat_file(f"{root}/{MANIFEST}")
    except FileNotFoundError:
        raise CheckpointCorrupt(f"The checkpoint {uri} has no manifest; it was never complete.") from None
    if hashlib.sha256(manifest).hexdigest() != digest:
        raise CheckpointCorrupt(f"The manifest of {uri} is not the one that was saved.")
    for name, entry in json.loads(manifest)["files"].items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fs.get_file(f"{root}/{FILES}/{name}", str(path))
        except FileNotFoundError:
            raise CheckpointCorrupt(f"{name} is missing from the checkpoint {uri}.") from None
        if path.stat().st_size != entry["size"] or _digest(path) != entry["sha256"]:
            raise CheckpointCorrupt(f"{name} in the checkpoint {uri} is not as it was saved.")
    return target


def delete(uri: str) -> None:
    """Remove a checkpoint's files; one that is gone already is fine."""
    fs, root = _open(uri)
    if isinstance(fs, LocalFileSystem):
        shutil.rmtree(root, ignore_errors=True)
    elif fs.exists(root):
        fs.rm(root, recursive=True)


def _open(uri: str) -> tuple[Any, str]:
    fs, root = fsspec.core.url_to_fs(uri)
    return fs, str(root).rstrip("/")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(fs: Any, path: str) -> None:
    """On a local disk, make sure that it survives a power cut; object stores promise it by themselves."""
    if not isinstance(fs, LocalFileSystem):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
