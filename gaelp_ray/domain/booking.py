"""What a batch of operations does to the ledger: decided in order, in memory, on a book that was locked.

Each operation is judged on the ledger as those before it leave it, and built aside: what is refused, or fails
in whatever way, changes nothing. The order in which reasons are given:

1. the key was used before: the first answer, or ``IdempotencyConflict``
2. the operation it follows was refused: ``LinkFailed``
3. a kill switch stops it: ``Halted``
4. a job, account or hold does not exist: ``NotFound``
5. the accounts keep other money than named: ``MixedCurrencies``
6. an account is closed: ``AccountClosed``
7. the hold is resolved: ``AlreadyPosted``, ``AlreadyVoided``, ``HoldExpired``
8. more than was held: ``ExceedsHold``
9. over a limit: ``BudgetExceeded``, of the account with the lowest id and there the shortest window

A refusal is remembered under its key, as any answer is, if it would be the same at any time; that of a hold
always, because nobody spends what was refused. What records spent money or gives it back, and is refused for
what is not there yet, may be asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from gaelp_ray.domain.budgets import Alert, Usage, told
from gaelp_ray.domain.errors import (
    AccountClosed,
    AlreadyPosted,
    AlreadyVoided,
    BudgetExceeded,
    Conflict,
    ExceedsHold,
    GaelpError,
    HoldExpired,
    InvalidInput,
    LinkFailed,
    MixedCurrencies,
    NotFound,
    Unbookable,
)
from gaelp_ray.domain.instants import LEEWAY
from gaelp_ray.domain.ledger import (
    Account,
    Answer,
    AtExpiry,
    Correct,
    Entry,
    Expire,
    HeldMoney,
    Hold,
    HoldState,
    Limit,
    Operation,
    Outcome,
    Post,
    Receipt,
    Request,
    Settle,
    Spend,
    Void,
    digest,
    first_digest,
    operation,
)
from gaelp_ray.domain.money import written
from gaelp_ray.domain.switches import Board
from gaelp_ray.domain.windows import Period, window

#: Account, period and beginning: what identifies a window.
UsageKey = tuple[int, Period, datetime]


@dataclass
class Book:
    """The part of the ledger that a batch touches, as it stands under lock."""

    accounts: Mapping[int, Account]
    limits: Mapping[int, Sequence[Limit]]
    holds: dict[str, HeldMoney]
    answers: dict[str, Answer]
    #: Those of the jobs named by holds that exist.
    jobs: frozenset[int] = frozenset()
    board: Board = field(default_factory=Board)
    usages: dict[UsageKey, Usage] = field(default_factory=dict)


@dataclass
class Changes:
    """What is to be written, all of it or nothing."""

    at: datetime
    #: Requests that could not be judged, with what went wrong: their rows or this code are at fault.
    faults: list[tuple[Request, Exception]] = field(default_factory=list)
    #: One for each request, in order.
    outcomes: list[Outcome] = field(default_factory=list)
    #: By key, those of keys that were not answered before.
    answers: dict[str, Answer] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    opened: dict[str, HeldMoney] = field(default_factory=dict)
    resolved: dict[str, HeldMoney] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    usages: dict[UsageKey, Usage] = field(default_factory=dict)
    alerts: list[Alert] = field(default_factory=list)


def usages_needed(book: Book, requests: Iterable[Request], now: datetime) -> dict[UsageKey, Usage]:
    """Every window that deciding these requests may look at, empty, as its zone has it now."""
    moments = {moment for request in requests for moment in _moments(book, request, now)}
    needed = {}
    for account_id, counted_at in moments:
        account = book.accounts.get(account_id)
        for limit in book.limits.get(account_id, ()) if account else ():
            assert account is not None
            span = window(limit.period, account.timezone, counted_at)
            usage = Usage(account_id, limit.period, span, limit.limit_micros)
            needed[account_id, limit.period, span.starts_at] = usage
    return needed


def _moments(book: Book, request: Request, now: datetime) -> list[tuple[int, datetime]]:
    if isinstance(request, Post | Void | Settle | Expire):
        held = book.holds.get(request.hold_key)
        # A hold that this very batch opens is counted now, by the request that opens it.
        return [(i, held.created_at) for i in held.account_ids] if held else []
    counted_at = now
    if isinstance(request, Spend):
        counted_at = request.occurred_at or now
    elif isinstance(request, Correct):
        counted_at = request.counted_at
    return [(i, counted_at) for i in request.account_ids]


def decide(book: Book, requests: Sequence[Request], now: datetime) -> Changes:
    """Carry out the requests on the book, which changes, and return what is to be written."""
    booking = _Booking(book, now)
    for request in requests:
        booking.changes.outcomes.append(booking.answer(request))
    return booking.changes


@dataclass(slots=True)
class _Step:
    """What one operation does, until all of it is accepted."""

    held: HeldMoney | None = None
    usages: list[Usage] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    note: str | None = None


class _NotYet(Exception):
    """A refusal that is not remembered: the same may be done later."""

    def __init__(self, refusal: GaelpError) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class _Booking:
    def __init__(self, book: Book, now: datetime) -> None:
        self._book = book
        self._now = now
        self._windows: dict[tuple[int, datetime], list[UsageKey]] = {}
        self._step = _Step()
        self.changes = Changes(now)

    def answer(self, request: Request) -> Outcome:
        asked = digest(request)
        known = self._book.answers.get(request.key)
        if known is not None:
            return known.outcome if known.digest == asked else self._known_before(known, request)
        outcome: Outcome
        self._step = _Step()
        try:
            outcome = _CARRY_OUT[type(request)](self, request)
        except _NotYet as refused:
            outcome = refused.refusal
            if not isinstance(request, Hold):
                return outcome
        except GaelpError as refused:
            # Kept for long; the frames that it was raised in need not be.
            outcome = refused.with_traceback(None)
            if isinstance(request, Expire):
                return outcome  # Not remembered: what is too early now is due later.
        except Exception as fault:
            return self._unbookable(request, fault)
        else:
            self._accept(self._step, request.key)
        answer = Answer(asked, operation(request), outcome)
        self._book.answers[request.key] = self.changes.answers[request.key] = answer
        return outcome

    def _known_before(self, known: Answer, request: Request) -> Outcome:
        """The first answer, where it was given before digests said what accounts were named by."""
        held = self._book.holds.get(request.key) if isinstance(request, Hold) else None
        then = None if held is None else held.account_ids
        return known.again(request.key, first_digest(request), first_digest(request, then))

    def _unbookable(self, request: Request, fault: Exception) -> Unbookable:
        self.changes.faults.append((request, fault))
        return Unbookable(
            f"What {request.key!r} is about is booked wrongly; nothing was changed. Tell an operator of the "
            "service, whose log says what is wrong."
        )

    def _accept(self, step: _Step, key: str) -> None:
        """From here on nothing fails."""
        book, changes = self._book, self.changes
        if (held := step.held) is not None:
            opened_here = held.key == key or held.key in changes.opened
            (changes.opened if opened_here else changes.resolved)[held.key] = held
            book.holds[held.key] = held
        for usage in step.usages:
            usage_key = (usage.account_id, usage.period, usage.window.starts_at)
            book.usages[usage_key] = changes.usages[usage_key] = usage
        changes.entries += step.entries
        changes.alerts += step.alerts
        if step.note is not None:
            changes.notes[key] = step.note

    def _hold(self, request: Hold) -> Receipt:
        self._require_link(request.follows)
        if halted := self._book.board.refusal(request):
            raise halted
        if request.job_id is not None and request.job_id not in self._book.jobs:
            raise NotFound(f"There is no job {request.job_id}.")
        accounts = self._accounts(request.account_ids, request.currency)
        for account in accounts:
            if account.closes_at is not None and self._now >= account.closes_at:
                raise AccountClosed(
                    f"Account {account.id} closed at {account.closes_at.isoformat()}; it takes no new holds."
                )
        ids, amount = tuple(account.id for account in accounts), request.held_micros
        self._require_room(ids, amount)
        held = HeldMoney(
            key=request.key,
            account_ids=ids,
            currency=request.currency,
            amount_micros=request.amount_micros,
            margin_micros=request.margin_micros,
            at_expiry=request.at_expiry,
            job_id=request.job_id,
            created_at=self._now,
            expires_at=self._now + request.ttl,
        )
        self._step.held = held
        self._book_all(Operation.HOLD, request.key, held.key, ids, (amount, 0), self._now)
        return Receipt(request.key, Operation.HOLD, amount, self._now, held.key, held.expires_at)

    def _post(self, request: Post) -> Receipt:
        held = self._pending(request.hold_key)
        amount = held.amount_micros if request.amount_micros is None else request.amount_micros
        if amount > held.held_micros:
            raise ExceedsHold(
                f"{amount} micros are more than the {held.held_micros} that {held.key!r} holds; settle it if "
                "they were spent already.",
                held_micros=held.held_micros,
            )
        return self._resolve(held, HoldState.POSTED, Operation.POST, request.key, amount)

    def _void(self, request: Void) -> Receipt:
        held = self._pending(request.hold_key)
        return self._resolve(held, HoldState.VOIDED, Operation.VOID, request.key, 0)

    def _expire(self, request: Expire) -> Receipt:
        held = self._unresolved(request.hold_key)
        if held.expires_at > self._now:
            raise Conflict(f"Hold {held.key!r} has not expired yet.")
        spent = held.held_micros if held.at_expiry is AtExpiry.SPEND else 0
        return self._resolve(held, HoldState.EXPIRED, Operation.EXPIRE, request.key, spent)

    def _settle(self, request: Settle) -> Receipt:
        held, spent = self._find(request.hold_key), request.spent_micros
        if held.state is HoldState.PENDING:
            state = HoldState.POSTED if spent else HoldState.VOIDED
            return self._resolve(held, state, Operation.SETTLE, request.key, spent)
        if held.state is not HoldState.EXPIRED or held.reported_micros is not None:
            raise _resolved(held)
        difference = spent - held.posted_micros
        breached = difference != 0 and self._book_all(
            Operation.SETTLE, request.key, held.key, held.account_ids, (0, difference), held.created_at
        )
        self._step.held = replace(held, reported_micros=spent)
        return Receipt(request.key, Operation.SETTLE, spent, self._now, held.key, breached=breached)

    def _spend(self, request: Spend) -> Receipt:
        ids = tuple(account.id for account in self._accounts(request.account_ids, request.currency))
        amount, counted_at = request.amount_micros, request.occurred_at or self._now
        self._require_past(
            counted_at,
            "`occurred_at` lies in the future, {}; a spend is recorded once it has happened, money for later "
            "is held.",
        )
        breached = self._book_all(Operation.SPEND, request.key, None, ids, (0, amount), counted_at)
        return Receipt(request.key, Operation.SPEND, amount, self._now, breached=breached)

    def _correct(self, request: Correct) -> Receipt:
        ids = tuple(account.id for account in self._accounts(request.account_ids, request.currency))
        delta, counted_at = request.delta_micros, request.counted_at
        self._require_past(
            counted_at,
            "`counted_at` lies in the future, {}; nothing is booked there that could be corrected.",
        )
        if request.hold_key is not None and self._find(request.hold_key).account_ids != ids:
            raise InvalidInput(
                f"A correction of hold {request.hold_key!r} is booked on the accounts of the hold, on all."
            )
        if delta < 0:
            self._require_spent(ids, -delta, counted_at)
        breached = self._book_all(Operation.CORRECT, request.key, None, ids, (0, delta), counted_at)
        self._step.note = request.reason
        return Receipt(request.key, Operation.CORRECT, delta, self._now, request.hold_key, breached=breached)

    def _require_past(self, moment: datetime, otherwise: str) -> None:
        if moment > self._now + LEEWAY:
            raise _NotYet(InvalidInput(otherwise.format(moment.isoformat())))

    def _require_spent(self, ids: Sequence[int], amount: int, counted_at: datetime) -> None:
        """In one window more may be given back than was spent in it, but not in all of them together."""
        for usage in (self._book.usages[key] for i in ids for key in self._usage_keys(i, counted_at)):
            if usage.period is Period.TOTAL and usage.posted_micros < amount:
                raise _NotYet(
                    InvalidInput(
                        f"Account {usage.account_id} has {usage.posted_micros} micros posted in all, too few "
                        f"to give {amount} back."
                    )
                )

    def _require_link(self, follows: str | None) -> None:
        if follows is None:
            return
        answer = self._book.answers.get(follows)
        if answer is None:
            refusal = LinkFailed(
                f"Operation {follows!r} was not carried out, and this one follows it.", follows=follows
            )
            raise _NotYet(refusal)
        if not isinstance(answer.outcome, Receipt):
            raise LinkFailed(f"Operation {follows!r} was refused, and this one follows it.", follows=follows)

    def _accounts(self, ids: Iterable[int], currency: str) -> list[Account]:
        """In the order of their ids, whatever order they were named in."""
        found = []
        for account_id in sorted(ids):
            account = self._book.accounts.get(account_id)
            if account is None:
                raise _NotYet(NotFound(f"There is no account {account_id}."))
            found.append(account)
        for account in found:
            if account.currency != currency or account.money is not found[0].money:
                raise MixedCurrencies(
                    f"Account {account.id} keeps {account.money} {account.currency}, not "
                    f"{found[0].money} {currency}; one operation moves one kind of money."
                )
        return found

    def _find(self, hold_key: str) -> HeldMoney:
        held = self._book.holds.get(hold_key)
        if held is None:
            raise _NotYet(NotFound(f"There is no hold {hold_key!r}."))
        return held

    def _unresolved(self, hold_key: str) -> HeldMoney:
        held = self._find(hold_key)
        if held.state is not HoldState.PENDING:
            raise _resolved(held)
        return held

    def _pending(self, hold_key: str) -> HeldMoney:
        held = self._unresolved(hold_key)
        if held.expires_at <= self._now:
            raise _expired(held)
        return held

    def _require_room(self, ids: Sequence[int], amount: int) -> None:
        usages = [self._book.usages[key] for i in ids for key in self._usage_keys(i, self._now)]
        for usage in usages:
            if usage.limit_micros is not None and usage.used_micros + amount > usage.limit_micros:
                raise self._exceeded(usage, amount)

    def _exceeded(self, usage: Usage, amount: int) -> BudgetExceeded:
        account = self._book.accounts[usage.account_id]
        whose = f"{account.scope} {account.subject}".rstrip()
        assert usage.limit_micros is not None
        assert usage.remaining_micros is not None
        ends_at = None if usage.period is Period.TOTAL else usage.window.ends_at.isoformat()
        again = f"; the next window begins at {ends_at}" if ends_at else ""
        return BudgetExceeded(
            f"{written(amount)} {account.currency} are more than the "
            f"{written(usage.remaining_micros)} left of the {usage.period} limit of {whose}, "
            f"{written(usage.limit_micros)}{again}.",
            account_id=usage.account_id,
            period=str(usage.period),
            limit_micros=usage.limit_micros,
            pending_micros=usage.pending_micros,
            posted_micros=usage.posted_micros,
            asked_micros=amount,
            window_ends_at=ends_at,
        )

    def _resolve(self, held: HeldMoney, state: HoldState, kind: Operation, key: str, posted: int) -> Receipt:
        deltas = (-held.held_micros, posted)
        breached = self._book_all(kind, key, held.key, held.account_ids, deltas, held.created_at)
        self._step.held = replace(held, state=state, posted_micros=posted, resolved_at=self._now)
        amount = held.held_micros if state is HoldState.VOIDED and kind is Operation.VOID else posted
        return Receipt(
            key, kind, amount, self._now, held.key, breached=breached and posted > held.held_micros
        )

    def _book_all(
        self,
        kind: Operation,
        key: str,
        hold_key: str | None,
        ids: Sequence[int],
        deltas: tuple[int, int],
        counted_at: datetime,
    ) -> bool:
        """Book pending and posted micros on every account; whether what was posted took one past a limit."""
        pending, posted = deltas
        moved = [self._moved(k, pending, posted) for i in ids for k in self._usage_keys(i, counted_at)]
        changed = [self._told(usage) if pending + posted > 0 else usage for usage in moved]
        self._step.usages = changed
        self._step.entries = [
            Entry(account_id, kind, key, hold_key, pending, posted, counted_at, self._now)
            for account_id in ids
        ]
        return posted > 0 and any(usage.is_over for usage in changed)

    def _moved(self, key: UsageKey, pending: int, posted: int) -> Usage:
        before = self._book.usages[key]
        pending += before.pending_micros
        posted += before.posted_micros
        if pending < 0:
            raise ValueError(f"less is held in {before} than was held there")
        return Usage(
            before.account_id,
            before.period,
            before.window,
            before.limit_micros,
            pending,
            posted,
            before.told_percent,
            before.breached_at,
            before.told_limit_micros,
        )

    def _told(self, usage: Usage) -> Usage:
        """With the alerts that are due noted, and the first breach."""
        usage, alerts = told(usage, self._now)
        self._step.alerts += alerts
        if usage.is_over and usage.breached_at is None:
            usage = replace(usage, breached_at=self._now)
        return usage

    def _usage_keys(self, account_id: int, counted_at: datetime) -> list[UsageKey]:
        """An account's windows at a moment, the shortest first."""
        at = (account_id, counted_at)
        keys = self._windows.get(at)
        if keys is None:
            account = self._book.accounts[account_id]
            periods = [limit.period for limit in self._book.limits[account_id]]
            keys = self._windows[at] = [self._usage_key(account, p, counted_at) for p in periods]
        return keys

    def _usage_key(self, account: Account, period: Period, counted_at: datetime) -> UsageKey:
        """The window that was opened around a moment: it stays the one, whatever its zone says by now."""
        key = (account.id, period, window(period, account.timezone, counted_at).starts_at)
        usage = self._book.usages.get(key)
        if usage is not None and counted_at in usage.window:
            return key
        for key, usage in self._book.usages.items():
            if key[:2] == (account.id, period) and counted_at in usage.window:
                return key
        raise LookupError(f"no {period} window of account {account.id} is open at {counted_at}")


#: A table, for this is the inmost loop of a guard.
_CARRY_OUT: dict[type[Request], Callable[[_Booking, Any], Receipt]] = {
    Hold: _Booking._hold,
    Post: _Booking._post,
    Void: _Booking._void,
    Expire: _Booking._expire,
    Settle: _Booking._settle,
    Spend: _Booking._spend,
    Correct: _Booking._correct,
}


def _resolved(held: HeldMoney) -> GaelpError:
    if held.state is HoldState.EXPIRED and held.reported_micros is None:
        return _expired(held)
    if held.state is HoldState.VOIDED:
        return AlreadyVoided(f"Hold {held.key!r} was voided before; nothing of it is held any more.")
    return AlreadyPosted(
        f"Hold {held.key!r} was posted before, with {held.reported_micros or held.posted_micros} micros."
    )


def _expired(held: HeldMoney) -> HoldExpired:
    return HoldExpired(
        f"Hold {held.key!r} expired at {held.expires_at.isoformat()}; settle it if something was spent.",
        expires_at=held.expires_at.isoformat(),
    )
