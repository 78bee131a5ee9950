"""/api/v1/budgets"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

from fastapi import Path, Query, Response
from fastapi.responses import StreamingResponse

from gaelp_ray.domain import periods, spreadsheets
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import Balance, Line, Money, Outcome, Scope, moment
from gaelp_ray.domain.windows import ALWAYS, Period
from gaelp_ray.services import budgets as service
from gaelp_ray.services import ledger, members, statements
from serve_app import booking, keys
from serve_app.auth import Caller
from serve_app.context import context
from serve_app.errors import body_of
from serve_app.paging import Cursor, Limit, Pages
from serve_app.respond import json_response
from serve_app.routers.api import api_router
from serve_app.routers.ids import Id
from serve_app.schemas.booking import (
    AnswerList,
    AnswerOut,
    CorrectionIn,
    HeldList,
    HeldOut,
    HoldIn,
    HoldReceiptOut,
    OperationsIn,
    PostIn,
    ReceiptOut,
    RenewalOut,
    RenewIn,
    SettleIn,
    SpendIn,
)
from serve_app.schemas.budgets import (
    AlertOut,
    AlertPage,
    BudgetIn,
    BudgetOut,
    BudgetPage,
    LimitIn,
    MemberList,
    MemberOut,
    UsageOut,
)
from serve_app.schemas.common import Instant
from serve_app.schemas.statements import BalanceOut, Format, LineOut, LinePage

router = api_router("/budgets", tag="budgets")

_BUDGETS, _LINES = Pages("budgets"), Pages("statement")
_ALERTS, _ALL_ALERTS = Pages("budget alerts"), Pages("all budget alerts")

Key = Annotated[str, Path(max_length=200, description="As you named the hold, or in full as it is listed.")]

User = Annotated[str, Path(max_length=200)]

#: What a statement shows that is asked for no beginning.
_SPAN = timedelta(days=30)
_CSV_PAGE = 1000


@router.post("", status_code=201, response_model=BudgetOut)
async def open_budget(body: BudgetIn, caller: Caller) -> Response:
    """Open a budget; one that was opened so before is answered again, with these limits.

    Owners open budgets of simulated money for their agents, operators all. Another one of real money for an
    agent, in another currency, takes an approval with the purpose `limit` and the subject `agent ID`.
    """
    new = body.new(context().settings.currency)
    account = await context().transact(
        service.open_account, new, body.limits_micros, by=caller, now=datetime.now(UTC)
    )
    return await _budget(account.id, caller, 201)


@router.get("", response_model=BudgetPage)
async def list_budgets(
    caller: Caller,
    scope: Scope | None = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    money: Money | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Budgets of your agents, your own and your team's, in the order of ids; operators see all."""
    found = await context().read(
        service.page,
        by=caller,
        now=datetime.now(UTC),
        scope=scope,
        subject=subject,
        money=money,
        after=_BUDGETS.after(cursor),
        limit=limit,
    )
    items = [BudgetOut.of(account, [UsageOut.of(usage) for usage in usages]) for account, usages in found]
    return _BUDGETS.answer(zip([account.id for account, _ in found], items, strict=True), limit)


@router.get("/alerts", response_model=AlertPage)
async def list_all_alerts(caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Marks that budgets passed (50, 80, 95, 100 %), oldest first. Operators only."""
    found = await context().read(
        service.all_alerts, by=caller, after=_ALL_ALERTS.after_position(cursor), limit=limit
    )
    items = [(position.text, AlertOut.of(position.id, alert)) for position, alert in found]
    return _ALL_ALERTS.answer(items, limit)


@router.get("/{budget_id}", response_model=BudgetOut)
async def get_budget(budget_id: Id, caller: Caller) -> Response:
    """A budget, how much of each limit is used in its present window, and where that leads."""
    return await _budget(budget_id, caller, 200)


@router.put("/{budget_id}/limits/{period}", response_model=UsageOut)
async def set_limit(budget_id: Id, period: Period, body: LimitIn, caller: Caller) -> Response:
    """Set or lift a limit. It may be lower than what is used: nothing is taken back, new holds are refused.

    Raising one of real money takes an approval with the purpose `limit`, the subject `account ID` and its
    `period`.
    """
    usage = await context().transact(
        service.set_limit, budget_id, period, body.limit_micros, by=caller, now=datetime.now(UTC)
    )
    return json_response(UsageOut.of(usage))


@router.post("/{budget_id}/holds", status_code=201, response_model=HoldReceiptOut)
async def hold(budget_id: Id, body: HoldIn, caller: Caller) -> Response:
    """Reserve money in every budget that binds this one, or in none.

    Real money of an agent is reviewed by its policies first; `action` then says what may be done, which may
    be less than what was asked for.
    """
    receipt, admission = await booking.hold(caller, budget_id, body)
    return json_response(HoldReceiptOut.admitted(receipt, partial(keys.shown, caller), admission), 201)


@router.get("/{budget_id}/holds", response_model=HeldList)
async def list_holds(budget_id: Id, caller: Caller, limit: Limit = 100) -> Response:
    """What is held, first what expires first."""
    await context().read(service.visible, budget_id, by=caller)
    found = await context().read(ledger.pending_holds, budget_id, limit=limit)
    items = [HeldOut.of(held, partial(keys.shown, caller)) for held in found]
    return json_response(HeldList.model_construct(items=items))


@router.post("/{budget_id}/holds/{key:path}/post", response_model=ReceiptOut)
async def post(budget_id: Id, key: Key, caller: Caller, body: PostIn | None = None) -> Response:
    """Spend from a hold; what is left of it returns."""
    amount = body.amount_micros if body is not None else None
    receipt = await booking.resolve(caller, budget_id, key, lambda held: booking.post(held, amount))
    return json_response(ReceiptOut.of(receipt, partial(keys.shown, caller)))


@router.post("/{budget_id}/holds/{key:path}/void", response_model=ReceiptOut)
async def void(budget_id: Id, key: Key, caller: Caller) -> Response:
    """Give a hold back."""
    receipt = await booking.resolve(caller, budget_id, key, booking.void)
    return json_response(ReceiptOut.of(receipt, partial(keys.shown, caller)))


@router.post("/{budget_id}/holds/{key:path}/settle", response_model=ReceiptOut)
async def settle(budget_id: Id, key: Key, body: SettleIn, caller: Caller) -> Response:
    """Say what was spent under a hold, instead of post or void.

    More than was held, or late, only by operators, where others share a budget that the hold counts in.
    """
    receipt = await booking.settle_hold(caller, budget_id, key, body.spent_micros)
    return json_response(ReceiptOut.of(receipt, partial(keys.shown, caller)))


@router.post("/{budget_id}/holds/{key:path}/renew", status_code=201, response_model=RenewalOut)
async def renew(budget_id: Id, key: Key, body: RenewIn, caller: Caller) -> Response:
    """Settle a hold and make the next in one step. The first is settled even where the next is refused."""
    settled, opened = await booking.renew(caller, budget_id, key, body)
    receipts = [ReceiptOut.of(each, partial(keys.shown, caller)) for each in (settled, opened)]
    return json_response(RenewalOut.model_construct(settled=receipts[0], hold=receipts[1]), 201)


@router.get("/{budget_id}/holds/{key:path}", response_model=HeldOut)
async def get_hold(budget_id: Id, key: Key, caller: Caller) -> Response:
    await context().read(service.visible, budget_id, by=caller)
    held = await booking.find(caller, budget_id, key)
    return json_response(HeldOut.of(held, partial(keys.shown, caller)))


@router.post("/{budget_id}/spends", status_code=201, response_model=ReceiptOut)
async def report_spend(budget_id: Id, body: SpendIn, caller: Caller) -> Response:
    """Record money that was spent in the world already. It is recorded past a limit, too.

    Real money only by operators. What an owner records counts in the agent's budget and their own.
    """
    receipt = await booking.book(
        caller, budget_id, body.campaign, lambda purse: body.spend(keys.stored(caller, body.key), purse)
    )
    return json_response(ReceiptOut.of(receipt, partial(keys.shown, caller)), 201)


@router.post("/{budget_id}/corrections", status_code=201, response_model=ReceiptOut)
async def correct(budget_id: Id, body: CorrectionIn, caller: Caller) -> Response:
    """Book a difference beside what was booked wrongly. Admins only.

    What was spent of a hold is corrected under its `hold_key`: then a report of its platform finds the
    correction booked already, and does not book it again.
    """
    receipt = await booking.correct(caller, budget_id, body)
    return json_response(ReceiptOut.of(receipt, partial(keys.shown, caller)), 201)


@router.post("/{budget_id}/operations", response_model=AnswerList)
async def carry_out(budget_id: Id, body: OperationsIn, caller: Caller) -> Response:
    """Up to 256 operations in one request, in order: each is carried out or refused by itself."""
    answers = await booking.carry_out(caller, budget_id, body.operations)
    items = [_answer(status, outcome, caller) for status, outcome in answers]
    return json_response(AnswerList.model_construct(items=items))


@router.get("/{budget_id}/members", response_model=MemberList)
async def list_members(budget_id: Id, caller: Caller) -> Response:
    """Who may charge a campaign's budget, beside operators. Operators only."""
    found = await context().read(members.of_account, budget_id, by=caller)
    items = [MemberOut.model_validate(each) for each in found]
    return json_response(MemberList.model_construct(items=items))


@router.put("/{budget_id}/members/{user}", status_code=204)
async def add_member(budget_id: Id, user: User, caller: Caller) -> None:
    """Let the agents of a user hold money of a campaign's budget. Operators only."""
    await context().transact(members.add, budget_id, user, by=caller, now=datetime.now(UTC))


@router.delete("/{budget_id}/members/{user}", status_code=204)
async def remove_member(budget_id: Id, user: User, caller: Caller) -> None:
    """What was held stays held. Who is no member stays none. Operators only."""
    await context().transact(members.remove, budget_id, user, by=caller, now=datetime.now(UTC))


@router.get("/{budget_id}/statement", response_model=LinePage, responses={200: {"content": {"text/csv": {}}}})
async def get_statement(
    budget_id: Id,
    caller: Caller,
    since: Annotated[Instant | None, Query(description="30 days before `until`.")] = None,
    until: Annotated[Instant | None, Query(description="Now.")] = None,
    format: Annotated[Format, Query(description="`csv` is all of it.")] = Format.JSON,  # noqa: A002
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Every change of the balance from `since` on and before `until`, in the order in which they were booked.

    Who goes on by `next_cursor` misses none, also of those that are booked meanwhile.
    """
    await context().read(service.visible, budget_id, by=caller)
    now = datetime.now(UTC)
    start, end = periods.meant(since, until, span=_SPAN, now=now)
    if format is Format.CSV:
        headers = {"Content-Disposition": f'attachment; filename="budget-{budget_id}.csv"'}
        return StreamingResponse(_csv(budget_id, caller, start, end), media_type="text/csv", headers=headers)
    last = _LINES.after(cursor)
    if last and since is None:
        start = ALWAYS.starts_at  # What comes after a page is shown, however long somebody takes to ask.
    bound = end if until is not None and until <= now else None
    found = await context().read(
        statements.statement, budget_id, since=start, until=bound, after=last, limit=limit
    )
    items = [(line.id, LineOut.of(line, partial(keys.shown, caller))) for line in found]
    return _LINES.answer(items, limit)


@router.get("/{budget_id}/balance", response_model=BalanceOut)
async def get_balance(
    budget_id: Id, caller: Caller, at: Annotated[Instant | None, Query(description="Now.")] = None
) -> Response:
    """What was pending and posted at any moment."""
    await context().read(service.visible, budget_id, by=caller)
    then = moment(at or datetime.now(UTC), field="at")
    return json_response(BalanceOut.of(await context().read(statements.balance, budget_id, at=then), then))


@router.get("/{budget_id}/alerts", response_model=AlertPage)
async def list_alerts(budget_id: Id, caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Marks of its limits that were passed (50, 80, 95, 100 %), oldest first; each once in a window, and
    again when the limit changes.
    """
    found = await context().read(
        service.alerts, budget_id, by=caller, after=_ALERTS.after(cursor), limit=limit
    )
    return _ALERTS.answer([(alert_id, AlertOut.of(alert_id, alert)) for alert_id, alert in found], limit)


async def _budget(budget_id: int, caller: Principal, status: int) -> Response:
    account = await context().read(service.visible, budget_id, by=caller)
    found = await context().read(statements.projections, budget_id, now=datetime.now(UTC))
    usages = [UsageOut.of(usage, projection) for usage, projection in found]
    return json_response(BudgetOut.of(account, usages), status)


def _answer(status: int, outcome: Outcome, caller: Principal) -> AnswerOut:
    if isinstance(outcome, GaelpError):
        problem = body_of(outcome)
        return AnswerOut.model_construct(status=problem["status"], receipt=None, problem=problem)
    receipt = ReceiptOut.of(outcome, partial(keys.shown, caller))
    return AnswerOut.model_construct(status=status, receipt=receipt, problem=None)


async def _csv(budget_id: int, caller: Principal, since: datetime, until: datetime) -> AsyncIterator[str]:
    """Read in pages, so that a slow reader holds no connection."""
    last: int | None = None
    opening: Balance | None = None
    yield spreadsheets.written([statements.COLUMNS])
    while True:
        page = await context().read(
            statements.statement,
            budget_id,
            since=since,
            until=until,
            after=last,
            opening=opening,
            limit=_CSV_PAGE,
        )
        yield await asyncio.to_thread(_rows, page, caller)
        if len(page) < _CSV_PAGE:
            return
        last, opening = page[-1].id, Balance(page[-1].pending_micros, page[-1].posted_micros)


def _rows(page: list[Line], caller: Principal) -> str:
    rows = [statements.row(line) for line in page]
    for row in rows:
        row["key"] = keys.shown(caller, row["key"])
        row["hold_key"] = keys.shown(caller, row["hold_key"] or "")
    return spreadsheets.written(row.values() for row in rows)
