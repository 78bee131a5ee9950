"""``gaelp platforms``: what ad platforms report, held against the ledger."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp_ray.cli.options import AsJson, moment
from gaelp_ray.cli.output import out, print_items, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.domain.errors import InvalidInput

app = typer.Typer(help="Reports of ad platforms, held against the ledger.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The platform.")]
Since = Annotated[
    datetime, typer.Option(parser=moment, metavar="TIME", help="Reports that came from then on.")
]
Until = Annotated[datetime, typer.Option(parser=moment, metavar="TIME", help="And before then.")]


@app.command()
def report(
    name: Name,
    file: Annotated[Path, typer.Argument(help="A JSON list of reports.", exists=True, dir_okay=False)],
) -> None:
    """Store reports from a file."""
    with connect() as gaelp:
        found = gaelp.platforms.report(name, _reports(file))
    out.print(f"{found.received} reports, {found.new} of them new.")


@app.command()
def differences(
    name: Name,
    since: Since,
    until: Until,
    placed: Annotated[
        list[str] | None, typer.Option(help="An order that was placed there; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the orders on which platform and ledger differ."""
    with connect() as gaelp:
        found = gaelp.platforms.differences(
            name, since=since.astimezone(), until=until.astimezone(), placed=placed or ()
        )
    if as_json:
        return print_items(found)
    return print_table(
        ("order", "campaign", "what", "reported micros", "booked micros", "difference"),
        [
            (d.order_key, d.campaign, d.kind, d.reported_micros, d.booked_micros, d.difference_micros)
            for d in found
        ],
        empty="They agree.",
    )


@app.command()
def reconcile(name: Name, since: Since, until: Until, as_json: AsJson = False) -> None:
    """Make the ledger say what the platform reports."""
    with connect() as gaelp:
        found = gaelp.platforms.reconcile(name, since=since.astimezone(), until=until.astimezone())
    if as_json:
        return print_items(found)
    return print_table(
        ("booked", "micros", "refused"),
        [(each.operation, each.amount_micros, each.detail) for each in found],
        empty="There was nothing to book.",
    )


def _reports(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(found, list):
        raise InvalidInput(f"{file} must hold a list of reports.")
    return found
