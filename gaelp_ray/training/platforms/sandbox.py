"""A platform that behaves badly on purpose, in ways that real ones do, and the same way for the same seed.

It reports late, twice and in the wrong order, delivers more than it was told and after it was stopped, and
does not answer at times, in part after having done what it was asked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import fsspec

from gaelp_ray.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from gaelp_ray.domain.platforms import DeliveryReport, Order

NAME = "sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How badly it behaves; all zero is a platform as it is in its own documents."""

    #: The longest that a report is kept back.
    max_delay: timedelta = timedelta(hours=6)
    #: Up to so many percent more is delivered than was ordered.
    over_delivery_percent: int = 10
    #: How often a report comes twice, a call fails, and the reports of a call are shuffled, in percent.
    duplicates_percent: int = 20
    outage_percent: int = 10
    shuffle_percent: int = 50

    def __post_init__(self) -> None:
        names = ("over_delivery_percent", "duplicates_percent", "outage_percent", "shuffle_percent")
        if any(not 0 <= getattr(self, name) <= 100 for name in names) or self.max_delay < timedelta(0):
            raise InvalidInput("Manners are percents from 0 to 100, and a delay that is not negative.")


GOOD = Manners(
    max_delay=timedelta(0),
    over_delivery_percent=0,
    duplicates_percent=0,
    outage_percent=0,
    shuffle_percent=0,
)


@dataclass
class _Delivery:
    order: Order
    placed_at: datetime
    #: What it will have cost in the end, past what was ordered perhaps.
    will_cost: int
    stopped_at: datetime | None = None
    number: int = 0
    reported: int = -1
    done: bool = False


@dataclass
class SandboxPlatform:
    """Delivers each order evenly over ``lasts``; reports its costs at each call of ``reports``."""

    seed: int
    manners: Manners = field(default_factory=Manners)
    name: str = NAME
    lasts: timedelta = timedelta(hours=1)
    #: What it still delivers after it was told to stop.
    runs_on: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        self._random = Random(self.seed)  # noqa: S311 - chance to be repeated, not to be kept secret
        self._deliveries: dict[str, _Delivery] = {}
        self._kept_back: list[tuple[datetime, DeliveryReport]] = []

    def place(self, order: Order, *, now: datetime) -> None:
        """As the port says; an outage may come before the order is taken, or after."""
        lost_answer = self._outage("place")
        known = self._deliveries.get(order.key)
        if known is not None and known.order != order:
            raise Conflict(f"Order {order.key!r} was placed before, and was another.")
        if known is None:
            most = order.amount_micros * self.manners.over_delivery_percent // 100
            will_cost = order.amount_micros + self._random.randint(0, most)
            self._deliveries[order.key] = _Delivery(order, now, will_cost)
        self._answer(lost_answer, "place")

    def stop(self, order_key: str, *, now: datetime) -> None:
        lost_answer = self._outage("stop")
        delivery = self._deliveries.get(order_key)
        if delivery is None:
            raise NotFound(f"There is no order {order_key!r}.")
        delivery.stopped_at = delivery.stopped_at or now
        self._answer(lost_answer, "stop")

    def reports(self, *, now: datetime) -> list[DeliveryReport]:
        self._answer(self._outage("reports"), "reports")
        for delivery in self._deliveries.values():
            self._note(delivery, now)
        due = [report for ready_at, report in self._kept_back if ready_at <= now]
        self._kept_back = [each for each in self._kept_back if each[0] > now]
        due += [report for report in due if self._happens(self.manners.duplicates_percent)]
        if self._happens(self.manners.shuffle_percent):
            self._random.shuffle(due)
        return due

    def cost(self, order_key: str, *, now: datetime) -> int:
        """What an order really has cost by now, which no report may say yet."""
        delivery = self._deliveries[order_key]
        ends_at = delivery.placed_at + self.lasts
        if delivery.stopped_at is not None:
            ends_at = min(ends_at, delivery.stopped_at + self.runs_on)
        run = max(timedelta(0), min(now, ends_at) - delivery.placed_at)
        return delivery.will_cost * (run // _MICROSECOND) // (self.lasts // _MICROSECOND)

    @property
    def is_silent(self) -> bool:
        """It has nothing more to say of any order."""
        return not self._kept_back and all(each.done for each in self._deliveries.values())

    def memory(self) -> dict[str, Any]:
        """All it knows, as JSON can hold it."""
        version, numbers, gauss = self._random.getstate()
        return {
            "random": [version, list(numbers), gauss],
            "deliveries": [_plain(each) for each in self._deliveries.values()],
            "kept_back": [[ready_at.isoformat(), _plain(report)] for ready_at, report in self._kept_back],
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what ``memory`` gave; what it had said of an order may be lost, so it says it again."""
        version, numbers, gauss = memory["random"]
        self._random.setstate((version, tuple(numbers), gauss))
        for each in memory["deliveries"]:
            order = Order(**each["order"] | {"categories": tuple(each["order"]["categories"])})
            kept = _Delivery(**_timed(each, "placed_at", "stopped_at") | {"order": order})
            kept.reported, kept.done = -1, False
            self._deliveries[order.key] = kept
        self._kept_back = [
            (datetime.fromisoformat(ready_at), DeliveryReport(**_timed(report, "reported_at")))
            for ready_at, report in memory["kept_back"]
        ]

    def _note(self, delivery: _Delivery, now: datetime) -> None:
        cost = self.cost(delivery.order.key, now=now)
        stopped = delivery.stopped_at is not None and now >= delivery.stopped_at + self.runs_on
        final = stopped or now >= delivery.placed_at + self.lasts
        if delivery.done or (cost == delivery.reported and not final):
            return
        delivery.number, delivery.reported, delivery.done = delivery.number + 1, cost, final
        delay = self._random.random() * self.manners.max_delay
        self._kept_back.append((now + delay, self._report(delivery, now)))

    def _report(self, delivery: _Delivery, now: datetime) -> DeliveryReport:
        return DeliveryReport(
            platform=self.name,
            order_key=delivery.order.key,
            number=delivery.number,
            campaign=delivery.order.campaign,
            currency=delivery.order.currency,
            cost_micros=delivery.reported,
            final=delivery.done,
            reported_at=now,
        )

    def _outage(self, call: str) -> bool:
        """Raise before anything is done, or say that the answer will be lost after it was."""
        if not self._happens(self.manners.outage_percent):
            return False
        if self._happens(50):
            raise Unavailable(f"{self.name} does not answer to {call!r}; try again.")
        return True

    def _answer(self, lost: bool, call: str) -> None:
        if lost:
            raise Unavailable(f"{self.name} did not answer to {call!r} in time; try again.")

    def _happens(self, percent: int) -> bool:
        return self._random.randrange(100) < percent


_MICROSECOND = timedelta(microseconds=1)


@dataclass
class LastingSandbox(SandboxPlatform):
    """A sandbox that outlives its process: all it knows is in a file before it answers."""

    uri: str = ""

    @classmethod
    def at(cls, uri: str, **options: Any) -> LastingSandbox:
        """The sandbox of a file, new where there is none.

        ``options`` are its ``seed``, ``lasts_s``, ``runs_on_s``, ``max_delay_s`` and the percents of
        ``Manners``; raises ``InvalidInput`` for others.
        """
        platform = cls(uri=uri, **_read(options))
        fs, path = fsspec.core.url_to_fs(uri)
        if fs.exists(path):
            platform.recall(json.loads(fs.cat_file(path)))
        return platform

    def place(self, order: Order, *, now: datetime) -> None:
        with self._saving():
            super().place(order, now=now)

    def stop(self, order_key: str, *, now: datetime) -> None:
        with self._saving():
            super().stop(order_key, now=now)

    def reports(self, *, now: datetime) -> list[DeliveryReport]:
        with self._saving():
            return super().reports(now=now)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Save whatever happens: an answer that is lost was preceded by the deed."""
        try:
            yield
        finally:
            fs, path = fsspec.core.url_to_fs(self.uri)
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            fs.pipe_file(f"{path}.part", json.dumps(self.memory()).encode())
            fs.mv(f"{path}.part", path)


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a sandbox from a job's options."""
    known = {"seed", *_SECONDS, *_PERCENTS}
    for name, value in options.items():
        if name not in known:
            raise InvalidInput(f"A sandbox has no {name!r:.60}; it has {', '.join(sorted(known))}.")
        number = type(value) is int or (name in _SECONDS and type(value) is float and math.isfinite(value))
        if not number or value < 0:
            raise InvalidInput(f"`platform.{name}` must be a number that is not negative; got {value!r:.60}.")
    lengths = {field: timedelta(seconds=options[name]) for name, field in _SECONDS.items() if name in options}
    if lengths.get("lasts") == timedelta(0):
        raise InvalidInput("`platform.lasts_s` must be above 0.")
    percents = {name: options[name] for name in _PERCENTS if name in options}
    manners = Manners(**percents)
    if "max_delay" in lengths:
        manners = replace(manners, max_delay=lengths.pop("max_delay"))
    return {"seed": options["seed"], "manners": manners, **lengths}


_SECONDS = {"lasts_s": "lasts", "runs_on_s": "runs_on", "max_delay_s": "max_delay"}
_PERCENTS = ("over_delivery_percent", "duplicates_percent", "outage_percent", "shuffle_percent")


def _plain(record: _Delivery | DeliveryReport) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }


def _timed(record: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """With times where JSON has texts."""
    times = {name: record[name] and datetime.fromisoformat(record[name]) for name in names}
    return {**record, **times}
