"""``gaelp roles``: who may do more than look after his own agents."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson
from gaelp_ray.cli.output import out, print_items, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.domain.roles import Role

app = typer.Typer(help="See roles and, as an admin, grant them.", no_args_is_help=True)

User = Annotated[str, typer.Argument(help="The user.")]
RoleName = Annotated[Role, typer.Argument(help="The role.")]


@app.command("list")
def list_grants(as_json: AsJson = False) -> None:
    """List your roles, or as an admin everybody's."""
    with connect() as gaelp:
        found = gaelp.roles.list()
    if as_json:
        return print_items(found)
    return print_table(
        ("user", "role", "granted by", "at"),
        [(each.user, each.role, each.by, each.at) for each in found],
        empty="No roles were granted; an admin has them all.",
    )


@app.command()
def grant(user: User, role: RoleName) -> None:
    """Give a role to a user."""
    with connect() as gaelp:
        gaelp.roles.grant(user, role)
    out.print(f"{user} is {role}.", markup=False)


@app.command()
def revoke(user: User, role: RoleName) -> None:
    """Take a role away."""
    with connect() as gaelp:
        gaelp.roles.revoke(user, role)
    out.print(f"{user} is {role} no more.", markup=False)
