"""Checkpoints: which to keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class CheckpointRecord:
    id: int
    job_id: int
    attempt: int
    step: int
    #: Folder under ``GAELP_STORAGE`` that holds the files and their manifest.
    uri: str
    #: SHA-256 of the manifest, which lists every file with its own SHA-256.
    digest: str
    size_bytes: int
    metrics: Mapping[str, float]
    created_at: datetime


@dataclass(frozen=True)
class Retention:
    """Keep the newest ``latest`` and the best ``best`` by ``metric`` (higher is better)."""

    latest: int = 2
    best: int = 1
    metric: str = "reward"


def expendable(checkpoints: Iterable[CheckpointRecord], keep: Retention) -> list[CheckpointRecord]:
    """The checkpoints of one job that retention lets go, oldest first."""
    ordered = sorted(checkpoints, key=lambda c: (c.step, c.id))
    kept = {c.id for c in ordered[-keep.latest :]} if keep.latest else set()
    scored = [c for c in ordered if keep.metric in c.metrics]
    scored.sort(key=lambda c: (c.metrics[keep.metric], c.id))
    kept |= {c.id for c in scored[-keep.best :]} if keep.best else set()
    return [c for c in ordered if c.id not in kept]
