"""How a training process speaks to the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gaelp_ray.domain.errors import Forbidden, GaelpError
from gaelp_ray.domain.ledger import Settle
from gaelp_ray.domain.money import whole_micros
from gaelp_ray.training.budget import Lease, check_job_key
from gaelp_ray.training.orders import Delivery, Placed, Proposal


class Reporter(Protocol):
    """The far side of a ``TrainingContext``. What is refused is raised, by its kind."""

    def report(
        self, metrics: Mapping[str, float], *, step: int, total_steps: int | None, checkpoint: Path | None
    ) -> None: ...

    def notice(self, words: str) -> None:
        """Tell the job's owner something about how it runs."""

    def spend(self, amount_micros: int, key: str) -> None: ...

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]: ...

    def place(self, proposal: Proposal, profit_micros: int | None) -> Placed: ...

    def deliveries(self) -> list[Delivery]:
        """News of orders since this was last asked."""

    def stop_order(self, key: str) -> None: ...

    def stop_reason(self) -> str | None: ...


class ConsoleReporter:
    """Prints reports: for a script that is run by hand, outside the service, where money is not counted."""

    def report(
        self, metrics: Mapping[str, float], *, step: int, total_steps: int | None, checkpoint: Path | None
    ) -> None:
        values = "  ".join(f"{name}={value:g}" for name, value in metrics.items())
        print(f"step {step}{f'/{total_steps}' if total_steps else ''}  {values}", flush=True)

    def notice(self, words: str) -> None:
        print(words, flush=True)

    def spend(self, amount_micros: int, key: str) -> None:
        whole_micros(amount_micros)
        check_job_key(key)

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        return [None] * len(asked)

    def place(self, proposal: Proposal, profit_micros: int | None) -> Placed:
        raise _outside()

    def deliveries(self) -> list[Delivery]:
        raise _outside()

    def stop_order(self, key: str) -> None:
        raise _outside()

    def stop_reason(self) -> str | None:
        return None


def _outside() -> Forbidden:
    return Forbidden("Real money is spent only by a job of the service; submit one with `money: real`.")
