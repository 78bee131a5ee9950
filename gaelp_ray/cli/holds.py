"""``gaelp holds``: keep jobs from starting."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson
from gaelp_ray.cli.output import out, print_items, print_json, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.domain.holds import HoldMode, HoldScope

app = typer.Typer(help="Keep jobs from starting, and let them start again.", no_args_is_help=True)

Scope = Annotated[HoldScope, typer.Argument(help="What to hold.")]
Name = Annotated[str | None, typer.Argument(help="The team or user, or the agent's id; left out for global.")]


@app.command("list")
def list_holds(as_json: AsJson = False) -> None:
    """List the holds in force that bind your jobs."""
    with connect() as gaelp:
        holds = gaelp.holds.list()
    if as_json:
        return print_items(holds)
    return print_table(
        ("scope", "name", "mode", "reason", "by", "since"),
        [(hold.scope, hold.name, hold.mode, hold.reason, hold.by, hold.at) for hold in holds],
        empty="Nothing is on hold.",
    )


@app.command()
def place(
    scope: Scope,
    name: Name = None,
    drain: Annotated[bool, typer.Option("--drain", help="What runs saves its work and waits again.")] = False,
    reason: Annotated[str, typer.Option(help="What the owners of waiting jobs are told.")] = "",
    as_json: AsJson = False,
) -> None:
    """Let nothing of it start."""
    mode = HoldMode.HOLD_AND_DRAIN if drain else HoldMode.HOLD
    with connect() as gaelp:
        hold = gaelp.holds.place(scope, name, mode=mode, reason=reason)
    if as_json:
        return print_json(hold)
    return out.print(f"{_whom(scope, name)} is on hold.", markup=False)


@app.command()
def lift(scope: Scope, name: Name = None) -> None:
    """Let jobs start again."""
    with connect() as gaelp:
        gaelp.holds.lift(scope, name)
    out.print(f"{_whom(scope, name)} is on hold no more.", markup=False)


def _whom(scope: HoldScope, name: str | None) -> str:
    return "Everything" if scope is HoldScope.GLOBAL else f"{scope.capitalize()} {name}"
