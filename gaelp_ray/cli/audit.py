"""`gaelp audit`: every change, the proof that nobody changed the audit, and reports from it.

Proofs and reports ask the database itself, so that they need not trust the service.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from gaelp_ray.cli import output
from gaelp_ray.cli.options import AsJson, Cursor, Limit, moment
from gaelp_ray.cli.session import connect
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import SYSTEM
from gaelp_ray.domain.audit import Seal

app = typer.Typer(help="The audit: changes, proofs and reports.", no_args_is_help=True)
T = TypeVar("T")


def _moment(text: str) -> datetime:
    return moment(text, zone=UTC)


Since = Annotated[datetime, typer.Option(parser=_moment, metavar="TIME", help="From then on, UTC.")]
Until = Annotated[datetime, typer.Option(parser=_moment, metavar="TIME", help="Before then, UTC.")]


@app.command("list")
def list_records(
    subject: Annotated[str | None, typer.Option(help="Only of this, e.g. 'agent 7'.")] = None,
    actor: Annotated[str | None, typer.Option(help="Only by this user.")] = None,
    action: Annotated[str | None, typer.Option(help="Only of this kind, e.g. limit.set.")] = None,
    after: Annotated[int, typer.Option(min=0, help="Only with higher numbers.")] = 0,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List changes in the order in which they were made."""
    with connect() as gaelp:
        page = gaelp.audit.list(
            subject=subject,
            actor=actor,
            action=action,
            after=None if cursor else after,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        return output.print_json(page)
    return output.print_table(
        ("record", "at", "who", "what", "of", "before", "after"),
        [(r.seq, r.at, r.actor, r.action, r.subject, r.before, r.after) for r in page.items],
        more=page.next_cursor,
        empty="No such changes.",
    )


@app.command()
def verify(
    anchor: Annotated[
        str | None,
        typer.Option(metavar="SEQ:HASH", help="An end of the chain that was kept elsewhere earlier."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find every record that was edited, removed or moved. Exit code 1 if there is one."""
    from gaelp_ray.services import audit  # noqa: PLC0415 - keeps `gaelp --help` quick

    kept = None if anchor is None else Seal.read(anchor)
    proof = _with_store(lambda store: store.transact(audit.verify, anchor=kept))
    if as_json:
        breaks = [{"seq": b.seq, "kind": b.kind, "message": b.message} for b in proof.breaks]
        output.print_json({"seq": proof.head.seq, "hash": proof.head.hash, "breaks": breaks})
    elif proof.holds:
        typer.echo(f"{proof.head.seq} records are as they were written.")
        typer.echo(f"Keep this end elsewhere: {proof.head}")
    else:
        rows = [(each.seq, each.kind, each.message) for each in proof.breaks]
        output.print_table(("Record", "What", "Message"), rows, empty="")
    if not proof.holds:
        raise typer.Exit(1)


@app.command()
def report(since: Since, until: Until, as_json: AsJson = False) -> None:
    """Spend, holds, violations, approvals and changes of a period, as CSV or JSON."""
    from gaelp_ray.services import compliance  # noqa: PLC0415

    period = {"since": since, "until": until, "by": SYSTEM, "now": datetime.now(UTC)}
    found = _with_store(lambda store: store.read(compliance.report, **period))
    if as_json:
        output.print_json(found, indent=None)
        return
    typer.echo(output.shown(compliance.to_csv(found), csv=True), nl=False)


def _with_store(ask: Callable[[Any], T]) -> T:
    from gaelp_ray.bootstrap import Runtime  # noqa: PLC0415
    from gaelp_ray.cli import machine  # noqa: PLC0415

    store = Runtime(machine.with_database(Settings())).store
    try:
        return ask(store)
    finally:
        store.close()
