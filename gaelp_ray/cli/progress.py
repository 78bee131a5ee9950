"""A job's progress as a live bar on stderr, so that stdout stays free for results."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn

from gaelp_ray.cli.output import err, number, shown
from gaelp_ray.client import Job

#: Metrics shown of a job that reports no reward.
_SHOWN = 3


def watch_job(views: Iterator[Job], note: Callable[[Job], str] | None = None) -> Job:
    """Draw each view of a job as it comes and return the last; ``note`` is a short text beside the bar."""
    note = note or headline
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[facts]}", markup=False),
        console=err,
    )
    with bar:
        task = bar.add_task("", total=1.0, facts="")
        for job in views:
            facts = "  ".join(filter(None, (steps(job), note(job), eta(job))))
            bar.update(
                task,
                description=shown(f"job {job.id} {job.phase}"),
                completed=1.0 if job.succeeded else job.progress.fraction or 0.0,
                facts=shown(facts),
            )
    return job


def steps(job: Job) -> str:
    """``12/40``; empty before the first step."""
    done = job.progress
    if done.step is None:
        return ""
    return str(done.step) if done.total_steps is None else f"{done.step}/{done.total_steps}"


def headline(job: Job) -> str:
    """Why it waits, else its reward, else its first few metrics."""
    if job.waiting is not None:
        return job.waiting.message or job.waiting.code
    metrics = job.progress.metrics
    shown = ["reward"] if "reward" in metrics else sorted(metrics)[:_SHOWN]
    return "  ".join(f"{name} {number(metrics[name])}" for name in shown)


def eta(job: Job) -> str:
    """Time left as ``ETA 1:05``; empty when it is not known or over."""
    left = job.progress.eta_seconds
    if left is None or job.ended:
        return ""
    minutes, seconds = divmod(round(left), 60)
    return (
        f"ETA {minutes // 60}:{minutes % 60:02}:{seconds:02}"
        if minutes >= 60
        else f"ETA {minutes}:{seconds:02}"
    )
