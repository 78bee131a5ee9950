"""``gaelp quotas``: what users and teams may hold at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, Cursor, Limit, Since, Until, pairs
from gaelp_ray.cli.output import number, out, print_json, print_record, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Quota
from gaelp_ray.domain.quotas import FIELDS, QuotaKind

app = typer.Typer(help="Read quotas and, as an admin, set them.", no_args_is_help=True)

Kind = Annotated[QuotaKind, typer.Argument(help="Whose it is.")]
Name = Annotated[str, typer.Argument(help="The user or team; '*' is every user without his own.")]
Amounts = list[str] | None
_AMOUNT = "RESOURCE=AMOUNT"


@app.command("list")
def list_quotas(
    kind: Annotated[QuotaKind | None, typer.Option(help="Only of this kind.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the quotas that were set and that you may see."""
    with connect() as gaelp:
        page = gaelp.quotas.list(kind=kind, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    return print_table(
        ("kind", "name", "team", *FIELDS, "weight", "queued"),
        [
            (q.kind, q.name, q.team, *(q.limit.get(field) for field in FIELDS), q.weight, q.queued)
            for q in page.items
        ],
        more=page.next_cursor,
        empty="No quotas; everybody may use what there is.",
    )


@app.command()
def show(kind: Kind, name: Name, as_json: AsJson = False) -> None:
    """Show the quota in force, be it the default one."""
    with connect() as gaelp:
        _print(gaelp.quotas.get(kind, name), as_json)


@app.command("set")
def set_quota(
    kind: Kind,
    name: Name,
    limit: Annotated[
        Amounts,
        typer.Option(metavar=_AMOUNT, help=f"Of {', '.join(FIELDS)}, or 'unlimited'; repeatable."),
    ] = None,
    team: Annotated[str | None, typer.Option(help="The user's team.")] = None,
    borrow: Annotated[
        Amounts, typer.Option(metavar=_AMOUNT, help="How much of teammates' he may borrow; repeatable.")
    ] = None,
    lend: Annotated[
        Amounts, typer.Option(metavar=_AMOUNT, help="How much teammates may borrow of it; repeatable.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="His due share, 1 if left out.")] = None,
    queued: Annotated[int | None, typer.Option(min=0, help="Jobs that may wait.")] = None,
    as_json: AsJson = False,
) -> None:
    """Set a quota as a whole: what is left out is not limited."""
    amounts = {
        "limit": pairs(limit, "--limit"),
        "borrowing": pairs(borrow, "--borrow"),
        "lending": pairs(lend, "--lend"),
    }
    with connect() as gaelp:
        found = gaelp.quotas.set(kind, name, team=team, weight=weight, queued=queued, **amounts)
    _print(found, as_json)


@app.command()
def unset(kind: Kind, name: Name) -> None:
    """Take a quota away; the default one applies then."""
    with connect() as gaelp:
        gaelp.quotas.unset(kind, name)
    out.print(f"There is no quota of {kind} {name} any more.", markup=False)


@app.command()
def usage(
    kind: Kind,
    name: Name,
    history: Annotated[
        str | None, typer.Option(metavar="RESOURCE", help="Over time, of this resource.")
    ] = None,
    since: Since = None,
    until: Until = None,
    buckets: Annotated[int, typer.Option(min=1, max=1000, help="So many equal spans.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Show what is held now, or was over time."""
    with connect() as gaelp:
        if history is not None:
            past = gaelp.quotas.history(kind, name, history, since=since, until=until, buckets=buckets)
            if as_json:
                return print_json(past)
            points = [(point.at, number(point.average)) for point in past.items]
            return print_table(("from", f"average {past.unit}"), points, empty="Nothing.")
        now = gaelp.quotas.usage(kind, name)
    if as_json:
        return print_json(now)
    columns: dict[str, Mapping[str, str]] = {"limit": now.limit, "held": now.held, **now.members}
    print_table(
        ("", *columns),
        [(field, *(amounts.get(field) for amounts in columns.values())) for field in FIELDS],
        empty="",
    )
    return out.print(f"{now.waiting} jobs wait.")


def _print(quota: Quota, as_json: bool) -> None:
    if as_json:
        return print_json(quota)
    return print_record(
        {
            quota.kind: quota.name,
            "team": quota.team,
            "limit": quota.limit,
            "may borrow": quota.borrowing,
            "lends": quota.lending,
            "weight": quota.weight,
            "queued": quota.queued,
            "set": quota.updated_at or "by default",
            "by": quota.updated_by,
        }
    )
