"""Quotas: what a user or team may hold of the cluster at once, borrowed among the members of a team.

The model is Kueue's cohort (https://kueue.sigs.k8s.io, "Cluster Queue"): each member of a team has a nominal
quota; over it he borrows what others leave unused, as far as his ``borrowing`` and their ``lending`` limits
allow. Usage is the sum of claims, computed anew for each decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Final

from gaelp_ray.domain import names
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.resources import MILLI, Resources, parse_quantity, read_amount

#: No limit. A number, so that sums and comparisons need no special case.
UNLIMITED: Final = 2**62


class QuotaKind(StrEnum):
    USER = "user"
    TEAM = "team"


#: The quota of every user who has none of his own.
DEFAULT_USER = "*"

FIELDS: Final = ("cpu", "memory", "gpu", "storage", "jobs")


@dataclass(frozen=True, slots=True)
class Amounts:
    """So much of everything that quotas count. Differences may be negative, limits may be ``UNLIMITED``."""

    #: Thousandths.
    cpu: int = 0
    #: Bytes.
    memory: int = 0
    #: Thousandths.
    gpu: int = 0
    #: Bytes.
    storage: int = 0
    #: Live at once.
    jobs: int = 0

    @staticmethod
    def of(resources: Resources, jobs: int = 1) -> Amounts:
        return Amounts(
            resources.cpu_milli, resources.memory_bytes, resources.gpu_milli, resources.storage_bytes, jobs
        )

    @staticmethod
    def all(value: int) -> Amounts:
        return Amounts(value, value, value, value, value)

    def values(self) -> tuple[int, int, int, int, int]:
        return self.cpu, self.memory, self.gpu, self.storage, self.jobs

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.cpu + other.cpu,
            self.memory + other.memory,
            self.gpu + other.gpu,
            self.storage + other.storage,
            self.jobs + other.jobs,
        )

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.cpu - other.cpu,
            self.memory - other.memory,
            self.gpu - other.gpu,
            self.storage - other.storage,
            self.jobs - other.jobs,
        )

    def at_least(self, floor: int = 0) -> Amounts:
        return Amounts(*(max(floor, a) for a in self.values()))

    def capped(self, cap: Amounts) -> Amounts:
        return Amounts(*(min(a, b) for a, b in zip(self.values(), cap.values(), strict=True)))

    def first_over(self, limit: Amounts) -> str | None:
        """The first field that exceeds the limit."""
        for name, amount, most in zip(FIELDS, self.values(), limit.values(), strict=True):
            if amount > most:
                return name
        return None

    def get(self, name: str) -> int:
        return self.values()[FIELDS.index(name)]


NOTHING: Final = Amounts()
EVERYTHING: Final = Amounts.all(UNLIMITED)


@dataclass(frozen=True)
class Quota:
    """Limits of one user or team."""

    kind: QuotaKind
    name: str
    #: Of a team: what its members may hold together. Of a user: his own, which no teammate can keep from him.
    limit: Amounts = EVERYTHING
    #: A user's team; None for a team or a user without one.
    team: str | None = None
    #: How much over his own limit a user may borrow from teammates.
    borrowing: Amounts = EVERYTHING
    #: How much of his own limit teammates may borrow while he leaves it unused.
    lending: Amounts = EVERYTHING
    #: A user of weight 2 is due twice the share of one of weight 1.
    weight: float = 1.0
    #: Jobs that may wait in all.
    queued: int = UNLIMITED


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an amount does not fit."""

    #: What there is too little of: cpu, memory, gpu, storage or jobs.
    field: str
    #: Whose quota it is: ``user ann`` or ``team ads``.
    whose: str
    used: int
    asked: int
    limit: int
    #: The amount could fit if teammates gave back what they borrowed.
    reclaimable: bool = False

    def sentence(self) -> str:
        return (
            f"The quota of {self.whose} allows {shown(self.field, self.limit)} {self.field}, of which "
            f"{shown(self.field, self.used)} is in use; this needs {shown(self.field, self.asked)} more."
        )


@dataclass(frozen=True)
class _Team:
    """A team's members, with sums that may pass ``UNLIMITED`` so that one of them can be taken out again."""

    members: tuple[Quota, ...]
    #: Their own limits.
    pool: Amounts
    #: What each would lend of it while he uses none.
    lendable: Amounts

    @staticmethod
    def of(members: Sequence[Quota]) -> _Team:
        limits = [member.limit for member in members]
        lent = [min_of(member.limit, member.lending) for member in members]
        return _Team(tuple(members), sum(limits, NOTHING), sum(lent, NOTHING))


@dataclass(frozen=True)
class QuotaBook:
    """Every quota in force."""

    quotas: Mapping[tuple[QuotaKind, str], Quota] = field(default_factory=dict)

    @staticmethod
    def of(quotas: Iterable[Quota]) -> QuotaBook:
        return QuotaBook({(quota.kind, quota.name): quota for quota in quotas})

    def user(self, name: str) -> Quota:
        own = self.quotas.get((QuotaKind.USER, name))
        return own or self.quotas.get((QuotaKind.USER, DEFAULT_USER)) or Quota(QuotaKind.USER, name)

    def team(self, name: str) -> Quota:
        return self.quotas.get((QuotaKind.TEAM, name)) or Quota(QuotaKind.TEAM, name)

    def team_of(self, user: str) -> str | None:
        return self.user(user).team

    def members(self, team: str) -> Sequence[Quota]:
        return self._teams[team].members if team in self._teams else ()

    def pool(self, team: str) -> Amounts:
        """What the members of a team may hold together by their own limits."""
        return self._teams[team].pool.capped(EVERYTHING) if team in self._teams else NOTHING

    @cached_property
    def _teams(self) -> Mapping[str, _Team]:
        members: dict[str, list[Quota]] = {}
        for (kind, name), quota in self.quotas.items():
            if kind is QuotaKind.USER and quota.team is not None and name != DEFAULT_USER:
                members.setdefault(quota.team, []).append(quota)
        return {team: _Team.of(quotas) for team, quotas in members.items()}

    def weight(self, user: str) -> float:
        quota = self.user(user)
        return quota.weight * (self.team(quota.team).weight if quota.team else 1.0)

    def most_ever(self, user: str) -> tuple[Amounts, str]:
        """The most a user could hold with everything else idle, and whose limit that is."""
        quota = self.user(user)
        whose = f"user {user}"
        if quota.team is None:
            return quota.limit, whose
        team = self._teams.get(quota.team)
        lent = team.lendable if team else NOTHING
        if (QuotaKind.USER, user) in self.quotas:
            lent -= min_of(quota.limit, quota.lending)
        most = (quota.limit + min_of(quota.borrowing, lent)).capped(EVERYTHING)
        together = self.team(quota.team).limit
        return most.capped(together), whose if most.first_over(together) is None else f"team {quota.team}"

    def never_fits(self, user: str, asked: Amounts) -> Verdict | None:
        """Why an amount could not be granted even to a user who holds nothing, on an idle cluster."""
        most, whose = self.most_ever(user)
        over = asked.first_over(most)
        return Verdict(over, whose, 0, asked.get(over), most.get(over)) if over else None


def check_quota(quota: Quota) -> Quota:
    """The quota with its names in canonical form; raises ``InvalidInput`` for one that means nothing."""
    if quota.kind is QuotaKind.TEAM and quota.team is not None:
        raise InvalidInput("A team's quota has no `team`; teams are not nested.")
    if quota.name == DEFAULT_USER and quota.team is not None:
        raise InvalidInput("The default quota has no `team`; give each member a quota of his own.")
    if quota.kind is QuotaKind.TEAM and quota.name == DEFAULT_USER:
        raise InvalidInput("'*' is every user without a quota of his own; a team needs a name.")
    if not 0 < quota.weight < float("inf"):
        raise InvalidInput(f"`weight` must be above 0; got {quota.weight}.")
    if quota.queued < 0:
        raise InvalidInput(f"`queued` must be 0 or more; got {quota.queued}.")
    team = None if quota.team is None else names.team(quota.team)
    return replace(quota, name=read_name(quota.kind, quota.name), team=team)


def read_name(kind: QuotaKind, name: str) -> str:
    """Whose quota it is, in the one form in which it is kept."""
    if name == DEFAULT_USER and kind is QuotaKind.USER:
        return name
    return names.team(name, field="name") if kind is QuotaKind.TEAM else names.bearer(name, field="name")


class Usage:
    """What users hold now, and whether they may hold more. Grows as a plan is made."""

    def __init__(self, book: QuotaBook, held: Mapping[str, Amounts] | None = None) -> None:
        self._book = book
        self._held: dict[str, Amounts] = {}
        self._teams: dict[str, Amounts] = {}
        #: Over each team's members: what they hold over their own limits, and what they could still lend.
        self._borrowed: dict[str, Amounts] = {}
        self._idle: dict[str, Amounts] = {}
        for (kind, name), quota in book.quotas.items():
            if kind is QuotaKind.USER and quota.team and name != DEFAULT_USER:
                idle = self._idle.get(quota.team, NOTHING)
                self._idle[quota.team] = idle + self._lendable(name, NOTHING)
        for user, amount in (held or {}).items():
            self.add(user, amount)

    def of(self, user: str) -> Amounts:
        return self._held.get(user, NOTHING)

    def of_team(self, team: str) -> Amounts:
        return self._teams.get(team, NOTHING)

    def add(self, user: str, amount: Amounts) -> None:
        before, after = self.of(user), self.of(user) + amount
        self._held[user] = after
        team = self._book.team_of(user)
        if team is None:
            return
        self._teams[team] = self.of_team(team) + amount
        more = self._loan(user, after) - self._loan(user, before)
        self._borrowed[team] = self._borrowed.get(team, NOTHING) + more
        less = self._lendable(user, before) - self._lendable(user, after)
        self._idle[team] = self._idle.get(team, NOTHING) - less

    def remove(self, user: str, amount: Amounts) -> None:
        self.add(user, NOTHING - amount)

    def borrows(self, user: str) -> bool:
        """Whether he holds more than his own limit of anything."""
        return self.of(user).first_over(self._book.user(user).limit) is not None

    def refuses(self, user: str, asked: Amounts) -> Verdict | None:
        """Why a user may not hold ``asked`` more now; None when he may."""
        quota = self._book.user(user)
        after = self.of(user) + asked
        over = after.first_over(quota.limit)
        if quota.team is None:
            return self._verdict(over, f"user {user}", self.of(user), asked, quota.limit) if over else None
        beyond = after.first_over((quota.limit + quota.borrowing).capped(EVERYTHING))
        if beyond:
            return self._verdict(beyond, f"user {user}", self.of(user), asked, quota.limit + quota.borrowing)
        return self._team_refuses(quota, user, asked, within_own=over is None)

    def _team_refuses(self, quota: Quota, user: str, asked: Amounts, *, within_own: bool) -> Verdict | None:
        team = quota.team
        assert team is not None
        used = self.of_team(team)
        limit = self._book.team(team).limit
        over = (used + asked).first_over(limit)
        if over:
            return self._verdict(over, f"team {team}", used, asked, limit, reclaimable=within_own)
        now, after = self.of(user), self.of(user) + asked
        borrowed = self._borrowed.get(team, NOTHING) + self._loan(user, after) - self._loan(user, now)
        idle = self._idle.get(team, NOTHING) + self._lendable(user, after) - self._lendable(user, now)
        short = borrowed.first_over(idle)
        if short:
            whose = f"the members of team {team} together"
            pool = self._book.pool(team)
            return self._verdict(short, whose, used, asked, pool, reclaimable=within_own)
        return None

    def _verdict(
        self,
        name: str,
        whose: str,
        used: Amounts,
        asked: Amounts,
        limit: Amounts,
        *,
        reclaimable: bool = False,
    ) -> Verdict:
        return Verdict(name, whose, used.get(name), asked.get(name), limit.get(name), reclaimable)

    def _loan(self, user: str, held: Amounts) -> Amounts:
        return (held - self._book.user(user).limit).at_least()

    def _lendable(self, user: str, held: Amounts) -> Amounts:
        """What of his own limit teammates could take now; nothing of a limit that is only the default."""
        quota = self._book.quotas.get((QuotaKind.USER, user))
        return min_of((quota.limit - held).at_least(), quota.lending) if quota else NOTHING


def min_of(first: Amounts, second: Amounts) -> Amounts:
    return first.capped(second)


def sum_of(amounts: Iterable[Amounts]) -> Amounts:
    """The sum, never more than ``UNLIMITED``."""
    total = NOTHING
    for amount in amounts:
        total = (total + amount).capped(EVERYTHING)
    return total


def read_amounts(given: Mapping[str, object], *, name: str, default: int) -> Amounts:
    """Read ``{"gpu": 4, "memory": "64Gi", "jobs": "unlimited"}``; fields left out are ``default``.

    Raises ``InvalidInput`` for unknown fields and bad quantities.
    """
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        raise InvalidInput(
            f"`{name}`: unknown resource {unknown[0]!r}; known are {', '.join(FIELDS)}.", field=name
        )
    values: dict[str, int] = {}
    for each in FIELDS:
        amount = given.get(each)
        values[each] = default if amount is None else _read(amount, each, f"{name}.{each}")
    return Amounts(**values)


def _read(amount: object, each: str, name: str) -> int:
    if amount == "unlimited":
        return UNLIMITED
    if each != "jobs":
        return read_amount(amount, each, field=name)
    jobs = parse_quantity(amount, field=name)
    if jobs != int(jobs):
        raise InvalidInput(f"`{name}` must be a whole number of jobs; got {amount!r:.60}.", field=name)
    return int(jobs)


def shown(each: str, value: int) -> str:
    """An amount for people: ``unlimited``, ``1.5``, ``64 GiB``."""
    if value >= UNLIMITED:
        return "unlimited"
    if each in MILLI:
        return f"{value / 1000:g}"
    return f"{value / 1024**3:.3g} GiB" if each in ("memory", "storage") else str(value)


def written(amounts: Amounts) -> dict[str, str]:
    """Amounts as users write them."""
    quantities = Resources(amounts.cpu, amounts.memory, amounts.gpu, amounts.storage).to_quantities()
    quantities["jobs"] = str(amounts.jobs)
    return {each: "unlimited" if amounts.get(each) >= UNLIMITED else quantities[each] for each in FIELDS}
