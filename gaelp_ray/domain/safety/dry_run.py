"""What a policy would have done, had it been there."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gaelp_ray.domain.safety.policies import Policy
from gaelp_ray.domain.safety.review import review
from gaelp_ray.domain.safety.verdicts import Action, Allow, Clip, Measured, Verdict
from gaelp_ray.domain.windows import Period, window

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An action of the past, with what was measured when it was asked for."""

    at: datetime
    action: Action
    measured: Measured


@dataclass(frozen=True, slots=True)
class Replayed:
    recorded: Recorded
    verdict: Verdict


def replay(
    policies: Sequence[Policy], history: Iterable[Recorded], *, timezone: str = "UTC"
) -> list[Replayed]:
    """Review recorded actions, oldest first, as if these policies had ruled.

    What was spent is counted anew from what the policies would have let through. All else that was measured
    is taken as recorded: nobody knows what the agent would have earned otherwise. A halt does not end the
    replay, so that all it would have met is shown.
    """
    spending = _Spending(timezone)
    replayed = []
    for recorded in sorted(history, key=lambda each: each.at):
        measured = spending.measured(recorded)
        verdict = review(recorded.action, policies, measured, recorded.at)
        if isinstance(verdict, Allow | Clip):
            spending.add(recorded.at, measured.whole_micros(verdict.action))
        replayed.append(Replayed(recorded, verdict))
    return replayed


class _Spending:
    def __init__(self, timezone: str) -> None:
        self._timezone = timezone
        self._sums: dict[tuple[Period, datetime], int] = {}
        self._recent: deque[tuple[datetime, int]] = deque()

    def add(self, at: datetime, micros: int) -> None:
        self._recent.append((at, micros))
        for period in Period:
            key = self._key(period, at)
            self._sums[key] = self._sums.get(key, 0) + micros

    def measured(self, recorded: Recorded) -> Measured:
        now = recorded.at
        while self._recent and self._recent[0][0] <= now - 2 * _HOUR:
            self._recent.popleft()
        last = sum(micros for at, micros in self._recent if at > now - _HOUR)
        return replace(
            recorded.measured,
            spent_micros={period: self._sums.get(self._key(period, now), 0) for period in Period},
            last_hour_micros=last,
            hour_before_micros=sum(micros for _, micros in self._recent) - last,
        )

    def _key(self, period: Period, at: datetime) -> tuple[Period, datetime]:
        return period, window(period, self._timezone, at).starts_at
