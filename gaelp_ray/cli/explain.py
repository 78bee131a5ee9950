"""Why a job waits, as a person reads it."""

from __future__ import annotations

from gaelp_ray.cli.output import cell, compute, out, print_json, print_record, print_table
from gaelp_ray.client import Eta, Explanation, Preemptions


def print_explanation(found: Explanation, as_json: bool) -> None:
    if as_json:
        return print_json(found)
    aged = found.effective_priority not in (None, found.priority)
    print_record(
        {
            "why": f"{found.code}: {found.message}" if found.code else found.message,
            "place in line": None if found.position is None else f"{found.position} of {found.queued}",
            "begins": _eta(found.eta),
            "priority": f"{found.priority}, by waiting {found.effective_priority}"
            if aged
            else found.priority,
            "share": found.share,
            "places": tuple(place.node_id for place in found.placement or ()),
            "compute": compute(found.cost) if found.cost else None,
            "makes room": tuple(f"job {job_id}" for job_id in found.victims),
        }
    )
    if found.unblock:
        out.print("It could start when one of these comes true:")
        for sentence in found.unblock:
            out.print(f"  - {sentence}", markup=False, highlight=False)
    return None


def print_preemptions(found: Preemptions) -> None:
    """When the job made room, and who made room for it; nothing where nobody did."""
    rows = [
        (each.at, f"job {each.job_id}", each.reason, each.message) for each in (*found.items, *found.victims)
    ]
    if rows:
        print_table(("at", "made room", "reason", "message"), rows, empty="")


def _eta(eta: Eta | None) -> str | None:
    if eta is None:
        return None
    return f"about {cell(eta.starts_at)}, between {cell(eta.earliest)} and {cell(eta.latest)}"
