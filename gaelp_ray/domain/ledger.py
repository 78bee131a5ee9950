"""The ledger's nouns: accounts, the operations on them, and the answers to those.

Money that is to be spent is *held* first and resolved once: *posted* (spent, in part or in full; the rest
returns), *voided* (returned), or *expired*. The semantics are those of two-phase transfers:

- Every operation has a key that its caller made. The same key and body gets the first answer again, a
  refusal too; the same key with another body is an ``IdempotencyConflict``.
- A hold spans accounts all or nothing, and counts in every window of each in which it was made. What becomes
  of it later counts in those same windows.
- Limits are tested against pending plus posted when a hold is made, so posting never breaks one. Money that
  was spent in the world is recorded whatever the limits say, and marked where it breaks one.
- Nothing booked is ever changed; a correction is booked beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from operator import attrgetter
from typing import Any, get_args

from gaelp_ray.domain import errors, instants, names, text
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.errors import Forbidden, GaelpError, IdempotencyConflict, InvalidInput
from gaelp_ray.domain.money import MAX_AMOUNT_MICROS, MAX_MICROS, whole_micros
from gaelp_ray.domain.windows import Period, zone


class Scope(StrEnum):
    """Whose money an account limits."""

    AGENT = "agent"
    USER = "user"
    TEAM = "team"
    CAMPAIGN = "campaign"
    GLOBAL = "global"


class Money(StrEnum):
    REAL = "real"
    SIMULATED = "simulated"


class HoldState(StrEnum):
    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"
    EXPIRED = "expired"


class AtExpiry(StrEnum):
    """What becomes of a hold that nobody resolved in time."""

    #: The money returns. For spenders that ask before each spend and report at once.
    RETURN = "return"
    #: The money counts as spent, all of it. For leases: their holder spends without asking, and if it died
    #: nobody knows how much, so every other assumption could overspend.
    SPEND = "spend"


class Operation(StrEnum):
    HOLD = "hold"
    POST = "post"
    VOID = "void"
    EXPIRE = "expire"
    SETTLE = "settle"
    SPEND = "spend"
    CORRECT = "correct"


#: Keys that begin so belong to the service itself.
RESERVED = "gaelp:"
MAX_KEY, MAX_REASON, MAX_ACCOUNTS, MAX_TTL = 200, 1000, 16, timedelta(days=31)
_CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True, slots=True)
class NewAccount:
    scope: Scope
    #: The agent's id, the user's, team's or campaign's name; empty for the global account.
    subject: str
    #: ISO 4217.
    currency: str
    money: Money
    timezone: str = "UTC"
    #: From then on it takes no new holds; what is held may still be resolved.
    closes_at: datetime | None = None

    def __post_init__(self) -> None:
        check_currency(self.currency)
        zone(self.timezone)
        if (self.scope is Scope.GLOBAL) != (self.subject == ""):
            raise InvalidInput("`subject` names whose account it is, and is empty for the global one only.")
        object.__setattr__(self, "subject", read_subject(self.scope, self.subject))
        if self.closes_at is not None:
            moment(self.closes_at, field="closes_at")


def read_subject(scope: Scope, subject: str) -> str:
    """Whose account it is, in the one form in which it is kept; raises ``InvalidInput`` for what is none."""
    match scope:
        case Scope.AGENT:
            # Whoever opens the account says that there is no such agent.
            return text.line(subject, most=MAX_KEY, field="subject")
        case Scope.USER:
            return names.bearer(subject, field="subject")
        case Scope.TEAM:
            return names.team(subject, field="subject")
        case Scope.CAMPAIGN:
            return names.campaign(subject, field="subject")
        case Scope.GLOBAL:
            return subject


@dataclass(frozen=True, slots=True)
class Account(NewAccount):
    id: int = 0

    def __post_init__(self) -> None:
        """It was checked when it was opened."""


@dataclass(frozen=True, slots=True)
class Limit:
    """None: nothing is limited, only counted."""

    account_id: int
    period: Period
    limit_micros: int | None


def money_of(agent_type: AgentType) -> Money:
    """What agents of a type spend in the end."""
    return Money.REAL if agent_type is AgentType.REAL_DEPLOYMENT else Money.SIMULATED


def check_opening(new: NewAccount, agent_type: AgentType | None) -> None:
    """Raise ``Forbidden`` when an agent that only plays would get real money; ``agent_type`` is its type."""
    if new.money is Money.REAL and agent_type is AgentType.SIMULATION:
        raise Forbidden("A simulation agent can never have real money; open an account of simulated money.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Reserve money on all accounts or on none."""

    key: str
    account_ids: tuple[int, ...]
    currency: str
    amount_micros: int
    ttl: timedelta
    #: Held on top, for platforms that deliver more than they were told; a post may use it.
    margin_micros: int = 0
    at_expiry: AtExpiry = AtExpiry.RETURN
    job_id: int | None = None
    #: The key of an operation without which this one is refused.
    follows: str | None = None
    #: What its caller named the accounts by, where the service looked them up; see ``digest``.
    named: str | None = None

    def __post_init__(self) -> None:
        _key(self.key)
        _accounts(self.account_ids)
        check_currency(self.currency)
        _amount(self.amount_micros)
        if self.margin_micros != 0 or isinstance(self.margin_micros, bool | float):
            _amount(self.margin_micros, field="margin_micros")
            _amount(self.held_micros, field="amount_micros + margin_micros")
        if not timedelta(0) < self.ttl <= MAX_TTL:
            raise InvalidInput(f"`ttl` must be above 0 and at most {MAX_TTL.days} days; got {self.ttl}.")

    @property
    def held_micros(self) -> int:
        return self.amount_micros + self.margin_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Spend from a hold; what is left of it returns. None: the amount held, without the margin."""

    key: str
    hold_key: str
    amount_micros: int | None = None

    def __post_init__(self) -> None:
        _key(self.key)
        _key(self.hold_key, field="hold_key")
        if self.amount_micros is not None:
            _amount(self.amount_micros)


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """Give a hold back."""

    key: str
    hold_key: str

    def __post_init__(self) -> None:
        _key(self.key)
        _key(self.hold_key, field="hold_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Say what was spent under a hold, however much and however late; once, and instead of post or void.

    A pending hold resolves with the amount. A lease that expired had been posted in full: the difference is
    booked. A hold that had returned its money when it expired gets the amount booked in its windows.
    """

    key: str
    hold_key: str
    spent_micros: int

    def __post_init__(self) -> None:
        _key(self.key)
        _key(self.hold_key, field="hold_key")
        if self.spent_micros != 0 or isinstance(self.spent_micros, bool | float):
            _amount(self.spent_micros, field="spent_micros")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """Record money that was spent in the world already. Never refused for a limit."""

    key: str
    account_ids: tuple[int, ...]
    currency: str
    amount_micros: int
    #: When it was spent, if not now: it counts in the windows of that moment.
    occurred_at: datetime | None = None
    named: str | None = None

    def __post_init__(self) -> None:
        _key(self.key)
        _accounts(self.account_ids)
        check_currency(self.currency)
        _amount(self.amount_micros)
        if self.occurred_at is not None:
            moment(self.occurred_at, field="occurred_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correct:
    """Book a difference beside what was booked wrongly, negative to give money back."""

    key: str
    account_ids: tuple[int, ...]
    currency: str
    delta_micros: int
    #: A moment in the windows that are to be corrected.
    counted_at: datetime
    reason: str
    #: The hold whose spending it corrects, if that of one; reports of platforms count it there.
    hold_key: str | None = None
    named: str | None = None

    def __post_init__(self) -> None:
        _key(self.key)
        _accounts(self.account_ids)
        check_currency(self.currency)
        if isinstance(self.delta_micros, bool) or not isinstance(self.delta_micros, int):
            raise InvalidInput("`delta_micros` must be a whole number of micros.")
        _amount(abs(self.delta_micros), field="delta_micros")
        moment(self.counted_at, field="counted_at")
        text.line(self.reason, most=MAX_REASON, field="reason")
        if self.hold_key is not None:
            _key(self.hold_key, field="hold_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """End a hold that is past its time. Only the service makes these."""

    hold_key: str

    @property
    def key(self) -> str:
        return f"{RESERVED}expire:{self.hold_key}"


Request = Hold | Post | Void | Settle | Spend | Correct | Expire


#: What was in bodies before operations said what they were named by.
_LATER = {"named", "hold_key"}
_FIRST_BODIES = {
    kind: attrgetter(*(f.name for f in fields(kind) if kind in (Post, Void, Settle) or f.name not in _LATER))
    for kind in get_args(Request)
    if kind is not Expire
}
_MICROSECOND = timedelta(microseconds=1)


def digest(request: Request) -> str:
    """Equal for equal bodies, whatever has changed in between.

    What the caller sent is compared, not what the service looked up for it: where a request says what its
    accounts were ``named`` by, that stands for them. A budget that is opened in between, or a user who moves
    to another team, makes no other body of it.
    """
    return _hashed(_BODIES[type(request)](request))


def first_digest(request: Request, account_ids: tuple[int, ...] | None = None) -> str:
    """The digest that was stored of a body before ``named`` stood for its accounts.

    ``account_ids``: the accounts that were looked up then.
    """
    if isinstance(request, Expire) or (isinstance(request, Correct) and request.hold_key is not None):
        return digest(request)
    if account_ids is not None and isinstance(request, Hold | Spend | Correct):
        request = replace(request, account_ids=account_ids)
    return _hashed(_FIRST_BODIES[type(request)](request))


def _hashed(body: object) -> str:
    return blake2b(repr(body).encode(), digest_size=16).hexdigest()


def _of_hold(request: Hold) -> object:
    return (
        "hold",
        request.named or request.account_ids,
        request.currency,
        request.amount_micros,
        request.margin_micros,
        request.ttl // _MICROSECOND,
        str(request.at_expiry),
        request.job_id,
        request.follows,
    )


def _of_spend(request: Spend) -> object:
    at = _instant(request.occurred_at)
    return ("spend", request.named or request.account_ids, request.currency, request.amount_micros, at)


def _of_correction(request: Correct) -> object:
    at, accounts = _instant(request.counted_at), request.named or request.account_ids
    body = (accounts, request.currency, request.delta_micros, at, request.reason, request.hold_key)
    return ("correct", *body)


def _instant(value: datetime | None) -> str | None:
    """The same for the same moment in any zone."""
    return None if value is None else value.astimezone(UTC).isoformat()


_BODIES: dict[type[Request], Callable[[Any], object]] = {
    Hold: _of_hold,
    Post: lambda request: ("post", request.hold_key, request.amount_micros),
    Void: lambda request: ("void", request.hold_key),
    Settle: lambda request: ("settle", request.hold_key, request.spent_micros),
    Spend: _of_spend,
    Correct: _of_correction,
    Expire: lambda request: request.hold_key,
}


def operation(request: Request) -> Operation:
    return Operation(type(request).__name__.lower())


def renewal(key: str, hold_key: str, spent_micros: int, then: Hold) -> list[Request]:
    """Resolve a hold and open the next in one step, for spenders that run for long.

    What was spent is recorded even where the next hold is refused; what returns is there for the next. The
    operation that settles has the key ``KEY:settle``; where that is refused the next hold is as well.
    """
    settle = Settle(key=f"{key}:settle", hold_key=hold_key, spent_micros=spent_micros)
    return [settle, replace(then, key=key, follows=settle.key)]


@dataclass(frozen=True, slots=True)
class HeldMoney:
    """A hold as booked."""

    key: str
    account_ids: tuple[int, ...]
    currency: str
    amount_micros: int
    margin_micros: int
    at_expiry: AtExpiry
    job_id: int | None
    created_at: datetime
    expires_at: datetime
    state: HoldState = HoldState.PENDING
    posted_micros: int = 0
    resolved_at: datetime | None = None
    #: What its holder said it had spent, after it had expired.
    reported_micros: int | None = None

    @property
    def held_micros(self) -> int:
        return self.amount_micros + self.margin_micros


@dataclass(frozen=True, slots=True)
class Receipt:
    """An operation that was carried out."""

    key: str
    operation: Operation
    #: Held, posted, given back or spent; of a correction the difference.
    amount_micros: int
    at: datetime
    hold_key: str | None = None
    expires_at: datetime | None = None
    #: It took some account past a limit.
    breached: bool = False


#: What an operation is answered with. A refusal is a value: it is remembered as well, so nothing is raised
#: inside the transaction.
Outcome = Receipt | GaelpError


def granted(outcome: Outcome) -> Receipt:
    """The receipt; raises the refusal."""
    if isinstance(outcome, GaelpError):
        raise outcome
    return outcome


_REFUSALS: dict[str, type[GaelpError]] = {
    kind.code: kind
    for kind in (
        errors.NotFound,
        errors.InvalidInput,
        errors.MixedCurrencies,
        errors.LinkFailed,
        errors.AccountClosed,
        errors.AlreadyPosted,
        errors.AlreadyVoided,
        errors.HoldExpired,
        errors.ExceedsHold,
        errors.BudgetExceeded,
        errors.Halted,
        errors.Denied,
    )
}


def refusal(code: str, message: str, details: dict[str, Any]) -> GaelpError:
    """A refusal as it was first given."""
    return _REFUSALS[code](message, **details)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a key stands for: the body it came with, and how that was answered."""

    digest: str
    operation: Operation
    outcome: Outcome

    def again(self, key: str, *asked: str) -> Outcome:
        """The outcome again for who asks for the same, by any digest of it; for others a conflict."""
        return self.outcome if self.digest in asked else self.conflict(key)

    def conflict(self, key: str) -> IdempotencyConflict:
        return IdempotencyConflict(
            f"Key {key!r} was used before for {_article(self.operation)} with another body; use a new key.",
            key=key,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A change of an account's balance. All that is known of balances is the sum of these."""

    account_id: int
    operation: Operation
    key: str
    hold_key: str | None
    pending_micros: int
    posted_micros: int
    #: Decides the windows it counts in: for all that happens to a hold, when the hold was made.
    counted_at: datetime
    at: datetime


def moment(value: datetime, *, field: str) -> datetime:
    """Check a moment: it must say its time zone and lie within what the ledger can count."""
    return instants.check(value, field=field)


def _key(value: str, *, field: str = "key") -> None:
    text.line(value, most=MAX_KEY, field=field)
    if value.startswith(RESERVED):
        raise InvalidInput(f"`{field}` may not begin with {RESERVED!r}; the service makes those itself.")


def _amount(value: object, *, field: str = "amount_micros") -> None:
    whole_micros(value, field=field, most=MAX_AMOUNT_MICROS)


def _accounts(ids: tuple[int, ...]) -> None:
    if not 0 < len(ids) <= MAX_ACCOUNTS:
        raise InvalidInput(f"`account_ids` must name 1 to {MAX_ACCOUNTS} accounts; got {len(ids)}.")
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 < i <= MAX_MICROS for i in ids):
        raise InvalidInput("`account_ids` must be whole numbers above 0.")
    if len(set(ids)) < len(ids):
        raise InvalidInput("`account_ids` must name each account once.")


def check_currency(code: str | None) -> None:
    """Raise ``InvalidInput`` for what is no ISO 4217 code."""
    if not isinstance(code, str) or _CURRENCY.fullmatch(code) is None:
        raise InvalidInput(f"`currency` must be three capital letters such as 'EUR'; got {str(code)[:16]!r}.")


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


@dataclass(frozen=True, slots=True)
class Line:
    """An entry in an account's statement, with the balance after it."""

    id: int
    entry: Entry
    pending_micros: int
    posted_micros: int
    #: Why, if it is a correction.
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    pending_micros: int
    posted_micros: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that the reconciler found to be otherwise than it must be."""

    #: ``entry``: its operation or hold is missing. ``window``: its sums are not those of its entries.
    #: ``hold``: its entries do not add up to its state. ``job``: money is held for a job that has ended.
    #: ``attempt``: one runs that nothing is held for. ``overdue``: nobody ended a hold past its time.
    kind: str
    #: The account's id and window, or the key of the hold.
    subject: str
    expected: str
    found: str
