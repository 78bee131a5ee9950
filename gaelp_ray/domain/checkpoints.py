"""Checkpoints: where they lie, and which to keep."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime

#: In a job's ``training_config``: the job whose last saved checkpoint it starts from.
FROM_JOB = "from_job"
#: Under the storage's root. After a step comes a number where it has several checkpoints.
_ADDRESS = re.compile(r"checkpoints/job-[0-9]+/attempt-[0-9]+/step-[-0-9]+\Z")


def folder_of(job_id: int, attempt: int) -> str:
    """Where the checkpoints of an attempt lie, relative to the storage's root."""
    return f"checkpoints/job-{job_id}/attempt-{attempt}"


def address_of(uri: str) -> str:
    """The part of ``uri`` below the storage's root, whatever that was; empty in another layout."""
    found = _ADDRESS.search(uri)
    return found[0] if found else ""


@dataclass(frozen=True)
class CheckpointRecord:
    #: Grows in the order in which a job's checkpoints are saved, which is not always that of their steps.
    id: int
    job_id: int
    attempt: int
    step: int
    #: Folder that holds the files and their manifest, as it was when they were saved.
    uri: str
    #: SHA-256 of the manifest, which lists every file with its own SHA-256.
    digest: str
    size_bytes: int
    metrics: Mapping[str, float]
    created_at: datetime
    #: The same folder relative to ``GAELP_STORAGE``, by which it is found when that has moved.
    address: str = ""


@dataclass(frozen=True)
class Retention:
    """Keep the last ``latest`` that were saved and the best ``best`` by ``metric`` (higher is better)."""

    latest: int = 2
    best: int = 1
    metric: str = "reward"


def expendable(
    checkpoints: Iterable[CheckpointRecord], keep: Retention, *, in_use: Set[int] = frozenset()
) -> list[CheckpointRecord]:
    """The checkpoints of one job that retention lets go, the first saved first.

    ``in_use``: ids of those that others work on.
    """
    ordered = sorted(checkpoints, key=lambda c: c.id)
    kept = set(in_use)
    kept |= {c.id for c in ordered[-keep.latest :]} if keep.latest else set()
    scored = [c for c in ordered if keep.metric in c.metrics]
    scored.sort(key=lambda c: (c.metrics[keep.metric], c.id))
    kept |= {c.id for c in scored[-keep.best :]} if keep.best else set()
    return [c for c in ordered if c.id not in kept]
