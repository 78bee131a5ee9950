"""``gaelp savings``: what spot nodes saved."""

from __future__ import annotations

from collections.abc import Mapping

from gaelp_ray.cli.options import AsJson, Since, Until
from gaelp_ray.cli.output import print_json, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Cost


def savings(since: Since = None, until: Until = None, as_json: AsJson = False) -> None:
    """Show what your jobs on spot nodes saved, by default in the last 30 days."""
    with connect() as gaelp:
        found = gaelp.savings(since=since, until=until)
    if as_json:
        return print_json(found)
    groups: dict[str, Mapping[str, Cost]] = {
        "all": {"": found.total},
        "user": found.users,
        "team": found.teams,
        "agent": found.agents,
    }
    print_table(
        ("of", "", "on demand", "paid", f"saved, {found.currency}"),
        [
            (group, name, *(f"{amount:,.2f}" for amount in (cost.on_demand, cost.paid, cost.saved)))
            for group, costs in groups.items()
            for name, cost in costs.items()
        ],
        empty="",
    )
    return None
