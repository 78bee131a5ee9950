"""``gaelp violations``: rules that agents broke."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, Cursor, Limit, Since, Until
from gaelp_ray.cli.output import print_items, print_json, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.domain.safety.verdicts import Severity


def violations(
    agent: Annotated[
        int | None, typer.Argument(help="The agent's id; left out for all, as an auditor.")
    ] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only those that led to this.")] = None,
    counts: Annotated[bool, typer.Option("--counts", help="How many of each kind, as an auditor.")] = False,
    since: Since = None,
    until: Until = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List the rules of policies that actions broke, oldest first."""
    with connect() as gaelp:
        if counts:
            counted = gaelp.violations.counts(since=since)
            if as_json:
                return print_items(counted)
            rows = [(each.severity, each.code, each.count) for each in counted]
            return print_table(("led to", "rule", "count"), rows, empty="No violations.")
        page = gaelp.violations.list(
            agent, severity=severity, since=since, until=until, limit=limit, cursor=cursor
        )
    if as_json:
        return print_json(page)
    return print_table(
        ("id", "at", "agent", "led to", "rule", "message"),
        [(v.id, v.at, v.agent_id, v.severity, v.code, v.message) for v in page.items],
        more=page.next_cursor,
        empty="No violations.",
    )
