"""``gaelp approvals``: other people agree before something risky is done."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, Cursor, Limit, an_id
from gaelp_ray.cli.output import print_json, print_record, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Approval
from gaelp_ray.domain.approvals import Purpose
from gaelp_ray.domain.windows import Period

app = typer.Typer(help="Ask for approvals and vote on them.", no_args_is_help=True)

ApprovalId = Annotated[int, typer.Argument(parser=an_id, help="Its id.")]
Reason = Annotated[str, typer.Option(help="Why.")]


@app.command("list")
def list_approvals(
    purpose: Annotated[Purpose | None, typer.Option(help="Only for this.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only of this, e.g. 'version 12'.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List approvals: yours, or with a role all."""
    with connect() as gaelp:
        page = gaelp.approvals.list(purpose=purpose, subject=subject, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    return print_table(
        ("id", "purpose", "subject", "state", "amount micros", "asked by", "votes", "expires", "reason"),
        [
            (
                a.id,
                a.purpose,
                a.subject,
                a.state,
                a.amount_micros,
                a.requested_by,
                _votes(a),
                a.expires_at,
                a.reason,
            )
            for a in page.items
        ],
        more=page.next_cursor,
        empty="No approvals.",
    )


@app.command()
def show(approval_id: ApprovalId, as_json: AsJson = False) -> None:
    """Show an approval and its votes."""
    with connect() as gaelp:
        _print(gaelp.approvals.get(approval_id), as_json)


@app.command()
def request(
    purpose: Annotated[Purpose, typer.Argument(help="What for.")],
    subject: Annotated[str, typer.Argument(help="Of what, e.g. 'agent 7', 'version 12', 'policy safe'.")],
    reason: Reason,
    micros: Annotated[int | None, typer.Option(min=1, help="The most that it is good for.")] = None,
    currency: Annotated[str | None, typer.Option(help="Of the amount.")] = None,
    period: Annotated[Period | None, typer.Option(help="Which limit of an account.")] = None,
    change: Annotated[
        str | None, typer.Option(help="Of a policy: 'attach 2 to global', 'detach from agent 7'.")
    ] = None,
    people: Annotated[int | None, typer.Option(min=1, max=10, help="Who must agree; 2 if left out.")] = None,
    hours: Annotated[float | None, typer.Option(help="Until it expires; 24 if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask other people to agree."""
    ttl = None if hours is None else hours * 3600
    with connect() as gaelp:
        found = gaelp.approvals.request(
            purpose,
            subject,
            reason=reason,
            amount_micros=micros,
            currency=currency,
            period=period,
            change=change,
            needed=people,
            ttl_seconds=ttl,
        )
    _print(found, as_json)


@app.command()
def approve(approval_id: ApprovalId, reason: Reason, as_json: AsJson = False) -> None:
    """Agree."""
    with connect() as gaelp:
        _print(gaelp.approvals.approve(approval_id, reason=reason), as_json)


@app.command()
def reject(approval_id: ApprovalId, reason: Reason, as_json: AsJson = False) -> None:
    """Refuse; one refusal is enough."""
    with connect() as gaelp:
        _print(gaelp.approvals.reject(approval_id, reason=reason), as_json)


@app.command()
def withdraw(approval_id: ApprovalId, as_json: AsJson = False) -> None:
    """Take a request of yours back."""
    with connect() as gaelp:
        _print(gaelp.approvals.withdraw(approval_id), as_json)


def _votes(approval: Approval) -> str:
    return f"{sum(vote.approves for vote in approval.votes)} of {approval.needed}"


def _print(approval: Approval, as_json: bool) -> None:
    if as_json:
        return print_json(approval)
    return print_record(
        {
            "approval": approval.id,
            "for": f"{approval.purpose} of {approval.subject}",
            "change": approval.change or (approval.period and f"{approval.period} limit"),
            "state": approval.state,
            "good for": approval.amount_micros and f"{approval.amount_micros} {approval.currency} micros",
            "asked by": approval.requested_by,
            "reason": approval.reason,
            "approved by": _votes(approval),
            "votes": [
                f"{v.voter} {'approved' if v.approves else 'rejected'}: {v.reason}" for v in approval.votes
            ],
            "expires": approval.expires_at,
            "used for": approval.used_for,
        }
    )
