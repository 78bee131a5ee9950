"""``gaelp kill``: stop spending at once."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, an_id
from gaelp_ray.cli.output import out, print_items, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.domain.switches import SwitchScope

app = typer.Typer(help="Stop spending at once, and let it go on.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; it is audited.")]
#: Nobody should have to think of one first.
_EMERGENCY = "emergency"


@app.command()
def agent(
    agent_id: Annotated[int, typer.Argument(parser=an_id, help="Its id.")], reason: Reason = _EMERGENCY
) -> None:
    """Stop an agent."""
    _engage(SwitchScope.AGENT, str(agent_id), reason)


@app.command()
def user(name: Annotated[str, typer.Argument(help="The user.")], reason: Reason = _EMERGENCY) -> None:
    """Stop a user, his agents and their jobs."""
    _engage(SwitchScope.USER, name, reason)


@app.command()
def campaign(name: Annotated[str, typer.Argument(help="The campaign.")], reason: Reason = _EMERGENCY) -> None:
    """Stop a campaign."""
    _engage(SwitchScope.CAMPAIGN, name, reason)


@app.command("global")
def everything(reason: Reason = _EMERGENCY) -> None:
    """Stop everything."""
    _engage(SwitchScope.GLOBAL, None, reason)


@app.command()
def release(
    scope: Annotated[SwitchScope, typer.Argument(help="What was stopped.")],
    name: Annotated[str | None, typer.Argument(help="Its id or name; left out for global.")] = None,
    *,
    reason: Reason,
) -> None:
    """Let it spend again."""
    with connect() as gaelp:
        gaelp.switches.release(scope, name, reason=reason)
    out.print(f"{_whom(scope, name)} may spend again.", markup=False)


@app.command("list")
def list_switches(as_json: AsJson = False) -> None:
    """List what is stopped."""
    with connect() as gaelp:
        found = gaelp.switches.list()
    if as_json:
        return print_items(found)
    return print_table(
        ("scope", "name", "reason", "by", "since"),
        [(each.scope, each.subject or None, each.reason, each.by, each.at) for each in found],
        empty="Nothing is stopped.",
    )


def _engage(scope: SwitchScope, name: str | None, reason: str) -> None:
    with connect() as gaelp:
        gaelp.switches.engage(scope, name, reason=reason)
    again = f"gaelp kill release {scope} {name or ''}".rstrip()
    out.print(f"{_whom(scope, name)} is stopped. To let it go on: {again} --reason ...", markup=False)


def _whom(scope: SwitchScope, name: str | None) -> str:
    return "Everything" if scope is SwitchScope.GLOBAL else f"{scope.capitalize()} {name}"
