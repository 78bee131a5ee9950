"""``gaelp violations``: rules that agents broke."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, Limit, Since, Until
from gaelp_ray.cli.output import print_json, print_table
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
    as_json: AsJson = False,
) -> None:
    """List the rules of policies that actions broke, oldest first."""
    with connect() as gaelp:
        if counts:
            counted = gaelp.violations.counts(since=since)
            if as_json:
                return print_json(counted)
            rows = [(each.severity, each.code, each.count) for each in counted]
            return print_table(("led to", "rule", "count"), rows, empty="No violations.")
        found = gaelp.violations.list(agent, severity=severity, since=since, until=until, limit=limit).items
    if as_json:
        return print_json(found)
    return print_table(
        ("id", "at", "agent", "led to", "rule", "message"),
        [(v.id, v.at, v.agent_id, v.severity, v.code, v.message) for v in found],
        empty="No violations.",
    )
