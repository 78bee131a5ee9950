"""Options that several commands share, and how ``key=value`` is read."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Sequence
from datetime import datetime, tzinfo
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp_ray.domain import ids, instants
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.jobs import PRIORITY_MAX, PRIORITY_MIN

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Show at most so many.")]
Cursor = Annotated[
    str | None, typer.Option(metavar="CURSOR", help="Go on behind a page: what it gave as `next_cursor`.")
]

Cpu = Annotated[str | None, typer.Option(help="CPU cores, e.g. 2 or 500m.")]
Memory = Annotated[str | None, typer.Option(help="Memory, e.g. 2Gi.")]
Gpu = Annotated[str | None, typer.Option(help="GPUs: whole, or a share such as 500m.")]
Storage = Annotated[str | None, typer.Option(help="Checkpoint and scratch space, e.g. 10Gi.")]
Entrypoint = Annotated[
    str | None, typer.Option(help="package.module:function, or a script such as 'python train.py'.")
]
Image = Annotated[str | None, typer.Option("--image", help="Container image to run in.")]
WorkingDir = Annotated[
    str | None,
    typer.Option("--working-dir", help="Folder or archive with the code, which every node can reach."),
]
#: How a value of KEY=VALUE is read.
READ_AS = "JSON, or True, False, None; anything else is text. Repeatable."
Config = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        metavar="KEY=VALUE",
        help=f"Configuration. {READ_AS}",
    ),
]
Requirement = Annotated[
    list[str] | None,
    typer.Option("--requirement", help="A package with versions, such as torch>=2.4; repeatable."),
]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Environment variable; repeatable.")
]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME=SECRET", help="Variable filled from a secret; repeatable."),
]


def moment(text: str, zone: tzinfo | None = None) -> datetime:
    """A time: an instant, or without a zone a time or a date of a place, by default of this machine."""
    try:
        local = next((found for form in _LOCAL if (found := _local(text, form, zone))), None)
        return instants.read(text if local is None else local, field="TIME")
    except (InvalidInput, OverflowError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


def an_id(text: str) -> int:
    """An id as every door reads it."""
    try:
        return ids.read(text, field="ID")
    except InvalidInput as error:
        raise typer.BadParameter(error.message) from None


#: How times of this machine are written.
_LOCAL = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d")

JobId = Annotated[int, typer.Argument(parser=an_id, metavar="JOB_ID", help="The job's id.")]
Priority = Annotated[
    int | None, typer.Option(min=PRIORITY_MIN, max=PRIORITY_MAX, help="10 goes first; 5 if left out.")
]
Timeout = Annotated[float | None, typer.Option(help="Time limit of an attempt, in seconds.")]
MaxRetries = Annotated[int | None, typer.Option(min=0, help="Retries after its own failures.")]
Deadline = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="When it must be done.")
]
Expected = Annotated[
    float | None, typer.Option("--expect", help="Your guess of how long it runs, in seconds.")
]
Since = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="From then on.")]
Until = Annotated[datetime | None, typer.Option(parser=moment, metavar="TIME", help="Up to then.")]


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """``["a=1"]`` as ``{"a": "1"}``; a usage error where ``=`` or the key is missing, or a key repeats."""
    found: dict[str, str] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise typer.BadParameter(f"{key!r} is not KEY=VALUE.", param_hint=option)
        if key in found:
            raise typer.BadParameter(f"{key!r} is there twice; give it once.", param_hint=option)
        found[key] = value
    return found


def values(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    """As ``pairs``, with each value that is JSON, or Python's spelling of it, read as that.

    ``lr=0.1`` is a number, ``on=True`` and ``on=true`` are true, ``name=adam`` is a text, and so is
    ``version="1"``, for text may be quoted.
    """
    return {key: _read(value, option) for key, value in pairs(given, option).items()}


def folder(given: str | None) -> str | None:
    """A path as it is found from any folder; an address such as ``s3://code/x.zip`` stays as it is."""
    if not given or "://" in given:
        return given
    # Not resolved: a link is what was named, and may lead elsewhere by the time that the job runs.
    return os.path.normpath(Path(given).expanduser().absolute())


def resources(**quantities: str | None) -> dict[str, str] | None:
    """The quantities that were given; None when none was."""
    return {name: amount for name, amount in quantities.items() if amount is not None} or None


def _read(value: str, option: str) -> Any:
    try:
        return json.loads(value, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return _read_python(value)
    except KeyError as error:
        raise typer.BadParameter(f"{error.args[0]!r} is twice in {value}.", param_hint=option) from None


def _read_python(value: str) -> Any:
    """``True``, ``None``, ``['a', None]`` as Python writes them; anything else is a text."""
    try:
        found = ast.literal_eval(value)
        json.dumps(found, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return value
    return found if found is None or isinstance(found, bool | list | dict) else value


def _refuse(constant: str) -> None:
    """NaN and the infinities are no JSON, whatever Python's reader thinks."""
    raise ValueError(constant)


def _finite(written: str) -> float:
    number = float(written)
    if not isfinite(number):
        raise ValueError(written)
    return number


def _once(found: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in found]
    for key in keys:
        if keys.count(key) > 1:
            raise KeyError(key)
    return dict(found)


def _local(text: str, form: str, zone: tzinfo | None) -> datetime | None:
    """A time of a place that is written so."""
    try:
        found = datetime.strptime(text, form)  # noqa: DTZ007 - it gets its zone next
    except ValueError:
        return None
    return found.astimezone() if zone is None else found.replace(tzinfo=zone)
