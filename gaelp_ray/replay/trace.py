"""Reads traces in the format of Alibaba's ``cluster-trace-gpu-v2023``; columns are found by name."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.requests import Selector
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node

MIB = 1024**2
DAY_S = 86_400
ACCELERATOR_LABEL = "ray.io/accelerator-type"
_POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu")


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work of the trace. Times are seconds from the beginning of the replay."""

    id: int
    user: str
    arrival_s: float
    #: What it needs to run, however often it is interrupted.
    length_s: float
    resources: Resources
    #: ``LS`` (latency sensitive), ``BE`` (best effort), ``Burstable`` or ``Guaranteed``.
    qos: str = ""
    selector: Selector = ()


@dataclass(frozen=True)
class Trace:
    tasks: tuple[Task, ...]
    #: Rows that could not be used, by reason.
    skipped: Mapping[str, int]


def read_pods(
    path: Path, *, days: float | None = None, speed: float = 1.0, users: int = 20, carry_in: bool = False
) -> Trace:
    """Read tasks, in order of arrival.

    ``days``: only those that arrive in the last so many days; with ``carry_in`` also those that were running
    when these began, with what was left of them. ``speed``: arrivals come so much faster, lengths stay.
    ``users``: the trace names none, so each task is given one of so many by a stable hash of its name, unless
    there is a column ``user``.
    """
    rows = _rows(path, _POD_COLUMNS)
    skipped: Counter[str] = Counter()
    found: list[tuple[float, float, dict[str, str], Resources]] = []
    for row in rows:
        try:
            arrival, end = float(row["creation_time"]), float(row["deletion_time"])
            resources = _pod_resources(row)
        except ValueError:
            skipped["a number is missing or is none"] += 1
            continue
        if end < arrival:
            skipped["it ends before it begins"] += 1
            continue
        found.append((arrival, end, row, resources))
    begin = max((end for _, end, _, _ in found), default=0.0) - days * DAY_S if days is not None else 0.0
    tasks: list[Task] = []
    for arrival, end, row, resources in sorted(found, key=lambda each: each[0]):
        if arrival < begin and not (carry_in and end > begin):
            continue
        shown = max(arrival, begin)
        task = Task(
            id=len(tasks) + 1,
            user=row.get("user") or _user(row["name"], users),
            arrival_s=(shown - begin) / speed,
            length_s=max(1.0, end - shown),
            resources=resources,
            qos=row.get("qos", ""),
            selector=_selector(row.get("gpu_spec", "")),
        )
        tasks.append(task)
    return Trace(tuple(tasks), dict(skipped))


def read_nodes(path: Path, gpus: int) -> tuple[Node, ...]:
    """A cluster of exactly so many GPUs: the nodes with most GPUs first, in the order of the file."""
    rows = sorted(_rows(path, _NODE_COLUMNS), key=lambda row: -int(row["gpu"]))
    nodes: list[Node] = []
    missing = gpus
    for row in rows:
        count = int(row["gpu"])
        if not 0 < count <= missing:
            continue
        missing -= count
        total = Resources(int(row["cpu_milli"]), int(row["memory_mib"]) * MIB, count * 1000)
        labels = {ACCELERATOR_LABEL: row["model"]} if row.get("model") else {}
        nodes.append(Node(row["sn"], total, labels))
    if missing:
        raise InvalidInput(
            f"The nodes of {path.name} cannot make up {gpus} GPUs; {missing} are missing. Ask for fewer."
        )
    return tuple(nodes)


def runnable(trace: Trace, nodes: tuple[Node, ...]) -> Trace:
    """Without the tasks that no node could ever hold; they are counted as skipped."""
    kept = tuple(t for t in trace.tasks if any(t.resources.fits_on(node.total) for node in nodes))
    lost = len(trace.tasks) - len(kept)
    skipped = dict(trace.skipped) | ({"no node is large enough": lost} if lost else {})
    return Trace(tuple(replace(task, id=n) for n, task in enumerate(kept, 1)), skipped)


def _rows(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InvalidInput(f"{path} has no column {missing[0]!r}; a trace needs {', '.join(needed)}.")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{path} cannot be read as a trace: {error}.") from error


def _pod_resources(row: Mapping[str, str]) -> Resources:
    count = int(row["num_gpu"])
    gpu_milli = int(row["gpu_milli"]) if count == 1 else count * 1000
    cpu, memory = int(row["cpu_milli"]), int(row["memory_mib"])
    if min(count, gpu_milli, cpu, memory) < 0 or (count == 1 and not 0 < gpu_milli <= 1000):
        raise ValueError
    return Resources(cpu_milli=cpu, memory_bytes=memory * MIB, gpu_milli=gpu_milli)


def _user(name: str, users: int) -> str:
    return f"user-{int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) % users:02d}"


def _selector(spec: str) -> Selector:
    models = [model for model in spec.split("|") if model]
    return ((ACCELERATOR_LABEL, f"in({', '.join(models)})"),) if models else ()
