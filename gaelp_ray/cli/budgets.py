"""``gaelp budgets``: whose money is limited, what is held and spent. Amounts are in units of currency."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gaelp_ray.cli.options import AsJson, Cursor, Limit, Since, Until, an_id, moment, pairs
from gaelp_ray.cli.output import cell, out, print_items, print_json, print_record, print_table, shown
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Budget, BudgetUsage, Receipt, ReviewedAction
from gaelp_ray.domain.ledger import AtExpiry, Money, Scope
from gaelp_ray.domain.money import micros_from_units, written
from gaelp_ray.domain.windows import Period

app = typer.Typer(help="Read budgets, limit them, hold and spend from them.", no_args_is_help=True)

BudgetId = Annotated[int, typer.Argument(parser=an_id, help="The budget's id.")]
User = Annotated[str, typer.Argument(help="The user.")]
HoldKey = Annotated[str, typer.Argument(help="The key of the hold.")]
Amount = Annotated[str, typer.Argument(help="In units of currency, e.g. 12.50.")]
Key = Annotated[
    str | None, typer.Option(help="Yours; the same again is answered as before. Made up if left out.")
]
Campaign = Annotated[str | None, typer.Option(help="Whose budget is bound as well.")]
Limits = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="PERIOD=AMOUNT", help="Of hour, day, week, month, total; repeatable."),
]

_UNLIMITED = "none"
_BAR_WIDTH = 24
#: From so many percent on a bar is yellow, or red.
_WARN, _FULL = 80, 100


@app.command("list")
def list_budgets(
    scope: Annotated[Scope | None, typer.Option(help="Only of this scope.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only of this agent, user, team or campaign.")] = None,
    money: Annotated[Money | None, typer.Option(help="Only of this kind.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the budgets that you may see."""
    with connect() as gaelp:
        page = gaelp.budgets.list(scope=scope, subject=subject, money=money, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    rows = [
        (b.id, b.scope, b.subject, b.money, b.currency, use.period, *_amounts(use))
        for b in page.items
        for use in b.usages
    ]
    columns = ("id", "scope", "subject", "money", "currency", "window", "held", "spent", "limit")
    return print_table(columns, rows, empty="No budgets.", more=page.next_cursor)


@app.command()
def show(budget_id: BudgetId, as_json: AsJson = False) -> None:
    """Show a budget with a bar for each of its windows."""
    with connect() as gaelp:
        budget = gaelp.budgets.get(budget_id)
    _print(budget, as_json)


@app.command("open")
def open_budget(
    scope: Annotated[Scope, typer.Argument(help="Whose money it is.")],
    subject: Annotated[
        str, typer.Argument(help="The agent's id, or a name; left out for the global one.")
    ] = "",
    money: Annotated[Money, typer.Option(help="The kind of money.")] = Money.SIMULATED,
    currency: Annotated[str | None, typer.Option(help="ISO 4217; by default that of the service.")] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name, e.g. Europe/Berlin.")] = None,
    closes: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="No new holds from then on.")
    ] = None,
    limits: Limits = None,
    as_json: AsJson = False,
) -> None:
    """Open a budget, or limit anew one that was opened so before."""
    wanted = {_period(period): _limit(amount, period) for period, amount in pairs(limits, "--limit").items()}
    with connect() as gaelp:
        budget = gaelp.budgets.open(
            scope,
            subject,
            money=money,
            currency=currency,
            timezone=timezone,
            closes_at=closes,
            limits_micros=wanted or None,
        )
    _print(budget, as_json)


@app.command()
def limit(
    budget_id: BudgetId,
    period: Annotated[Period, typer.Argument(help="How long its windows are.")],
    amount: Annotated[str, typer.Argument(help="In units of currency, or 'none'.")],
    as_json: AsJson = False,
) -> None:
    """Set or lift a limit. What is used already stays; new holds past it are refused."""
    with connect() as gaelp:
        usage = gaelp.budgets.limit(budget_id, period, _limit(amount, "AMOUNT"))
    if as_json:
        return print_json(usage)
    return _print_bars((usage,))


@app.command()
def members(budget_id: BudgetId, as_json: AsJson = False) -> None:
    """List who may charge a campaign's budget, beside operators."""
    with connect() as gaelp:
        found = gaelp.budgets.members(budget_id)
    if as_json:
        return print_json(found)
    rows = [(each.user, each.by, each.at) for each in found]
    return print_table(("user", "added by", "at"), rows, empty="It has no members.")


@app.command()
def add_member(budget_id: BudgetId, user: User) -> None:
    """Let the agents of a user hold money of a campaign's budget."""
    with connect() as gaelp:
        gaelp.budgets.add_member(budget_id, user)
    out.print(f"{user} is a member of budget {budget_id}.", markup=False)


@app.command()
def remove_member(budget_id: BudgetId, user: User) -> None:
    """Take that right away; what was held stays held."""
    with connect() as gaelp:
        gaelp.budgets.remove_member(budget_id, user)
    out.print(f"{user} is no member of budget {budget_id} any more.", markup=False)


@app.command()
def holds(budget_id: BudgetId, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List what is held, first what expires first."""
    with connect() as gaelp:
        found = gaelp.budgets.holds(budget_id, limit=limit)
    if as_json:
        return print_items(found)
    return print_table(
        ("key", "amount", "margin", "job", "at expiry", "expires"),
        [
            (h.key, written(h.amount_micros), written(h.margin_micros), h.job_id, h.at_expiry, h.expires_at)
            for h in found
        ],
        empty="Nothing is held.",
    )


@app.command()
def hold(
    budget_id: BudgetId,
    amount: Amount,
    key: Key = None,
    ttl: Annotated[float | None, typer.Option(help="Seconds until it expires; 60 if left out.")] = None,
    margin: Annotated[str | None, typer.Option(help="Held on top, for platforms that over-deliver.")] = None,
    at_expiry: Annotated[AtExpiry | None, typer.Option(help="What becomes of it then.")] = None,
    campaign: Campaign = None,
    bid: Annotated[str | None, typer.Option(help="Of an action of real money: the highest bid.")] = None,
    region: Annotated[str | None, typer.Option(help="Of an action of real money, e.g. DE.")] = None,
    category: Annotated[
        list[str] | None, typer.Option(help="Of an action of real money; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Reserve money."""
    told = {"bid_micros": _micros(bid, "--bid"), "region": region, "categories": category}
    action = {name: value for name, value in told.items() if value is not None}
    with connect() as gaelp:
        receipt = gaelp.budgets.hold(
            budget_id,
            _given(amount),
            key=key,
            ttl_seconds=ttl,
            margin_micros=_micros(margin, "--margin"),
            at_expiry=at_expiry,
            campaign=campaign,
            action=action or None,
        )
    _print_receipt(receipt, as_json)


@app.command()
def post(
    budget_id: BudgetId,
    key: HoldKey,
    amount: Annotated[str | None, typer.Argument(help="By default all but the margin.")] = None,
    as_json: AsJson = False,
) -> None:
    """Spend from a hold; what is left of it returns."""
    with connect() as gaelp:
        receipt = gaelp.budgets.post(budget_id, key, _micros(amount, "AMOUNT"))
    _print_receipt(receipt, as_json)


@app.command()
def void(budget_id: BudgetId, key: HoldKey, as_json: AsJson = False) -> None:
    """Give a hold back."""
    with connect() as gaelp:
        receipt = gaelp.budgets.void(budget_id, key)
    _print_receipt(receipt, as_json)


@app.command()
def settle(budget_id: BudgetId, key: HoldKey, spent: Amount, as_json: AsJson = False) -> None:
    """Say what was spent under a hold, however much and however late."""
    with connect() as gaelp:
        receipt = gaelp.budgets.settle(budget_id, key, _given(spent))
    _print_receipt(receipt, as_json)


@app.command()
def spend(
    budget_id: BudgetId,
    amount: Amount,
    key: Key = None,
    at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="When, if not now.")
    ] = None,
    campaign: Campaign = None,
    as_json: AsJson = False,
) -> None:
    """Record money that was spent in the world already."""
    with connect() as gaelp:
        receipt = gaelp.budgets.spend(budget_id, _given(amount), key=key, occurred_at=at, campaign=campaign)
    _print_receipt(receipt, as_json)


@app.command()
def statement(
    budget_id: BudgetId,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all of it as CSV.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what changed the balance, by default in the last 30 days."""
    first, end = since, until
    with connect() as gaelp:
        if as_csv:
            for text in gaelp.budgets.export(budget_id, since=first, until=end):
                sys.stdout.write(shown(text, csv=True))
            return None
        page = gaelp.budgets.statement(budget_id, since=first, until=end, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    return print_table(
        ("at", "operation", "hold or key", "held", "spent", "all held", "all spent"),
        [
            (
                line.at,
                line.operation,
                line.hold_key or line.key,
                written(line.pending_micros),
                written(line.posted_micros),
                written(line.balance_pending_micros),
                written(line.balance_posted_micros),
            )
            for line in page.items
        ],
        more=page.next_cursor,
        empty="Nothing was booked.",
    )


@app.command()
def balance(
    budget_id: BudgetId,
    at: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Then instead of now.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was held and spent in all at a moment."""
    with connect() as gaelp:
        found = gaelp.budgets.balance(budget_id, at=at)
    if as_json:
        return print_json(found)
    facts = {"held": written(found.pending_micros), "spent": written(found.posted_micros), "at": found.at}
    return print_record(facts)


@app.command()
def alerts(
    budget_id: Annotated[
        int | None, typer.Argument(parser=an_id, help="By default all, for operators.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the marks of limits that were passed: 50, 80, 95 and 100 percent."""
    with connect() as gaelp:
        page = gaelp.budgets.alerts(budget_id, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    return print_table(
        ("at", "budget", "window", "percent", "held", "spent", "limit"),
        [
            (
                alert.at,
                alert.account_id,
                alert.period,
                alert.percent,
                written(alert.pending_micros),
                written(alert.posted_micros),
                _or_none(alert.limit_micros),
            )
            for alert in page.items
        ],
        more=page.next_cursor,
        empty="No limit was neared.",
    )


def _print(budget: Budget, as_json: bool) -> None:
    if as_json:
        return print_json(budget)
    print_record(
        {
            "budget": budget.id,
            "of": f"{budget.scope} {budget.subject}".rstrip(),
            "money": f"{budget.money} {budget.currency}",
            "time zone": budget.timezone,
            "closes": budget.closes_at,
        }
    )
    return _print_bars(budget.usages)


def _print_bars(usages: Sequence[BudgetUsage]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for usage in usages:
        held, spent, limit = _amounts(usage)
        facts = f"{spent} spent, {held} held, of {limit}"
        table.add_row(Text(usage.period, style="bold"), _bar(usage), Text(facts), _outlook(usage))
    out.print(table)


def _bar(usage: BudgetUsage) -> Text:
    """How much of the limit is spent and held."""
    limit = usage.limit_micros
    if limit is None:
        return Text("")
    used = max(0, usage.posted_micros) + usage.pending_micros
    percent = 100 if used >= limit else used * 100 // limit
    style = "red" if percent >= _FULL else "yellow" if percent >= _WARN else "green"
    # Something spent is never nothing on the bar.
    full = max(percent * _BAR_WIDTH // 100, 1 if used else 0)
    return Text.assemble(("█" * full, style), ("░" * (_BAR_WIDTH - full), "dim"), f" {percent:3d} %")


def _outlook(usage: BudgetUsage) -> Text:
    if usage.over:
        return Text("over its limit", style="red")
    gone_at = usage.projection.exhausted_at if usage.projection is not None else None
    return Text("") if gone_at is None else Text(f"gone at {cell(gone_at).plain}", style="yellow")


def _amounts(usage: BudgetUsage) -> tuple[str, str, str]:
    return written(usage.pending_micros), written(usage.posted_micros), _or_none(usage.limit_micros)


def _or_none(limit_micros: int | None) -> str:
    return _UNLIMITED if limit_micros is None else written(limit_micros)


def _print_receipt(receipt: Receipt, as_json: bool) -> None:
    if as_json:
        return print_json(receipt)
    return print_record(
        {
            receipt.operation: written(receipt.amount_micros),
            "key": receipt.hold_key or receipt.key,
            "expires": receipt.expires_at,
            "breached": "past a limit" if receipt.breached else None,
            **_allowed(receipt.action),
        }
    )


def _allowed(action: ReviewedAction | None) -> dict[str, Any]:
    if action is None:
        return {}
    return {
        "allowed": written(action.amount_micros),
        "highest bid": None if action.bid_micros is None else written(action.bid_micros),
        "because": tuple(reason.message for reason in action.reasons),
    }


def _period(name: str) -> Period:
    try:
        return Period(name)
    except ValueError:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(Period)}.", param_hint="--limit") from None


def _limit(amount: str, field: str) -> int | None:
    return None if amount == _UNLIMITED else _micros(amount, field)


def _given(amount: str) -> int:
    return micros_from_units(amount, field="AMOUNT")


def _micros(amount: str | None, field: str) -> int | None:
    return None if amount is None else micros_from_units(amount, field=field)
