"""The desk between a job and an ad platform: it places what was admitted, and carries the reports home.

It works in the supervisor. What a job can do with a platform is what this can do, and every order has passed
the gate. Nothing it knows is needed twice: the service remembers what was admitted and what was reported.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from gaelp_ray.domain.errors import InvalidInput, NotFound, Unavailable
from gaelp_ray.domain.platforms import DeliveryReport, Order, Placements
from gaelp_ray.training.budget import MAX_JOB_KEY, check_job_key
from gaelp_ray.training.orders import Delivery, Placed, Proposal, Ruling, Standing, order_prefix, spelled
from gaelp_ray.training.platforms.port import AdPlatform

#: Between two calls of a platform that does not answer, growing to the second.
FIRST_PAUSE_S, PAUSE_S = 0.05, 1.0
#: How long a platform that does not answer may hold up the end of an attempt.
CLOSING_S = 5.0
#: Values and metrics that are kept for rules that look at the past of an agent.
SERIES_LENGTH, SERIES_COUNT = 64, 8


class Gate(Protocol):
    """The service, as far as orders need it: see ``Link``."""

    def admit(self, proposal: Proposal, standing: Standing) -> Ruling: ...

    def placements(self, platform: str) -> Placements: ...

    def receive(self, reports: Sequence[DeliveryReport]) -> None: ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class Desk:
    """Orders of one job on one platform. Safe to use from several threads."""

    def __init__(
        self,
        gate: Gate,
        platform: AdPlatform,
        *,
        job_id: int,
        agent_id: int,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._gate, self._platform, self._now = gate, platform, now
        self._prefix = order_prefix(job_id)
        self._campaign = f"agent-{agent_id}"
        self._known: dict[str, Delivery] = {}
        self._numbers: dict[str, int] = {}
        self._unread: dict[str, Delivery] = {}
        self._series: dict[str, deque[float]] = {}
        self._peak: int | None = None
        self._lock = threading.Lock()
        #: A platform is asked one thing at a time.
        self._counter = threading.Lock()
        self._closing = threading.Event()

    def open(self) -> None:
        """Learn what was ordered before: the job may have been here."""
        found = self._gate.placements(self._platform.name)
        self._peak = found.peak_profit_micros
        for each in found.orders:
            key = each.order_key.removeprefix(self._prefix)
            self._known[key] = Delivery(key=key, spent_micros=each.spent_micros, final=each.final)
            self._numbers[key] = each.number
            if each.number:
                self._unread[key] = self._known[key]

    def note(self, metrics: Mapping[str, float]) -> None:
        """Keep what the job reports of itself, for rules that watch it."""
        with self._lock:
            for name, value in metrics.items():
                if name in self._series or len(self._series) < SERIES_COUNT:
                    self._series.setdefault(name, deque(maxlen=SERIES_LENGTH)).append(value)

    def place(self, proposal: Proposal, profit_micros: int | None) -> Placed:
        """Have an order admitted and placed; raises what refuses it.

        Raises ``Unavailable`` when the platform has not answered by the time the desk closes: it may have the
        order or not, so the money stays held.
        """
        check_job_key(proposal.key)
        _check_campaign(proposal.campaign)
        proposal = spelled(proposal)
        ruling = self._gate.admit(proposal, self._standing(profit_micros))
        order = Order(
            key=ruling.order_key,
            campaign=proposal.campaign or self._campaign,
            currency=ruling.currency,
            amount_micros=ruling.amount_micros,
            # Who names no bid pays any price for one click, and never more than the whole.
            bid_micros=ruling.bid_micros or ruling.amount_micros,
            region=proposal.region,
            categories=proposal.categories,
        )
        with self._lock:
            self._known.setdefault(proposal.key, Delivery(key=proposal.key, spent_micros=0, final=False))
        self._insist(lambda: self._platform.place(order, now=self._now()))
        return Placed(
            key=proposal.key,
            amount_micros=ruling.amount_micros,
            bid_micros=ruling.bid_micros,
            reasons=ruling.reasons,
        )

    def stop(self, key: str) -> None:
        """Raises ``NotFound`` for what the platform does not know."""
        self._insist(lambda: self._platform.stop(self._prefix + key, now=self._now()))

    def deliveries(self) -> list[Delivery]:
        """Orders with news that nobody has read yet."""
        with self._lock:
            unread, self._unread = self._unread, {}
        return list(unread.values())

    def poll(self) -> None:
        """Fetch reports and hand them on; a platform that does not answer is asked again next time."""
        try:
            with self._counter:
                found = self._platform.reports(now=self._now())
        except Unavailable:
            return
        own = [report for report in found if report.order_key.startswith(self._prefix)]
        if not own:
            return
        self._gate.receive(own)
        with self._lock:
            for report in own:
                self._take_in(report)

    def abandon(self) -> None:
        """Let whoever waits for the platform go."""
        self._closing.set()

    def close(self) -> None:
        """Stop what still runs, and take in what is known of it by now.

        What is not final stays held: it may still cost something. Its last report settles it, whoever brings
        that.
        """
        self.abandon()
        until = time.monotonic() + CLOSING_S
        with self._lock:
            running = [key for key, delivery in self._known.items() if not delivery.final]
        for key in running:
            self._try_to_stop(key, until)
        self.poll()

    def _try_to_stop(self, key: str, until: float) -> None:
        while time.monotonic() < until:
            try:
                with self._counter:
                    self._platform.stop(self._prefix + key, now=self._now())
            except NotFound:
                return
            except Unavailable:
                time.sleep(FIRST_PAUSE_S)
            else:
                return

    def _insist(self, call: Callable[[], None]) -> None:
        """Repeat a call until it is answered: keys make that harmless.

        Once the desk closes nothing begins any more, for nobody would watch over it.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                with self._counter:
                    if self._closing.is_set():
                        raise Unavailable("The attempt has ended; nothing more is asked of the platform.")
                    call()
            except Unavailable:
                if self._closing.wait(pause_s):
                    raise
                pause_s = min(PAUSE_S, 2 * pause_s)
            else:
                return

    def _standing(self, profit_micros: int | None) -> Standing:
        with self._lock:
            if type(profit_micros) is int:
                self._peak = profit_micros if self._peak is None else max(self._peak, profit_micros)
            series = {name: tuple(values) for name, values in self._series.items()}
        return Standing(profit_micros=profit_micros, peak_profit_micros=self._peak, series=series)

    def _take_in(self, report: DeliveryReport) -> None:
        """The report with the highest number counts, in whatever order they come."""
        key = report.order_key.removeprefix(self._prefix)
        if report.number <= self._numbers.get(key, 0):
            return
        self._numbers[key] = report.number
        news = Delivery(key=key, spent_micros=report.cost_micros, final=report.final)
        if news != self._known.get(key):
            self._known[key] = self._unread[key] = news


def _check_campaign(name: object) -> None:
    if not isinstance(name, str) or len(name) > MAX_JOB_KEY or (name and not name.isprintable()):
        raise InvalidInput(
            f"`campaign` must be a text of at most {MAX_JOB_KEY} printable characters; got {str(name)[:60]!r}"
        )
