"""How a supervisor speaks to the service: its launcher for what must not be lost, the hub for metrics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from gaelp_ray.domain.attempts import Directive, Outcome, ResumePoints
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.ledger import Settle
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.platforms import DeliveryReport, Placements
from gaelp_ray.training.budget import Lease
from gaelp_ray.training.checkpoints import Saved
from gaelp_ray.training.orders import Proposal, Ruling, Standing

#: Ends that the service ordered: whoever does not leave in time is killed.
ORDERED = frozenset(
    {EndCause.CANCELLED, EndCause.PREEMPTED, EndCause.SUPERSEDED, EndCause.BUDGET, EndCause.IDLE}
)


class Link(Protocol):
    """Everything an attempt may ask of the service. Calls answer only when the service has remembered."""

    def claim(self, resumed_from_step: int | None) -> Sequence[Member] | None:
        """Wait for the other workers, and take the attempt; None: it is taken or over."""

    def beat(self) -> Directive: ...

    def resume_points(self) -> ResumePoints:
        """The checkpoints that it may begin with, as the service knows them now."""

    def resumed(self, step: int | None, words: str) -> None:
        """It goes on from this step after all, None from the beginning; ``words`` say why."""

    def save_checkpoint(
        self, step: int, saved: Saved, metrics: dict[str, float], points: list[MetricPoint]
    ) -> Sequence[str]:
        """Record a checkpoint, and with it the points that led there; returns the URIs of those to delete."""

    def spend(self, amount_micros: int, key: str) -> None:
        """Book simulated money; raises what refuses it, ``BudgetExceeded`` past a limit."""

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        """As ``Lender.lend``; keys are the attempt's own."""

    def admit(self, proposal: Proposal, standing: Standing) -> Ruling:
        """Have an order of real money reviewed and its money held; raises what refuses it."""

    def placements(self, platform: str) -> Placements:
        """What the job's earlier attempts and this one had admitted, and what was reported of it."""

    def receive(self, reports: Sequence[DeliveryReport]) -> None:
        """Store reports of this job's orders, and settle those that are final."""

    def log(self, start_byte: int, content: bytes) -> None: ...

    def room(self) -> int:
        """How many points may be handed over now; none while too many wait to be stored."""

    def report(self, points: list[MetricPoint]) -> None:
        """Hand over points without waiting; they are sent again if the hub dies before it stored them."""

    def unstored(self) -> list[MetricPoint]:
        """Points handed over that the hub has not stored yet, as far as is known."""

    def idle(self, seconds: float, words: str | None) -> None:
        """GPUs were idle for so long; with words for the job's owner when it is time. Never waits."""

    def notice(self, words: str) -> None:
        """Something that the job's owner should know. Never waits for the database."""

    def finish(self, outcome: Outcome) -> None:
        """Tell the end, once the points that were handed over are stored; where they are not in time, the
        outcome says how many are missing."""


class ActorLink:
    """A ``Link`` over Ray actors. The launcher owns this task, so neither outlives the other."""

    #: Points, and values of them, that may be on their way to the database at once.
    MOST_POINTS, MOST_VALUES = 10_000, 100_000
    #: A hub that stores nothing for so long is not waited for: the oldest points make way for the newest.
    STALL_S = 10.0
    #: How long the end waits for points while none is stored; less for one that was told to stop.
    END_S, STOPPED_S = 60.0, 5.0

    def __init__(
        self, launcher: Any, hub: Any, attempt_id: int, token: str, claimant: str, me: Member
    ) -> None:
        self._launcher = launcher
        self._hub = hub
        self._attempt = (attempt_id, token, me.rank)
        self._me = me
        self._claimant = claimant
        self._unstored: list[tuple[Any, list[MetricPoint]]] = []
        self._waiting = self._values = self._lost = 0
        self._stored_at = time.monotonic()

    def claim(self, resumed_from_step: int | None) -> Sequence[Member] | None:
        members: Sequence[Member] | None = self._ask("claim", self._claimant, self._me, resumed_from_step)
        return members

    def beat(self) -> Directive:
        directive: Directive = self._ask("beat")
        return directive

    def resume_points(self) -> ResumePoints:
        points: ResumePoints = self._ask("resume_points")
        return points

    def resumed(self, step: int | None, words: str) -> None:
        self._ask("resumed", step, words)

    def save_checkpoint(
        self, step: int, saved: Saved, metrics: dict[str, float], points: list[MetricPoint]
    ) -> Sequence[str]:
        # A next attempt goes on after this step and never repeats these points: they must not be lost.
        uris: Sequence[str] = self._ask("save_checkpoint", step, saved, metrics, points)
        return uris

    def unstored(self) -> list[MetricPoint]:
        return [point for _, batch in self._unstored for point in batch]

    def spend(self, amount_micros: int, key: str) -> None:
        self._ask("spend", amount_micros, key)

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        refusals: list[GaelpError | None] = self._ask("lend", asked)
        return refusals

    def admit(self, proposal: Proposal, standing: Standing) -> Ruling:
        ruling: Ruling = self._ask("admit", proposal, standing)
        return ruling

    def placements(self, platform: str) -> Placements:
        placements: Placements = self._ask("placements", platform)
        return placements

    def receive(self, reports: Sequence[DeliveryReport]) -> None:
        self._ask("receive", reports)

    def log(self, start_byte: int, content: bytes) -> None:
        self._ask("append_log", start_byte, content)

    def idle(self, seconds: float, words: str | None) -> None:
        self._ask("idle", seconds, words)

    def notice(self, words: str) -> None:
        self._ask("notice", words)

    def finish(self, outcome: Outcome) -> None:
        self._wait_until_stored(self.STOPPED_S if outcome.cause in ORDERED else self.END_S)
        missing = self._lost + self._waiting
        if missing:
            words = f"{missing:,} of its last metric points could not be stored."
            outcome = replace(outcome, notices=(*outcome.notices, words))
        self._ask("finish", outcome)

    def room(self) -> int:
        self._settle(wait_s=0.0)
        if self._waiting >= self.MOST_POINTS or self._values >= self.MOST_VALUES:
            if time.monotonic() - self._stored_at < self.STALL_S:
                return 0
            self._lost += len(self._forget(0))
        return max(1, self.MOST_POINTS - self._waiting)

    def report(self, points: list[MetricPoint]) -> None:
        if points:
            if not self._unstored:
                self._stored_at = time.monotonic()
            self._send(points)

    def _send(self, points: list[MetricPoint]) -> None:
        self._unstored.append((self._hub.push.remote(points), points))
        self._waiting += len(points)
        self._values += _values(points)

    def _forget(self, index: int) -> list[MetricPoint]:
        _, points = self._unstored.pop(index)
        self._waiting -= len(points)
        self._values -= _values(points)
        return points

    def _wait_until_stored(self, patience_s: float) -> None:
        self._stored_at = time.monotonic()
        while self._unstored and time.monotonic() - self._stored_at < patience_s:
            self._settle(wait_s=0.5)

    def _settle(self, wait_s: float) -> None:
        """Forget the batches that are stored and send those again that a dying hub took with it."""
        import ray  # noqa: PLC0415 - a training process never needs it
        from ray.exceptions import RayError  # noqa: PLC0415

        refs = [ref for ref, _ in self._unstored]
        done = set(ray.wait(refs, num_returns=len(refs), timeout=wait_s)[0]) if refs else set()
        for index in reversed([i for i, ref in enumerate(refs) if ref in done]):
            points = self._forget(index)
            try:
                ray.get(refs[index])
            except RayError:
                self._send(points)
            else:
                self._stored_at = time.monotonic()

    def _ask(self, method: str, *arguments: Any) -> Any:
        import ray  # noqa: PLC0415

        return ray.get(getattr(self._launcher, method).remote(*self._attempt, *arguments))


def _values(points: list[MetricPoint]) -> int:
    return sum(len(point.values) for point in points)
