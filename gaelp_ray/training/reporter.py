"""How a training process speaks to the service."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Reporter(Protocol):
    """The far side of a ``TrainingContext``."""

    def report(
        self, metrics: Mapping[str, float], *, step: int, total_steps: int | None, checkpoint: Path | None
    ) -> None: ...

    def spend(self, amount_micros: int, key: str) -> int: ...

    def stop_reason(self) -> str | None: ...


class ConsoleReporter:
    """Prints reports: for a script that is run by hand, outside the service."""

    def __init__(self) -> None:
        self._spent: dict[str, int] = {}

    def report(
        self, metrics: Mapping[str, float], *, step: int, total_steps: int | None, checkpoint: Path | None
    ) -> None:
        values = "  ".join(f"{name}={value:g}" for name, value in metrics.items())
        print(f"step {step}{f'/{total_steps}' if total_steps else ''}  {values}", flush=True)

    def spend(self, amount_micros: int, key: str) -> int:
        self._spent.setdefault(key, amount_micros)
        return sum(self._spent.values())

    def stop_reason(self) -> str | None:
        return None
