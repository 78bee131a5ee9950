"""What a training process may write on its channel. It is data of somebody else's code, and read as such."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.metrics import check_step, check_values
from gaelp_ray.training import channel


@dataclass(frozen=True)
class Began:
    """It has its order: from here on the job's own code runs."""


@dataclass(frozen=True)
class Report:
    step: int
    total_steps: int | None
    #: Empty where none was a finite number.
    metrics: dict[str, float]
    #: A folder to keep; whoever reports one waits for an answer.
    checkpoint: Path | None


@dataclass(frozen=True)
class Notice:
    words: str


@dataclass(frozen=True)
class Asked:
    """Something about money; whoever asks waits for an answer."""

    kind: str
    message: Mapping[str, Any]


@dataclass(frozen=True)
class End:
    message: Mapping[str, Any]


Message = Began | Report | Notice | Asked | End


def read(line: bytes, *, questions: frozenset[str]) -> Message:
    """The message in a line, ``questions`` being the kinds about money; else raises ``InvalidInput``."""
    message = channel.read(line)
    kind = message.get("kind")
    if kind == "began":
        return Began()
    if kind == "report":
        return _report(message)
    if kind == "notice":
        return Notice(_text(message, "words"))
    if kind == "end":
        return End(message)
    if isinstance(kind, str) and kind in questions:
        return Asked(kind, message)
    raise InvalidInput(f"There is no message of the kind {kind!r:.80}.")


def _report(message: Mapping[str, Any]) -> Report:
    metrics, total = message.get("metrics"), message.get("total_steps")
    if not isinstance(metrics, dict):
        raise InvalidInput("`metrics` must map names to numbers.")
    return Report(
        step=check_step(message.get("step")),
        total_steps=None if total is None else check_step(total, field_name="total_steps"),
        metrics=check_values(metrics) if metrics else {},
        checkpoint=Path(_text(message, "checkpoint")) if "checkpoint" in message else None,
    )


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"`{name}` must be text.")
    return value
