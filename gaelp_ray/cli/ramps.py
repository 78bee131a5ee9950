"""``gaelp ramps``: a promoted version begins with a little money."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, Cursor, Limit, an_id
from gaelp_ray.cli.output import print_json, print_record, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Ramp, Stage
from gaelp_ray.domain.errors import InvalidInput

app = typer.Typer(help="Staged spend of promoted versions.", no_args_is_help=True)

RampId = Annotated[int, typer.Argument(parser=an_id, help="Its id.")]


@app.command("list")
def list_ramps(
    agent: Annotated[
        int | None, typer.Option(parser=an_id, help="All of this agent, ended ones too.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List ramps that still go up or back."""
    with connect() as gaelp:
        page = gaelp.ramps.list(agent_id=agent, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    return print_table(
        ("id", "agent", "state", "stage", "day micros", "of", "watched", "since", "reason"),
        [
            (
                r.id,
                r.agent_id,
                r.state,
                _stage(r),
                r.day_micros,
                r.full_day_micros,
                r.metric,
                r.stage_since,
                r.reason,
            )
            for r in page.items
        ],
        more=page.next_cursor,
        empty="No ramps.",
    )


@app.command()
def show(ramp_id: RampId, as_json: AsJson = False) -> None:
    """Show a ramp."""
    with connect() as gaelp:
        _print(gaelp.ramps.get(ramp_id), as_json)


@app.command()
def start(
    agent_id: Annotated[int, typer.Argument(parser=an_id, help="The agent's id.")],
    version: Annotated[str, typer.Argument(help="A promoted version.")],
    day_micros: Annotated[int, typer.Option(min=1, help="What it may spend in a day at the end.")],
    metric: Annotated[str, typer.Option(help="What watches over it.")],
    at_least: Annotated[float, typer.Option(help="The least that its median may be.")],
    account: Annotated[
        int | None, typer.Option(help="An account of its real money; the main one if left out.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Values before anything is said of a stage.")] = 1,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PERCENT:HOURS", help="Repeatable; 5, 25, 50 and 100 for a day each if left out."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a promoted version current, with the first share of its daily budget."""
    with connect() as gaelp:
        found = gaelp.ramps.start(
            agent_id,
            version,
            account_id=account,
            full_day_micros=day_micros,
            metric=metric,
            min_value=at_least,
            min_samples=samples,
            stages=None if stage is None else [_read(each) for each in stage],
        )
    _print(found, as_json)


@app.command()
def rollback(
    ramp_id: RampId, reason: Annotated[str, typer.Option(help="Why.")], as_json: AsJson = False
) -> None:
    """Go back to the version before, and spend nothing more."""
    with connect() as gaelp:
        _print(gaelp.ramps.roll_back(ramp_id, reason=reason), as_json)


def _read(text: str) -> Stage:
    percent, _, hours = text.partition(":")
    try:
        return Stage(int(percent), float(hours) * 3600)
    except ValueError:
        raise InvalidInput(f"A stage is PERCENT:HOURS, such as 5:24; got {text!r}.") from None


def _stage(ramp: Ramp) -> str:
    return f"{ramp.stage + 1} of {len(ramp.stages)}"


def _print(ramp: Ramp, as_json: bool) -> None:
    if as_json:
        return print_json(ramp)
    return print_record(
        {
            "ramp": ramp.id,
            "agent": ramp.agent_id,
            "state": ramp.state,
            "stage": _stage(ramp),
            "since": ramp.stage_since,
            "stages": [f"{s.percent} % for {s.holds_for_seconds / 3600:g} h" for s in ramp.stages],
            "a day": f"{ramp.day_micros} of {ramp.full_day_micros} micros",
            "watched": f"median of {ramp.metric} of at least {ramp.min_value:g}, {ramp.min_samples} values",
            "reason": ramp.reason,
        }
    )
