"""The service as a supervisor sees it, in memory. As a program: a supervisor that waits to be killed."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gaelp_ray.domain.attempts import Directive, LaunchOrder, Outcome, ResumePoints, Seat
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.gangs import Member
from gaelp_ray.domain.ledger import Post, Settle, granted
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.platforms import DeliveryReport, Placement, Placements
from gaelp_ray.domain.windows import Period
from gaelp_ray.training.budget import Lease, booking, refusals
from gaelp_ray.training.checkpoints import Saved
from gaelp_ray.training.orders import Proposal, Ruling, Standing
from gaelp_ray.training.supervisor import Supervisor, Workplace
from tests.bank import MemoryBank, a_hold, a_settlement
from tests.builders import an_order

WORKDIR = str(Path(__file__).parent / "workdir")
PATIENCE_S = 60.0
ALONE = Member(0, Seat("node-1"), "127.0.0.1", 29500)


class FakeLink:
    """Remembers everything it is told, and says what the test wants said."""

    def __init__(
        self, *, grants: bool = True, budget_micros: int | None = None, members: Sequence[Member] = (ALONE,)
    ) -> None:
        self.grants = grants
        self.members = members
        self.idle_s: list[float] = []
        self.words: list[str] = []
        self.directive = Directive()
        self.claimed_from: list[int | None] = []
        self.points: list[MetricPoint] = []
        self.saved: list[tuple[int, Saved, dict[str, float]]] = []
        self.let_go: list[str] = []
        self.known = ResumePoints()
        self.resumed_at: list[tuple[int | None, str]] = []
        self.beats = 0
        self.refuses_checkpoints: Exception | None = None
        self.bank = MemoryBank({1: {Period.TOTAL: budget_micros}})
        #: What the gate says to the next orders, instead of asking the bank.
        self.verdicts: list[GaelpError] = []
        self.standings: list[Standing] = []
        self.reports: dict[str, DeliveryReport] = {}
        self.outcomes: list[Outcome] = []
        self._output = bytearray()
        self._changed = threading.Condition()

    @property
    def output(self) -> str:
        return self._output.decode()

    def claim(self, resumed_from_step: int | None) -> Sequence[Member] | None:
        self.claimed_from.append(resumed_from_step)
        return self.members if self.grants else None

    def beat(self) -> Directive:
        self.beats += 1
        return self.directive

    def resume_points(self) -> ResumePoints:
        return self.known

    def resumed(self, step: int | None, words: str) -> None:
        self.resumed_at.append((step, words))

    def save_checkpoint(
        self, step: int, saved: Saved, metrics: dict[str, float], points: list[MetricPoint]
    ) -> Sequence[str]:
        if self.refuses_checkpoints:
            raise self.refuses_checkpoints
        self.saved.append((step, saved, metrics))
        self.points_with_checkpoint = points
        return self.let_go

    def spend(self, amount_micros: int, key: str) -> None:
        hold = a_hold(key, amount=amount_micros)
        outcome, _ = self.bank.submit([hold, Post(key=f"post {key}", hold_key=key)])
        granted(outcome)

    def lend(self, asked: Sequence[Lease | Settle]) -> list[GaelpError | None]:
        requests = [booking(each, account_ids=(1,), currency="EUR") for each in asked]
        return refusals(self.bank.submit(requests))

    def admit(self, proposal: Proposal, standing: Standing) -> Ruling:
        self.standings.append(standing)
        if self.verdicts:
            raise self.verdicts.pop(0)
        key = f"job 7 order {proposal.key}"
        granted(self.bank.ask(a_hold(key, amount=proposal.amount_micros)))
        return Ruling(
            order_key=key,
            currency="EUR",
            amount_micros=proposal.amount_micros,
            bid_micros=proposal.bid_micros,
        )

    def placements(self, platform: str) -> Placements:
        orders = [
            Placement(order_key=key, number=said.number, spent_micros=said.cost_micros, final=said.final)
            if (said := self.reports.get(key)) is not None
            else Placement(order_key=key)
            for key in self.bank.book.holds
        ]
        return Placements(tuple(orders))

    def receive(self, reports: Sequence[DeliveryReport]) -> None:
        for report in reports:
            known = self.reports.get(report.order_key)
            if known is None or report.number > known.number:
                self.reports[report.order_key] = report
            if report.final:
                self.bank.ask(a_settlement(report.order_key, report.cost_micros))

    def log(self, start_byte: int, content: bytes) -> None:
        assert start_byte == len(self._output), "a piece of the log is missing or came twice"
        self._output += content

    def room(self) -> int:
        return 10_000

    def report(self, points: list[MetricPoint]) -> None:
        with self._changed:
            self.points += points
            self._changed.notify_all()

    def unstored(self) -> list[MetricPoint]:
        """As with a hub that is slow: nothing of what it was told is stored yet."""
        return list(self.points)

    def idle(self, seconds: float, words: str | None) -> None:
        self.idle_s.append(seconds)
        self.words += [words] if words is not None else []

    def notice(self, words: str) -> None:
        self.words.append(words)

    def finish(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def values(self, name: str) -> list[float]:
        return [point.values[name] for point in self.points if name in point.values]

    def wait_for(self, name: str) -> float:
        """The first value of a metric, once it was reported."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.values(name), PATIENCE_S), self.output
            return self.values(name)[0]


class Attempt:
    """A supervisor at work on a thread of its own."""

    def __init__(self, order: LaunchOrder, link: FakeLink, workplace: Workplace) -> None:
        self._outcome: Outcome | None = None
        self._supervisor = Supervisor(order, link, workplace)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._outcome = self._supervisor.run()

    def outcome(self) -> Outcome:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the attempt does not end"
        assert self._outcome is not None
        return self._outcome


#: Starts an attempt of an entry point in the working folder.
Start = Callable[..., Attempt]


def supervise_for_ever(scratch: Path) -> None:
    """Print the number of a training process and keep it running."""

    class Printing(FakeLink):
        def report(self, points: list[MetricPoint]) -> None:
            for point in points:
                print(int(point.values["pid"]), flush=True)

    order = an_order("jobs:wait_for_ever", working_dir=WORKDIR)
    place: dict[str, Any] = {"storage_uri": str(scratch), "scratch": scratch}
    Supervisor(order, Printing(), Workplace(**place, log_limit_bytes=10_000, secrets={})).run()


if __name__ == "__main__":
    supervise_for_ever(Path(sys.argv[1]))
