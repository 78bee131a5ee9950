"""Options that several commands share, and how ``key=value`` is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Show at most so many.")]

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
Config = Annotated[
    list[str] | None, typer.Option("--config", metavar="KEY=VALUE", help="Configuration; repeatable.")
]
Requirement = Annotated[
    list[str] | None, typer.Option("--requirement", help="A pip requirement line; repeatable.")
]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="Environment variable; repeatable.")
]
Secret = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME=SECRET", help="Variable filled from a secret; repeatable."),
]


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """``["a=1"]`` as ``{"a": "1"}``; a usage error where the ``=`` or the key is missing."""
    split = [text.partition("=") for text in given or ()]
    for key, equals, _ in split:
        if not (key and equals):
            raise typer.BadParameter(f"{key!r} is not KEY=VALUE.", param_hint=option)
    return {key: value for key, _, value in split}


def values(given: Sequence[str] | None, option: str) -> dict[str, Any]:
    """As ``pairs``, with each value read as JSON where it is JSON: ``lr=0.1`` is a number."""
    return {key: _json_or_text(value) for key, value in pairs(given, option).items()}


def resources(**quantities: str | None) -> dict[str, str] | None:
    """The quantities that were given; None when none was."""
    return {name: amount for name, amount in quantities.items() if amount is not None} or None


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value, parse_constant=_refuse)
    except ValueError:
        return value


def _refuse(constant: str) -> None:
    """NaN and the infinities are no JSON, whatever Python's reader thinks."""
    raise ValueError(constant)
