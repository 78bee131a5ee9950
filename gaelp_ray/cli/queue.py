"""``gaelp queue``: the queue, for operators."""

from __future__ import annotations

from gaelp_ray.cli.options import AsJson, Limit
from gaelp_ray.cli.output import print_json, print_record, print_table
from gaelp_ray.cli.session import connect


def queue(limit: Limit = 20, as_json: AsJson = False) -> None:
    """Show what waits and why; needs an admin's token."""
    with connect() as gaelp:
        found = gaelp.queue(limit=limit)
    if as_json:
        return print_json(found)
    print_record(
        {
            "as of": found.at,
            "waiting": f"{found.waiting} jobs of {found.lanes} kinds",
            "oldest": found.oldest,
            "why": found.by_code,
            "users": found.by_user,
            "teams": found.by_team,
            "starting": found.starting,
            "making room": found.making_room,
            "asked of the autoscaler": f"nodes for {found.demanded} workers" if found.demanded else None,
        }
    )
    return print_table(
        ("job", "and alike", "owner", "priority", "by waiting", "since", "why"),
        [
            (
                head.job_id,
                head.waiting - 1,
                head.owner,
                head.priority,
                head.effective_priority,
                head.submitted_at,
                f"{head.code}: {head.message}",
            )
            for head in found.heads
        ],
        empty="Nothing waits.",
    )
