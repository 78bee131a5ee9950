"""Reads traces in the format of Alibaba's ``cluster-trace-gpu-v2023``; columns are found by name."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.requests import Request, Selector
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Node
from gaelp_ray.domain.scheduling.nodes import suits

MIB = 1024**2
#: No time of a trace is later, in seconds; that is more than three thousand years.
LATEST_S = 1e11
DAY_S = 86_400
ACCELERATOR_LABEL = "ray.io/accelerator-type"
_POD_COLUMNS = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "creation_time", "deletion_time")
_NODE_COLUMNS = ("sn", "cpu_milli", "memory_mib", "gpu")


@dataclass(frozen=True)
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

    @cached_property
    def request(self) -> Request:
        """What it asks for; policies judge equal requests once."""
        return Request(self.resources, selector=self.selector)


@dataclass(frozen=True)
class Trace:
    tasks: tuple[Task, ...]
    #: Rows that could not be used, by reason.
    skipped: Mapping[str, int]
    #: The line of the first of them in the file, by reason, where it is known.
    first: Mapping[str, int] = field(default_factory=dict)


def read_pods(
    path: Path, *, days: float | None = None, speed: float = 1.0, users: int = 20, carry_in: bool = False
) -> Trace:
    """Read tasks, in order of arrival.

    ``days``: only those that arrive in the last so many days; with ``carry_in`` also those that were running
    when these began, with what was left of them. ``speed``: arrivals come so much faster, lengths stay.
    ``users``: the trace names none, so each task is given one of so many by a stable hash of its name, unless
    there is a column ``user``.
    """
    skipped: Counter[str] = Counter()
    first: dict[str, int] = {}
    found: list[tuple[float, float, dict[str, str], Resources]] = []
    known: set[tuple[str, ...]] = set()
    for line, row in _rows(path, _POD_COLUMNS):
        usable = _read_pod(row, known)
        if isinstance(usable, str):
            skipped[usable] += 1
            first.setdefault(usable, line)
        else:
            found.append(usable)
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
            qos=row.get("qos") or "",
            selector=_selector(row.get("gpu_spec") or ""),
        )
        tasks.append(task)
    return Trace(tuple(tasks), dict(skipped), first)


def _read_pod(
    row: dict[str, str], known: set[tuple[str, ...]]
) -> tuple[float, float, dict[str, str], Resources] | str:
    """Arrival, end, the row and what it asks for; or why it cannot be used."""
    try:
        arrival, end = float(row["creation_time"]), float(row["deletion_time"])
        resources = _pod_resources(row)
    except (TypeError, ValueError):
        return "a number is missing or is none"
    if not (math.isfinite(arrival) and math.isfinite(end)) or max(arrival, end) > LATEST_S:
        return "a time is no time"
    if min(arrival, end) < 0:
        return "a time is below 0"
    if end < arrival:
        return "it ends before it begins"
    whole = tuple(str(value) for value in row.values())
    if whole in known:
        return "it is there twice"
    known.add(whole)
    return arrival, end, row, resources


def read_nodes(path: Path, gpus: int) -> tuple[Node, ...]:
    """A cluster of exactly so many GPUs: the nodes with most GPUs first, in the order of the file.

    Raises ``InvalidInput`` naming the first line that is no node.
    """
    found: dict[str, tuple[int, Node]] = {}
    for line, row in _rows(path, _NODE_COLUMNS):
        count, node = _read_node(path, line, row)
        if node.id in found:
            raise InvalidInput(f"{path.name}, line {line}: there are two nodes named {node.id!r}.")
        found[node.id] = count, node
    nodes: list[Node] = []
    missing = gpus
    for count, node in sorted(found.values(), key=lambda each: -each[0]):
        if 0 < count <= missing:
            missing -= count
            nodes.append(node)
    if missing:
        raise InvalidInput(
            f"The nodes of {path.name} cannot make up {gpus} GPUs; {missing} are missing. Ask for fewer."
        )
    return tuple(nodes)


def _read_node(path: Path, line: int, row: Mapping[str, str]) -> tuple[int, Node]:
    """How many GPUs a node has, and the node."""
    try:
        count, cpu, memory = int(row["gpu"]), int(row["cpu_milli"]), int(row["memory_mib"])
        if min(count, cpu, memory) < 0 or not row["sn"]:
            raise ValueError
    except (TypeError, ValueError):
        raise InvalidInput(
            f"{path.name}, line {line}: a node needs a name and whole numbers from 0 on for cpu_milli, "
            "memory_mib and gpu."
        ) from None
    labels = {ACCELERATOR_LABEL: row["model"].strip()} if (row.get("model") or "").strip() else {}
    return count, Node(row["sn"], Resources(cpu, memory * MIB, count * 1000), labels)


def runnable(trace: Trace, nodes: Sequence[Node]) -> Trace:
    """Without the tasks that no node could ever hold; they are counted as skipped."""
    kept, never = divided(trace.tasks, nodes)
    skipped = Counter(trace.skipped)
    for task in never:
        large = any(task.resources.fits_on(node.total) for node in nodes)
        skipped["no node has a GPU that it names" if large else "no node is large enough"] += 1
    tasks = tuple(replace(task, id=n) for n, task in enumerate(kept, 1))
    return Trace(tasks, dict(skipped), trace.first)


def divided(tasks: Iterable[Task], nodes: Sequence[Node]) -> tuple[list[Task], list[Task]]:
    """The tasks that some node could hold if it were empty, and those that none ever can."""
    judged: dict[Request, bool] = {}
    kept: list[Task] = []
    never: list[Task] = []
    for task in tasks:
        fits = judged.get(task.request)
        if fits is None:
            fits = judged[task.request] = any(suits(node, task.request) for node in nodes)
        (kept if fits else never).append(task)
    return kept, never


def _rows(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Each row with its line in the file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in needed if name not in (reader.fieldnames or ())]
            if missing:
                raise InvalidInput(f"{path} has no column {missing[0]!r}; a trace needs {', '.join(needed)}.")
            return [(reader.line_num, row) for row in reader]
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
    models = [model.strip() for model in (spec or "").split("|") if model.strip()]
    return ((ACCELERATOR_LABEL, f"in({', '.join(models)})"),) if models else ()
