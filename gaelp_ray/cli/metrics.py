"""``gaelp metrics``: what an agent's jobs report, past or live."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, Cursor, Limit, an_id
from gaelp_ray.cli.output import cell, number, out, print_json, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import GaelpClient, LiveMetrics, Metric, Page


def metrics(
    agent_id: Annotated[int, typer.Argument(parser=an_id, help="The agent's id.")],
    job: Annotated[int | None, typer.Option(parser=an_id, help="Only of this job.")] = None,
    since: Annotated[datetime | None, typer.Option(help="Only from then on, local time.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show them live, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the metrics of an agent, newest first."""
    with connect() as gaelp:
        if follow:
            return _follow(gaelp, agent_id, job, as_json)
        start = None if since is None else since.astimezone()
        page = gaelp.metrics.list(agent_id, job_id=job, since=start, limit=limit, cursor=cursor)
    return print_json(page) if as_json else _print(page)


def _follow(gaelp: GaelpClient, agent_id: int, job: int | None, as_json: bool) -> None:
    for message in gaelp.watch(agent_id):
        if isinstance(message, LiveMetrics) and job in (None, message.job_id):
            if as_json:
                print_json(message, indent=None)
            else:
                out.print(_line(message), markup=False, highlight=False, soft_wrap=True)


def _line(point: LiveMetrics) -> str:
    values = "  ".join(f"{name} {number(value)}" for name, value in point.metrics.items())
    return f"{cell(point.at)}  job {cell(point.job_id)}  step {cell(point.step)}  {values}"


def _print(page: Page[Metric]) -> None:
    points = page.items
    names = sorted({name for point in points for name in point.metrics})
    print_table(
        ("at", "job", "step", "source", *names),
        [(p.at, p.job_id, p.step, p.source, *(p.metrics.get(name) for name in names)) for p in points],
        empty="No metrics yet.",
        more=page.next_cursor,
    )
