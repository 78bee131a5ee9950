"""``gaelp policies``: the rules that agents must keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from gaelp_ray.cli.options import AsJson, Cursor, Limit, Since, Until, an_id
from gaelp_ray.cli.output import out, print_json, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Page, Policy
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.safety.policies import Attach

app = typer.Typer(help="The rules that agents must keep.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The policy's name.")]
Version = Annotated[int | None, typer.Option(min=1, help="The newest if left out.")]
Scope = Annotated[Attach, typer.Argument(help="What to attach it to.")]
Subject = Annotated[str | None, typer.Argument(help="The agent's id or the type; left out for global.")]
File = Annotated[Path, typer.Argument(help="JSON with `currency` and `rules`.", exists=True, dir_okay=False)]


@app.command("list")
def list_policies(
    name: Annotated[str | None, typer.Option(help="Only versions of this one.")] = None,
    agent: Annotated[int | None, typer.Option(parser=an_id, help="Only those that bind this agent.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of policies, and what each is attached to."""
    with connect() as gaelp:
        page = (
            gaelp.policies.list(name=name, limit=limit, cursor=cursor)
            if agent is None
            else Page(gaelp.policies.binding(agent))
        )
    if as_json:
        return print_json(page)
    return print_table(
        ("policy", "rules", "attached to"),
        [(_label(p), [rule.get("rule") for rule in p.rules], _places(p)) for p in page.items],
        more=page.next_cursor,
        empty="No policies.",
    )


@app.command()
def show(name: Name, version: Version = None) -> None:
    """Print a policy as the JSON that `write` takes."""
    with connect() as gaelp:
        found = gaelp.policies.get(name, version)
    print_json({"currency": found.currency, "rules": found.rules})


@app.command()
def write(name: Name, file: File) -> None:
    """Write the next version of a policy from a file."""
    with connect() as gaelp:
        found = gaelp.policies.write(name, _document(file))
    out.print(f"{_label(found)} is written; attach it with `gaelp policies attach`.", markup=False)


@app.command()
def attach(name: Name, scope: Scope, subject: Subject = None, version: Version = None) -> None:
    """Attach a version, in place of any other version of the same policy there."""
    with connect() as gaelp:
        found = gaelp.policies.attach(name, scope, subject, version=version)
    out.print(f"{_label(found)} binds {_whom(scope, subject)}.", markup=False)


@app.command()
def detach(name: Name, scope: Scope, subject: Subject = None) -> None:
    """Take a policy away."""
    with connect() as gaelp:
        gaelp.policies.detach(name, scope, subject)
    out.print(f"{name} binds {_whom(scope, subject)} no more.", markup=False)


@app.command("dry-run")
def dry_run(
    agent_id: Annotated[int, typer.Argument(parser=an_id, help="Whose recorded actions to try it on.")],
    name: Annotated[str | None, typer.Option("--policy", help="A stored policy.")] = None,
    version: Version = None,
    file: Annotated[
        Path | None, typer.Option(help="Or a file with one.", exists=True, dir_okay=False)
    ] = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Show what a policy would have said to what an agent asked for; stores nothing."""
    if (name is None) == (file is None):
        raise typer.BadParameter("give one of the two.", param_hint="--policy, --file")
    tried = name if name is not None else _document(file)  # type: ignore[arg-type]
    with connect() as gaelp:
        found = gaelp.policies.dry_run(agent_id, tried, version=version, since=since, until=until)
    if as_json:
        return print_json(found)
    print_table(
        ("at", "verdict", "asked micros", "allowed micros", "why"),
        [
            (each.at, each.verdict, each.amount_micros, each.allowed_micros, " ".join(each.reasons))
            for each in found.items
        ],
        empty="It asked for nothing in that time.",
    )
    return out.print(", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.items()))


def _document(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{file} cannot be read as JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} must hold an object with `rules`.")
    return found


def _label(policy: Policy) -> str:
    return f"{policy.name}@{policy.version}"


def _places(policy: Policy) -> str:
    return ", ".join(f"{place.scope} {place.subject}".rstrip() for place in policy.attached_to)


def _whom(scope: Attach, subject: str | None) -> str:
    return "every agent" if scope is Attach.GLOBAL else f"{scope} {subject}"
