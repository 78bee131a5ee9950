"""From what a caller asks of a budget to the guards, and back. A replica books nothing by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden, GaelpError, InvalidInput, NotFound
from gaelp_ray.domain.ledger import (
    HeldMoney,
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
from gaelp_ray.services import budgets, reviews
from gaelp_ray.services.budgets import Ask, Purse
from gaelp_ray.services.reviews import Admission, Reported
from serve_app import keys
from serve_app.context import context
from serve_app.schemas.booking import (
    ActionIn,
    AnyOperation,
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


async def find(caller: Principal, account_id: int, key: str) -> HeldMoney:
    """The hold of that name on an account: one's own, or another by its full key."""
    for name in keys.meant(caller, key):
        held = await context().holds.get(name)
        if held is not None and account_id in held.account_ids:
            return held
    raise _no_hold(account_id, key)


async def hold(caller: Principal, account_id: int, body: HoldIn) -> tuple[Receipt, Admission | None]:
    """Hold money; real money of an agent only for an action that its policies allow."""
    found = await purse(caller, account_id, body.campaign)
    asked = body.hold(keys.stored(caller, body.key), found)
    if not found.gated:
        refuse_action(body)
        [outcome] = await context().book([asked], found.account_ids)
        return granted(outcome), None
    if await context().holds.get(asked.key) is None:  # Else it is asked for again, and gets the first answer.
        await context().read(budgets.require_eligible, found.account)
    action = _action(int(found.account.subject), asked.currency, body)
    reported = body.reported.facts() if body.reported is not None else Reported()
    admission = await context().admit(action, asked, reported)
    return reviews.admitted(admission), admission


async def book(
    caller: Principal, account_id: int, campaign: str | None, request: Callable[[Purse], Request]
) -> Receipt:
    """Carry out a request on an account and all that it is chained to."""
    found = await purse(caller, account_id, campaign)
    [outcome] = await context().book([request(found)], found.account_ids)
    return granted(outcome)


async def resolve(caller: Principal, account_id: int, key: str, request: Callable[[str], Request]) -> Receipt:
    """Carry out what resolves a hold; ``request`` makes it from the hold's full key."""
    await purse(caller, account_id)
    held = await find(caller, account_id, key)
    [outcome] = await context().book([request(held.key)], held.account_ids)
    return granted(outcome)


async def settle_hold(caller: Principal, account_id: int, key: str, spent_micros: int) -> Receipt:
    """Say what was spent under a hold; past it only an operator does, where others share its accounts."""
    found = await purse(caller, account_id)
    held = await find(caller, account_id, key)
    [outcome] = await context().book([settlement(found, held, spent_micros)], held.account_ids)
    return granted(outcome)


async def renew(caller: Principal, account_id: int, key: str, body: RenewIn) -> tuple[Receipt, Receipt]:
    """Settle a hold and open the next. Where that is refused the first is settled all the same."""
    found = await purse(caller, account_id, body.campaign)
    if found.gated:
        raise InvalidInput(_ONE_BY_ONE)
    held = await find(caller, account_id, key)
    _require_settling(found, held, body.spent_micros)
    then = body.hold(keys.stored(caller, body.key), found)
    asked = renewal(then.key, held.key, body.spent_micros, then)
    settled, opened = await context().book(asked, held.account_ids)
    receipt = granted(settled)
    if isinstance(opened, GaelpError):
        opened.details["settled_micros"] = receipt.amount_micros
    return receipt, granted(opened)


async def carry_out(
    caller: Principal, account_id: int, operations: Sequence[AnyOperation]
) -> list[tuple[int, Outcome]]:
    """Carry out operations in one transaction, in order, each by itself; status and outcome of each."""
    campaigns = {op.campaign or None for op in operations if isinstance(op, HoldOperation | SpendOperation)}
    named = [None, *(campaigns - {None})]
    own = await purse(caller, account_id)
    found = await asyncio.gather(
        *(purse(caller, account_id, campaign) for campaign in named[1:]), return_exceptions=True
    )
    for refused in found:
        if isinstance(refused, BaseException) and not isinstance(refused, GaelpError):
            raise refused
    batch = _Batch(caller, own, dict(zip(named[1:], found, strict=True)))  # type: ignore[arg-type]
    await batch.look_up(
        [op.hold_key for op in operations if not isinstance(op, HoldOperation | SpendOperation)]
    )
    asked = [batch.request(op) for op in operations]
    requests = [each for each in asked if not isinstance(each, GaelpError)]
    outcomes = iter(await context().book(requests, own.account_ids) if requests else [])
    return [
        (201 if isinstance(op, HoldOperation | SpendOperation) else 200, _outcome(each, outcomes))
        for op, each in zip(operations, asked, strict=True)
    ]


def post(hold_key: str, amount_micros: int | None) -> Post:
    key = keys.resolving("post", hold_key, amount_micros)
    return Post(key=key, hold_key=hold_key, amount_micros=amount_micros)


def void(hold_key: str) -> Void:
    return Void(key=keys.resolving("void", hold_key), hold_key=hold_key)


def settle(hold_key: str, spent_micros: int) -> Settle:
    key = keys.resolving("settle", hold_key, spent_micros)
    return Settle(key=key, hold_key=hold_key, spent_micros=spent_micros)


def settlement(found: Purse, held: HeldMoney, spent_micros: int) -> Request:
    """What settles a hold for a caller; raises ``Forbidden`` where they may not settle so much.

    An owner resolves real money by post or void, which the ledger refuses past the hold and past its time.
    """
    _require_settling(found, held, spent_micros)
    if found.operates or found.account.money is not Money.REAL:
        return settle(held.key, spent_micros)
    return post(held.key, spent_micros) if spent_micros else void(held.key)


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
        self, caller: Principal, own: Purse, of_campaigns: dict[str | None, Purse | GaelpError]
    ) -> None:
        self._caller = caller
        self._own = own
        #: A campaign that is not the caller's to charge refuses what names it, and nothing else.
        self._purses: dict[str | None, Purse | GaelpError] = {**of_campaigns, None: own}
        self._holds: dict[str, HeldMoney] = {}
        self._opened: set[str] = set()

    async def look_up(self, hold_keys: Collection[str]) -> None:
        """Read the holds that are to be resolved."""
        named = [key for key in hold_keys if key.isprintable()]
        wanted = {name for key in named for name in keys.meant(self._caller, key)}
        if wanted:
            self._holds = await context().read(budgets.holds, wanted)

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
                return post(self._hold_key(op.hold_key), op.amount_micros)
            case VoidOperation():
                return void(self._hold_key(op.hold_key))
            case SettleOperation():
                return self._settle(self._hold_key(op.hold_key), op.spent_micros)

    def _settle(self, hold_key: str, spent_micros: int) -> Request:
        found, held = self._own, self._holds.get(hold_key)
        if held is not None:
            return settlement(found, held, spent_micros)
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
        account_id = self._own.account.id
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
