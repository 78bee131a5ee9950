"""What budgets leave for compute, as a plan sees it and uses it up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gaelp_ray.domain.costs import SHARES, Terms
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.ledger import Scope
from gaelp_ray.domain.money import written
from gaelp_ray.domain.scheduling.decisions import Blocked, WaitCode
from gaelp_ray.domain.scheduling.queue import QueuedJob
from gaelp_ray.domain.windows import Period

Payer = tuple[Scope, str]


def payers(owner: str, team: str | None) -> tuple[Payer, ...]:
    """Whose budgets pay for a user's compute."""
    shared: tuple[Payer, ...] = ((Scope.TEAM, team),) if team is not None else ()
    return ((Scope.USER, owner), *shared, (Scope.GLOBAL, ""))


@dataclass(frozen=True, slots=True)
class Fund:
    """A limited budget, in the window that has the least left."""

    left_micros: int
    limit_micros: int
    period: Period

    def sentence(self, payer: Payer, left_micros: int | None = None) -> str:
        """How much is left of it, for people; ``left_micros`` where some of that is spoken for."""
        whose = f"{payer[0]} {payer[1]}".rstrip()
        left = self.left_micros if left_micros is None else left_micros
        period = "in all" if self.period is Period.TOTAL else f"of this {self.period}"
        return f"the budget of {whose} has {written(left)} of {written(self.limit_micros)} {period} left"


@dataclass(frozen=True)
class Funds:
    """Without terms everything is free, as in a replay."""

    terms: Terms | None = None
    #: Budgets with a limit only; whoever has none here is not limited.
    limited: Mapping[Payer, Fund] = field(default_factory=dict)

    def short_of(self, micros: int, owner: str, team: str | None) -> str | None:
        """Which budget of a user's cannot pay so much, as a sentence; None if all can."""
        for payer in payers(owner, team):
            fund = self.limited.get(payer)
            if fund is not None and fund.left_micros < micros:
                return fund.sentence(payer)
        return None


class Purse:
    """What is left while a plan is made."""

    def __init__(self, funds: Funds) -> None:
        self._funds = funds
        self._left = {payer: fund.left_micros for payer, fund in funds.limited.items()}
        self._hours: dict[str, int | Blocked] = {}

    def refuses(self, job: QueuedJob) -> Blocked | None:
        """Why a job's running time cannot be paid for; None if its shortest slice can."""
        if self._funds.terms is None:
            return None
        hour = self._hour(job)
        if isinstance(hour, Blocked):
            return hour
        needed = self._slice(hour, SHARES[-1])
        for payer in self._payers(job) if self._left else ():
            if self._left[payer] < needed:
                return self._refusal(payer, needed)
        return None

    def take(self, job: QueuedJob) -> int:
        """Pay for a job's first slice, as long a one as there is money for; returns the share it is."""
        hour = self._hour(job) if self._left else 0
        if self._funds.terms is None or isinstance(hour, Blocked):
            return 1
        bound = list(self._payers(job)) if self._left else []
        left = min((self._left[payer] for payer in bound), default=None)
        share = next((n for n in SHARES if left is None or self._slice(hour, n) <= left), SHARES[-1])
        for payer in bound:
            self._left[payer] -= self._slice(hour, share)
        return share

    def _payers(self, job: QueuedJob) -> Iterator[Payer]:
        return (payer for payer in payers(job.owner, job.team) if payer in self._left)

    def _hour(self, job: QueuedJob) -> int | Blocked:
        hour = self._hours.get(job.request.key)
        if hour is None:
            assert self._funds.terms is not None
            try:
                hour = self._funds.terms.prices.most_per_hour(job.request)
            except InvalidInput as error:
                hour = Blocked(WaitCode.BUDGET_UNVERIFIABLE, error.message)
            self._hours[job.request.key] = hour
        return hour

    def _slice(self, hour: int, share: int) -> int:
        assert self._funds.terms is not None
        return self._funds.terms.slice_micros(hour, share)

    def _refusal(self, payer: Payer, needed: int) -> Blocked:
        words = self._funds.limited[payer].sentence(payer, self._left[payer])
        return Blocked(
            WaitCode.BUDGET_EXCEEDED,
            f"{words[0].upper()}{words[1:]}, and the least that it takes to begin is {written(needed)}.",
        )
