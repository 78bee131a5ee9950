"""Rules that bound how much and how fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.money import whole_micros, written
from gaelp_ray.domain.safety.verdicts import Action, Finding, Measured, Severity, is_whole, unmeasured
from gaelp_ray.domain.windows import Period


@dataclass(frozen=True, slots=True, kw_only=True)
class BidCap:
    """No bid above."""

    kind: ClassVar[str] = "bid_cap"
    max_micros: int
    on_breach: Severity = Severity.CLIP

    def __post_init__(self) -> None:
        whole_micros(self.max_micros, field="max_micros")

    def judge(self, action: Action, _measured: Measured) -> Finding | None:
        if action.bid_micros is None or action.bid_micros <= self.max_micros:
            return None
        message = f"A bid of {written(action.bid_micros)} is above the cap of {written(self.max_micros)}."
        return Finding("bid_cap", message, self.on_breach, max_bid_micros=self.max_micros)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCap:
    """No single action may cost more, with its margin."""

    kind: ClassVar[str] = "action_cap"
    max_micros: int
    on_breach: Severity = Severity.CLIP

    def __post_init__(self) -> None:
        whole_micros(self.max_micros, field="max_micros")

    def judge(self, action: Action, measured: Measured) -> Finding | None:
        return _over(self.kind, action, measured, self.max_micros, self.on_breach, "one action")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendCap:
    """No more in each window of a period."""

    kind: ClassVar[str] = "spend_cap"
    period: Period
    max_micros: int
    on_breach: Severity = Severity.DENY

    def __post_init__(self) -> None:
        whole_micros(self.max_micros, field="max_micros")

    def judge(self, action: Action, measured: Measured) -> Finding | None:
        spent = measured.spent_micros.get(self.period)
        if spent is None or not is_whole(spent):
            return unmeasured(self.kind, f"what was spent this {self.period}")
        return _over(
            self.kind, action, measured, self.max_micros - spent, self.on_breach, f"the {self.period}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Velocity:
    """No more in any 60 minutes."""

    kind: ClassVar[str] = "velocity"
    max_micros_per_hour: int
    on_breach: Severity = Severity.DENY

    def __post_init__(self) -> None:
        whole_micros(self.max_micros_per_hour, field="max_micros_per_hour")

    def judge(self, action: Action, measured: Measured) -> Finding | None:
        spent = measured.last_hour_micros
        if spent is None or not is_whole(spent):
            return unmeasured(self.kind, "what was spent in the last hour")
        room = self.max_micros_per_hour - spent
        return _over(self.kind, action, measured, room, self.on_breach, "the last hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceleration:
    """No more in an hour than so many percent of the hour before."""

    kind: ClassVar[str] = "acceleration"
    max_percent: int
    #: An hour before that spent less counts as this much, so that an agent can begin at all.
    floor_micros: int
    on_breach: Severity = Severity.DENY

    def __post_init__(self) -> None:
        if not is_whole(self.max_percent) or not 1 <= self.max_percent <= 100_000:
            raise InvalidInput("`max_percent` must be a whole number from 1 to 100000.")
        whole_micros(self.floor_micros, field="floor_micros")

    def judge(self, action: Action, measured: Measured) -> Finding | None:
        spent, before = measured.last_hour_micros, measured.hour_before_micros
        if spent is None or before is None or not (is_whole(spent) and is_whole(before)):
            return unmeasured(self.kind, "what was spent in the last two hours")
        room = max(before, self.floor_micros) * self.max_percent // 100 - spent
        return _over(
            self.kind, action, measured, room, self.on_breach, "this hour, measured by the one before"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAbove:
    """An action that costs more, with its margin, needs an approval that covers it."""

    kind: ClassVar[str] = "approval_above"
    amount_micros: int
    people: int = 2

    def __post_init__(self) -> None:
        whole_micros(self.amount_micros)
        if not is_whole(self.people) or not 1 <= self.people <= 10:
            raise InvalidInput("`people` must be a whole number from 1 to 10.")

    def judge(self, action: Action, measured: Measured) -> Finding | None:
        approved = measured.approved_micros if is_whole(measured.approved_micros) else 0
        whole = measured.whole_micros(action)
        if whole <= max(self.amount_micros, approved):
            return None
        message = (
            f"{written(whole)} are above {written(self.amount_micros)}, so {self.people} "
            "people must approve first."
        )
        return Finding("approval_required", message, Severity.DENY)


def _over(
    kind: str, action: Action, measured: Measured, room: int, on_breach: Severity, where: str
) -> Finding | None:
    whole = measured.whole_micros(action)
    if whole <= room:
        return None
    message = f"{written(whole)} are more than the {written(max(0, room))} left of {where}."
    # What is held on top stays as it is, so that much less is left for the action.
    most = room - (whole - action.amount_micros)
    if on_breach is Severity.CLIP and most <= 0:
        return Finding(kind, message, Severity.DENY)
    return Finding(kind, message, on_breach, max_amount_micros=most)
