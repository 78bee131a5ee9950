"""Two pictures of a replay: how long tasks waited, and how many GPUs were in use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gaelp_ray.domain.errors import SetupError
from gaelp_ray.replay.simulator import History

DAY_S = 86_400.0
#: Points along the time axis.
POINTS = 600


def draw(histories: Sequence[History], path: Path) -> None:
    """Write the pictures, one policy a line, as PNG, SVG or PDF by the ending of ``path``.

    Raises ``SetupError`` where matplotlib is not installed, or where nothing was replayed.
    """
    if not any(history.waited_s for history in histories):
        raise SetupError("No task ran, so there is nothing to draw.")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise SetupError("Plots need matplotlib; install `gaelp-ray[replay]`.") from None
    histories = [history for history in histories if history.waited_s]
    figure = Figure(figsize=(12, 9), layout="constrained")
    waits, use = figure.subplots(2, 1)
    for history in histories:
        ordered = np.sort(list(history.waited_s.values()))
        share = 1 - np.arange(len(ordered)) / len(ordered)
        waits.step(np.maximum(ordered, 1.0), share, where="post", label=history.policy)
        days, used = _sampled(history)
        use.plot(days, used, label=history.policy, linewidth=1)
    waits.set(
        xscale="log",
        yscale="log",
        xlabel="waited (s)",
        ylabel="share of tasks that waited longer",
        title="Waiting time until the first start",
    )
    total = sum(node.total.gpu_milli for node in histories[0].nodes) / 1000
    use.axhline(total, color="grey", linestyle=":", label=f"{total:g} GPUs")
    use.set(xlabel="day", ylabel="GPUs in use", title="GPU use", ylim=(0, total * 1.1))
    for axes in (waits, use):
        axes.grid(visible=True, alpha=0.3)
        axes.legend(loc="best", fontsize="small")
    try:
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise SetupError(f"The plot cannot be written to {path}: {error}.") from error


def _sampled(history: History) -> tuple[np.ndarray, np.ndarray]:
    """GPUs in use at even steps until the last arrival."""
    end = max(task.arrival_s for task in history.tasks)
    at = np.array([moment for moment, _, _ in history.use])
    used = np.array([count for _, count, _ in history.use])
    steps = np.linspace(0.0, end, POINTS)
    found = np.clip(np.searchsorted(at, steps, side="right") - 1, 0, len(at) - 1)
    return steps / DAY_S, used[found]
