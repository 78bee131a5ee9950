"""The ``gaelp`` command. Its modules import neither Ray nor SQLAlchemy, so that it starts at once."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from gaelp_ray import __version__
from gaelp_ray.cli import (
    agents,
    approvals,
    audit,
    backups,
    budgets,
    holds,
    jobs,
    kill,
    local,
    platforms,
    policies,
    promote,
    quotas,
    ramps,
    roles,
    tokens,
)
from gaelp_ray.cli.demo import demo
from gaelp_ray.cli.demo_budget import demo_budget
from gaelp_ray.cli.metrics import metrics
from gaelp_ray.cli.output import print_error
from gaelp_ray.cli.queue import queue
from gaelp_ray.cli.replay import replay
from gaelp_ray.cli.savings import savings
from gaelp_ray.cli.service_log import logs
from gaelp_ray.cli.violations import violations
from gaelp_ray.domain.errors import GaelpError

app = typer.Typer(
    name="gaelp",
    help="Register advertising agents, train them, watch them live.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gaelp {__version__}")
        raise typer.Exit


local.register(app)
app.command()(demo)
app.command()(demo_budget)
app.add_typer(agents.app, name="agents")
app.add_typer(jobs.app, name="jobs")
app.command()(metrics)
app.command()(logs)
app.command()(queue)
app.add_typer(quotas.app, name="quotas")
app.add_typer(holds.app, name="holds")
app.add_typer(budgets.app, name="budgets")
app.command()(savings)
app.command()(replay)
app.add_typer(kill.app, name="kill")
app.add_typer(policies.app, name="policies")
app.command()(violations)
app.add_typer(approvals.app, name="approvals")
app.add_typer(roles.app, name="roles")
app.add_typer(promote.app, name="promote")
app.add_typer(ramps.app, name="ramps")
app.add_typer(platforms.app, name="platforms")
app.add_typer(audit.app, name="audit")
app.add_typer(backups.app, name="database")
tokens.register(app)


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Show the version.")
    ] = False,
) -> None:
    """Register advertising agents, train them, watch them live."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by default from ``sys.argv``, and leave with its exit code.

    0 is success, 1 an error, told in one sentence on stderr, and 2 a command that was written wrongly.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character is no reason to show nothing.
            stream.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments, prog_name="gaelp")
    except GaelpError as error:
        sentence = error.message
    except ValidationError as error:
        sentence = _wrong_setting(error)
    except SettingsError as error:
        field = str(error).partition('field "')[2].partition('"')[0]
        sentence = f"The setting GAELP_{field.upper()} is not valid JSON."
    except BrokenPipeError:
        # Who read the output has had enough; what is left to flush at the end would be told as an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sentence = f"{where}{error.strerror or error}."
    print_error(sentence)
    sys.exit(1)


def _wrong_setting(error: ValidationError) -> str:
    """The first of the settings that cannot be read. Never its value, which may be a secret."""
    first = error.errors(include_input=False, include_url=False)[0]
    why = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"The settings do not go together: {why}."
    name = "_".join(map(str, first["loc"])).upper()
    return f"The setting GAELP_{name} is not valid: {why[:1].lower() + why[1:]}."
