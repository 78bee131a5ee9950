"""``gaelp logs``: what the service itself said, of every process of this machine's head."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp_ray.cli import homes
from gaelp_ray.cli.output import print_json
from gaelp_ray.config import Settings
from gaelp_ray.domain.errors import SetupError

_BEGIN = '{"at": "'
_LEVELS = ("debug", "info", "warning", "error", "critical")


def logs(
    level: Annotated[str, typer.Option(help=f"At least this: {', '.join(_LEVELS)}.")] = "debug",
    limit: Annotated[int, typer.Option(min=1, help="The newest so many lines.")] = 200,
) -> None:
    """Print the service's own log on this machine, oldest first, one JSON object a line.

    GAELP_LOG_LEVEL says what is written to it. Logs of jobs are in `gaelp jobs logs`.
    """
    if level.lower() not in _LEVELS:
        raise typer.BadParameter(f"It is one of {', '.join(_LEVELS)}.", param_hint="--level")
    wanted = _LEVELS[_LEVELS.index(level.lower()) :]
    run = homes.known_run_folder(Settings().data_dir)
    if run is None:
        raise SetupError("The service was never up here, so it has said nothing; start it with `gaelp up`.")
    found = [entry for entry in _entries(run / "ray" / "session_latest" / "logs") if entry["level"] in wanted]
    for entry in sorted(found, key=lambda entry: str(entry["at"]))[-limit:]:
        print_json(entry, indent=None)


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    """The service's lines among those of its processes."""
    for file in folder.glob("worker-*.err"):
        with contextlib.suppress(OSError), file.open(errors="replace") as lines:
            for line in lines:
                if line.startswith(_BEGIN):
                    with contextlib.suppress(ValueError):
                        entry = json.loads(line)
                        if {"at", "level", "logger"} <= entry.keys():
                            yield entry
