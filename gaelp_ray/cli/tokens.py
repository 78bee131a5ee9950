"""`gaelp token`: bearer tokens."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from gaelp_ray.config import Settings


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tokens = typer.Typer(help="Bearer tokens.", no_args_is_help=True)
    tokens.command("create")(create)
    app.add_typer(tokens, name="token")


def create(
    user: Annotated[str, typer.Argument(help="Who will bear it.")],
    admin: Annotated[bool, typer.Option(help="May see and change everybody's agents.")] = False,
) -> None:
    """Make a token and print it."""
    print(make(Settings(), user, admin=admin))


def make(settings: Settings, user: str, *, admin: bool) -> str:
    """Sign a token with the service's secret."""
    from gaelp_ray.bootstrap import signing_secret  # noqa: PLC0415 - keeps `gaelp --help` quick
    from gaelp_ray.services import tokens  # noqa: PLC0415

    secret = signing_secret(settings)
    return tokens.make(secret, user=user, admin=admin, ttl=settings.token_ttl, now=datetime.now(UTC))
