"""From what a caller asks of a budget to the guards, and back. A replica books nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden, GaelpError, InvalidInput, NotFound
from gaelp_ray.domain.ledger import (
    Account,
    HeldMoney,
    Hold,
    HoldState,
    Money,
    Outcome,
    Post,
    Receipt,
    Request,
    Settle,
    Void,
    granted,
    renewal,
)
from gaelp_ray.domain.safety.verdicts import Action
from gaelp_ray.services import budgets, ledger, reviews
from gaelp_ray.services.budgets import Ask, Purse
from gaelp_ray.services.reviews import Admission, Reported
from serve_app import keys
from serve_app.context import context
from serve_app.schemas.booking import (
    ActionIn,
    AnyOperation,
    CorrectionIn,
    HoldIn,
    HoldOperation,
    PostOperation,
    RenewIn,
    SettleOperation,
    SpendOperation,
    VoidOperation,
    refuse_action,
)

_ONE_BY_ONE = "Real money of an agent is held one action at a time: use `POST /budgets/{id}/holds`."


async def purse(caller: Principal, account_id: int, campaign: str | None = None) -> Purse:
    """Raises ``NotFound`` or ``Forbidden`` unless the caller may book on the account."""
    found = await context().purses.get(Ask(account_id, caller, campaign or None))
    assert found is not None
    if isinstance(found, GaelpError):
        raise found
    return found


#: What is asked of the ledger, and the accounts that say which guard is asked.
_Asked = tuple[list[Request], tuple[int, ...]]


async def _asked(
    caller: Principal, account_id: int, campaign: str | None, ask: Callable[[Purse], Awaitable[_Asked]]
) -> _Asked:
    """What a caller asks for on an account; ``ask`` makes it from their purse.

    Raises ``NotFound`` or ``Forbidden`` for what they may not ask for. What was answered before is asked for
    again, whatever rights have changed since, by who may still see the account.
    """
    try:
        return await ask(await purse(caller, account_id, campaign))
    except Forbidden:
        try:
            again = await ask(await _purse_again(caller, account_id, campaign))
        except (Forbidden, InvalidInput, NotFound):
            again = None
        if again is None or not await _answered(again[0]):
            raise
        return again


async def _answered(requests: Sequence[Request]) -> bool:
    wanted = {request.key for request in requests}
    return await context().read(ledger.answered, wanted) == wanted


async def _purse_again(caller: Principal, account_id: int, campaign: str | None) -> Purse:
    return await context().read(budgets.purse_again, Ask(account_id, caller, campaign or None))


async def find(caller: Principal, account_id: int, key: str) -> HeldMoney:
    """The hold of that name on an account: one's own, or another by its full key."""
    for name in keys.meant(caller, key):
        held = await context().holds.get(name)
        if held is not None and account_id in held.account_ids:
            return held
    raise _no_hold(account_id, key)


async def hold(caller: Principal, account_id: int, body: HoldIn) -> tuple[Receipt, Admission | None]:
    """Hold money; real money of an agent only for an action that its policies allow."""
    key = keys.stored(caller, body.key)
    account: Account | None = None

    async def ask(purse: Purse) -> _Asked:
        nonlocal account
        account = purse.account if purse.gated else None
        return [body.hold(key, purse)], purse.account_ids

    [asked], account_ids = await _asked(caller, account_id, body.campaign, ask)
    assert isinstance(asked, Hold)
    if account is None:
        refuse_action(body)
        [outcome] = await context().book([asked], account_ids)
        return granted(outcome), None
    await context().read(budgets.require_eligible, account, key)
    action = _action(int(account.subject), asked.currency, body)
    reported = body.reported.facts() if body.reported is not None else Reported()
    admission = await context().admit(action, asked, reported, caller)
    return reviews.admitted(admission), admission


async def book(
    caller: Principal, account_id: int, campaign: str | None, request: Callable[[Purse], Request]
) -> Receipt:
    """Carry out a request on an account and all that it is chained to."""

    async def ask(purse: Purse) -> _Asked:
        return [request(purse)], purse.account_ids

    [outcome] = await context().book(*await _asked(caller, account_id, campaign, ask))
    return granted(outcome)


async def correct(caller: Principal, account_id: int, body: CorrectionIn) -> Receipt:
    """Book a difference; admins only."""

    async def ask(purse: Purse) -> _Asked:
        if not purse.again:
            caller.require_admin()
        held = None if body.hold_key is None else await find(caller, account_id, body.hold_key)
        return [body.correction(keys.stored(caller, body.key), purse, held)], purse.account_ids

    [outcome] = await context().book(*await _asked(caller, account_id, body.campaign, ask))
    return granted(outcome)


async def resolve(caller: Principal, account_id: int, key: str, request: Callable[[str], Request]) -> Receipt:
    """Carry out what resolves a hold; ``request`` makes it from the hold's full key."""

    async def ask(_: Purse) -> _Asked:
        held = await find(caller, account_id, key)
        return [request(held.key)], held.account_ids

    [outcome] = await context().book(*await _asked(caller, account_id, None, ask))
    return granted(outcome)


async def settle_hold(caller: Principal, account_id: int, key: str, spent_micros: int) -> Receipt:
    """Say what was spent under a hold; past it only an operator does, where others share its accounts."""

    async def ask(purse: Purse) -> _Asked:
        held = await find(caller, account_id, key)
        booked = await _booked([(held, spent_micros)])
        return [settlement(purse, held, spent_micros, booked)], held.account_ids

    [outcome] = await context().book(*await _asked(caller, account_id, None, ask))
    return granted(outcome)


async def renew(caller: Principal, account_id: int, key: str, body: RenewIn) -> tuple[Receipt, Receipt]:
    """Settle a hold and open the next. Where that is refused the first is settled all the same."""

    async def ask(purse: Purse) -> _Asked:
        if purse.gated:
            raise InvalidInput(_ONE_BY_ONE)
        held = await find(caller, account_id, key)
        _require_settling(purse, held, body.spent_micros)
        then = body.hold(keys.stored(caller, body.key), purse)
        return renewal(then.key, held.key, body.spent_micros, then), held.account_ids

    settled, opened = await context().book(*await _asked(caller, account_id, body.campaign, ask))
    receipt = granted(settled)
    if isinstance(opened, GaelpError):
        opened.details["settled_micros"] = receipt.amount_micros
    return receipt, granted(opened)


async def carry_out(
    caller: Principal, account_id: int, operations: Sequence[AnyOperation]
) -> list[tuple[int, Outcome]]:
    """Carry out operations in one transaction, in order, each by itself; status and outcome of each."""
    campaigns = {op.campaign or None for op in operations if isinstance(op, HoldOperation | SpendOperation)}
    named: list[str | None] = [None, *(campaigns - {None})]
    found = await asyncio.gather(*(_purse_or_refusal(caller, account_id, campaign) for campaign in named))
    purses = dict(zip(named, found, strict=True))
    batch = _Batch(caller, account_id, purses)
    await batch.look_up(operations)
    asked = [batch.request(op) for op in operations]
    if any(isinstance(each, Forbidden) for each in asked):
        again = [await _purse_again(caller, account_id, campaign) for campaign in named]
        asked = await batch.asked_again(operations, asked, dict(zip(named, again, strict=True)))
    requests = [each for each in asked if not isinstance(each, GaelpError)]
    own = purses[None]
    if isinstance(own, GaelpError) and not requests:
        raise own
    outcomes = iter(await context().book(requests, batch.account_ids) if requests else [])
    return [
        (201 if isinstance(op, HoldOperation | SpendOperation) else 200, _outcome(each, outcomes))
        for op, each in zip(operations, asked, strict=True)
    ]


async def _purse_or_refusal(caller: Principal, account_id: int, campaign: str | None) -> Purse | GaelpError:
    try:
        return await purse(caller, account_id, campaign)
    except GaelpError as refused:
        return refused


def post(hold_key: str, amount_micros: int | None) -> Post:
    key = keys.resolving("post", hold_key, amount_micros)
    return Post(key=key, hold_key=hold_key, amount_micros=amount_micros)


def void(hold_key: str) -> Void:
    return Void(key=keys.resolving("void", hold_key), hold_key=hold_key)


def settle(hold_key: str, spent_micros: int) -> Settle:
    key = keys.resolving("settle", hold_key, spent_micros)
    return Settle(key=key, hold_key=hold_key, spent_micros=spent_micros)


def settlement(found: Purse, held: HeldMoney, spent_micros: int, booked: Collection[str]) -> Request:
    """What settles a hold for a caller; raises ``Forbidden`` where they may not settle so much.

    An owner resolves real money by post or void, which the ledger refuses past the hold and past its time.
    Settled so before, it is the same again, whatever the caller was then. ``booked``: keys of what was.
    """
    before = next((way for way in _ways(held, spent_micros) if way.key in booked), None)
    if before is not None and found.account.money is Money.REAL:
        return before
    _require_settling(found, held, spent_micros)
    operator, owner = _ways(held, spent_micros)
    return operator if found.operates or found.account.money is not Money.REAL else owner


def _ways(held: HeldMoney, spent_micros: int) -> tuple[Request, Request]:
    """How an operator and how an owner settles real money."""
    return settle(held.key, spent_micros), post(held.key, spent_micros) if spent_micros else void(held.key)


async def _booked(settled: Iterable[tuple[HeldMoney, int]]) -> frozenset[str]:
    """Keys of those settlements that were booked before."""
    resolved = [each for each in settled if each[0].state is not HoldState.PENDING]
    ways = {way.key for held, spent in resolved for way in _ways(held, spent)}
    return await context().read(ledger.carried_out, ways) if ways else frozenset()


def _require_settling(found: Purse, held: HeldMoney, spent_micros: int) -> None:
    if not found.may_settle(held, spent_micros):
        raise Forbidden(
            f"Hold {held.key!r} held {held.held_micros} micros and is {held.state}; more than that, or what "
            "comes late, is booked by an operator or by a report of the platform.",
            held_micros=held.held_micros,
        )


class _Batch:
    """From operations to requests."""

    def __init__(
        self, caller: Principal, account_id: int, purses: Mapping[str | None, Purse | GaelpError]
    ) -> None:
        """``purses``: by the campaign that is charged as well, None for no campaign."""
        self._caller = caller
        self._account_id = account_id
        #: A campaign that is not the caller's to charge refuses what names it, and nothing else.
        self._purses = purses
        self._holds: dict[str, HeldMoney] = {}
        self._booked: frozenset[str] = frozenset()
        self._opened: set[str] = set()

    @property
    def account_ids(self) -> tuple[int, ...]:
        """That of the budget, and what it is bound by: they say which guard is asked."""
        return self._named(None).account_ids

    async def look_up(self, operations: Sequence[AnyOperation]) -> None:
        """Read the holds that are to be resolved, and what was settled of them before."""
        resolving = [op for op in operations if not isinstance(op, HoldOperation | SpendOperation)]
        named = [op.hold_key for op in resolving if op.hold_key.isprintable()]
        wanted = {name for key in named for name in keys.meant(self._caller, key)}
        if wanted:
            self._holds = await context().read(budgets.holds, wanted)
        settled = [op for op in resolving if isinstance(op, SettleOperation) and op.hold_key.isprintable()]
        self._booked = await _booked(
            (self._holds[name], op.spent_micros)
            for op in settled
            for name in keys.meant(self._caller, op.hold_key)
            if name in self._holds
        )

    async def asked_again(
        self,
        operations: Sequence[AnyOperation],
        asked: Sequence[Request | GaelpError],
        purses: Mapping[str | None, Purse],
    ) -> list[Request | GaelpError]:
        """As asked, and what was answered before in place of its refusal for a right that is gone."""
        self._purses = purses
        tried = [
            self.request(op) if isinstance(each, Forbidden) else each
            for op, each in zip(operations, asked, strict=True)
        ]
        wanted = {each.key for each in tried if not isinstance(each, GaelpError)}
        answered = await context().read(ledger.answered, wanted)
        return [
            again if not isinstance(again, GaelpError) and again.key in answered else first
            for again, first in zip(tried, asked, strict=True)
        ]

    def request(self, op: AnyOperation) -> Request | GaelpError:
        try:
            return self._request(op)
        except GaelpError as refused:
            return refused

    def _request(self, op: AnyOperation) -> Request:
        match op:
            case HoldOperation():
                asked = op.hold(keys.stored(self._caller, op.key), self._purse(op.campaign))
                self._opened.add(asked.key)
                return asked
            case SpendOperation():
                return op.spend(keys.stored(self._caller, op.key), self._named(op.campaign))
            case PostOperation():
                self._named(None)
                return post(self._hold_key(op.hold_key), op.amount_micros)
            case VoidOperation():
                self._named(None)
                return void(self._hold_key(op.hold_key))
            case SettleOperation():
                return self._settle(self._hold_key(op.hold_key), op.spent_micros)

    def _settle(self, hold_key: str, spent_micros: int) -> Request:
        found, held = self._named(None), self._holds.get(hold_key)
        if held is not None:
            return settlement(found, held, spent_micros, self._booked)
        if found.operates:
            return settle(hold_key, spent_micros)
        # Made in this very batch: the ledger refuses what is more than it holds.
        return post(hold_key, spent_micros) if spent_micros else void(hold_key)

    def _purse(self, campaign: str | None) -> Purse:
        found = self._named(campaign)
        if found.gated:
            raise InvalidInput(_ONE_BY_ONE)
        return found

    def _named(self, campaign: str | None) -> Purse:
        found = self._purses[campaign or None]
        if isinstance(found, GaelpError):
            raise found
        return found

    def _hold_key(self, key: str) -> str:
        account_id = self._account_id
        for name in keys.meant(self._caller, key):
            held = self._holds.get(name)
            made_here = held is None and name in self._opened
            if made_here or (held is not None and account_id in held.account_ids):
                return name
        raise _no_hold(account_id, key)


def _outcome(asked: Request | GaelpError, outcomes: Iterator[Outcome]) -> Outcome:
    return asked if isinstance(asked, GaelpError) else next(outcomes)


def _action(agent_id: int, currency: str, body: HoldIn) -> Action:
    told = body.action or ActionIn()
    return Action(
        agent_id=agent_id,
        currency=currency,
        amount_micros=body.amount_micros,
        bid_micros=told.bid_micros,
        campaign=body.campaign or "",
        region=told.region,
        categories=tuple(told.categories),
    )


def _no_hold(account_id: int, key: str) -> NotFound:
    return NotFound(f"There is no hold {key[:200]!r} on budget {account_id}.")
