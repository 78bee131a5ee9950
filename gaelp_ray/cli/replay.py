"""``gaelp replay``: a trace of real work through the scheduler's own plan, in simulated time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gaelp_ray.cli.output import out, print_table

if TYPE_CHECKING:
    from gaelp_ray.replay.measures import Measures

#: Where no terminal is, progress is told so often.
SAY_S = 10.0

Policies = Annotated[
    list[str] | None,
    typer.Option("--policy", help="gaelp, fifo, fifo+easy, sjf-oracle or kueue-besteffort; repeatable."),
]


def replay(
    pods: Annotated[Path, typer.Option(help="Tasks, as CSV; see the guide for its columns.")],
    nodes: Annotated[Path, typer.Option(help="Node shapes, as CSV.")],
    gpus: Annotated[int, typer.Option(min=1, help="Size of the cluster: the largest nodes first.")],
    days: Annotated[float | None, typer.Option(min=0.01, help="Only the last so many days.")] = None,
    speed: Annotated[float, typer.Option(min=0.01, help="Tasks arrive so much faster; lengths stay.")] = 1.0,
    policy: Policies = None,
    carry_in: Annotated[
        bool, typer.Option("--carry-in", help="With what was running when these days began.")
    ] = False,
    users: Annotated[int, typer.Option(min=1, help="Users, where the trace names none.")] = 20,
    tick: Annotated[float, typer.Option(min=1, help="Seconds between decisions while tasks wait.")] = 60.0,
    json_out: Annotated[Path | None, typer.Option("--json", help="Write every figure here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw waiting times and GPU use (.png, .svg).")] = None,
) -> None:
    """Replay a trace under several policies and compare them. Needs neither Ray nor a database."""
    from gaelp_ray.bootstrap import scheduling_policy  # noqa: PLC0415 - keeps `gaelp --help` quick
    from gaelp_ray.config import Settings  # noqa: PLC0415
    from gaelp_ray.replay.measures import measure  # noqa: PLC0415
    from gaelp_ray.replay.plot import draw  # noqa: PLC0415
    from gaelp_ray.replay.policies import POLICIES, by_name  # noqa: PLC0415
    from gaelp_ray.replay.simulator import Simulator  # noqa: PLC0415
    from gaelp_ray.replay.trace import read_nodes, read_pods, runnable  # noqa: PLC0415

    for name in policy or ():
        if name not in POLICIES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(POLICIES)}.", param_hint="--policy")
    cluster = read_nodes(nodes, gpus)
    trace = runnable(read_pods(pods, days=days, speed=speed, users=users, carry_in=carry_in), cluster)
    for reason, count in trace.skipped.items():
        where = f" The first: line {trace.first[reason]}." if reason in trace.first else ""
        out.print(f"{count} rows of {pods.name} were left out: {reason}.{where}", markup=False)
    out.print(f"{len(trace.tasks)} tasks on {len(cluster)} nodes with {gpus} GPUs.", markup=False)
    histories, measured = [], []
    for name in policy or POLICIES:
        chosen = by_name(name, cluster, scheduling_policy(Settings()))
        with _told(name, len(trace.tasks)) as tell:
            histories.append(Simulator(trace.tasks, cluster, chosen, tick_s=tick).run(tell))
        measured.append(measure(histories[-1]))
    _print(measured)
    for each in measured:
        if each.unfinished:
            out.print(f"{each.policy} did not bring {each.unfinished} tasks to an end.", markup=False)
    if json_out is not None:
        asked = {"gpus": gpus, "days": days, "speed": speed, "carry_in": carry_in, "users": users}
        rows: dict[str, Any] = {"asked": asked, "skipped": dict(trace.skipped)}
        rows["policies"] = [each.row() for each in measured]
        json_out.write_text(json.dumps(rows, indent=1) + "\n")
    if plot is not None:
        draw(histories, plot)


@contextmanager
def _told(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """How far a replay is: a bar on a terminal, else a line now and then; both on the error stream."""
    screen = Console(stderr=True)
    if not screen.is_terminal:
        yield _lines(screen, name, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(f"Replaying under {name}", total=total)
        yield lambda ended: bar.update(task, completed=ended)


def _lines(screen: Console, name: str, total: int) -> Callable[[int], None]:
    said_at = time.monotonic()

    def tell(ended: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= SAY_S:
            said_at = time.monotonic()
            screen.print(f"Replaying under {name}: {ended} of {total} tasks have ended.", markup=False)

    return tell


def _print(measured: Sequence[Measures]) -> None:
    """One policy a column."""
    rows: dict[str, Callable[[Measures], str]] = {
        "mean completion": lambda m: f"{m.completion_s.mean:,.0f} s",
        "p50 completion": lambda m: f"{m.completion_s.p50:,.0f} s",
        "p95 completion": lambda m: f"{m.completion_s.p95:,.0f} s",
        "p99 completion": lambda m: f"{m.completion_s.p99:,.0f} s",
        "mean wait": lambda m: f"{m.wait_s.mean:,.0f} s",
        "p50 wait": lambda m: f"{m.wait_s.p50:,.0f} s",
        "p95 wait": lambda m: f"{m.wait_s.p95:,.0f} s",
        "p99 wait": lambda m: f"{m.wait_s.p99:,.0f} s",
        "longest wait": lambda m: f"{m.wait_s.most:,.0f} s",
        "GPU allocation": lambda m: f"{m.gpu_allocation:.1%}",
        "fragmentation": lambda m: f"{m.fragmentation:.1%}",
        "preemptions": lambda m: str(m.preemptions),
        "work lost": lambda m: f"{m.lost_gpu_h:,.1f} GPU h",
        "fairness (Jain)": lambda m: f"{m.fairness:.3f}",
        "decision p50": lambda m: f"{m.decision_s.p50 * 1000:.1f} ms",
        "decision p99": lambda m: f"{m.decision_s.p99 * 1000:.1f} ms",
    }
    classes = sorted({qos for m in measured for qos in m.wait_by_qos_s})
    print_table(
        ("", *(m.policy for m in measured)),
        [
            *((name, *(show(m) for m in measured)) for name, show in rows.items()),
            *(
                (f"{qos} p95 wait", *(f"{m.wait_by_qos_s[qos].p95:,.0f} s" for m in measured))
                for qos in classes
            ),
        ],
        empty="Nothing was replayed.",
    )
