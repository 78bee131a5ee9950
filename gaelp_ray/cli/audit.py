"""`gaelp audit`: proves that nobody changed the audit, and reports from it. Asks the database itself."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from gaelp_ray.cli import output
from gaelp_ray.cli.options import AsJson
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import SYSTEM
from gaelp_ray.domain.audit import Seal
from gaelp_ray.domain.errors import InvalidInput

app = typer.Typer(help="The audit: proofs and reports.", no_args_is_help=True)
T = TypeVar("T")

Since = Annotated[datetime, typer.Option(help="From then on, UTC.")]
Until = Annotated[datetime, typer.Option(help="Before then, UTC.")]


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

    kept = None if anchor is None else _seal(anchor)
    proof = _with_store(lambda store: store.transact(audit.verify, anchor=kept))
    if as_json:
        breaks = [{"seq": b.seq, "kind": b.kind, "message": b.message} for b in proof.breaks]
        output.print_json({"seq": proof.head.seq, "hash": proof.head.hash, "breaks": breaks})
    elif proof.holds:
        typer.echo(f"{proof.head.seq} records are as they were written.")
        typer.echo(f"Keep this end elsewhere: {proof.head.seq}:{proof.head.hash}")
    else:
        rows = [(each.seq, each.kind, each.message) for each in proof.breaks]
        output.print_table(("Record", "What", "Message"), rows, empty="")
    if not proof.holds:
        raise typer.Exit(1)


@app.command()
def report(since: Since, until: Until, as_json: AsJson = False) -> None:
    """Spend, holds, violations, approvals and changes of a period, as CSV or JSON."""
    from gaelp_ray.services import compliance  # noqa: PLC0415

    period = {"since": _utc(since), "until": _utc(until), "by": SYSTEM, "now": datetime.now(UTC)}
    found = _with_store(lambda store: store.read(compliance.report, **period))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    writer = csv.DictWriter(sys.stdout, compliance.COLUMNS)
    writer.writeheader()
    for rows in found.values():
        writer.writerows(rows)


def _with_store(ask: Callable[[Any], T]) -> T:
    from gaelp_ray.bootstrap import Runtime  # noqa: PLC0415
    from gaelp_ray.cli import machine  # noqa: PLC0415

    store = Runtime(machine.with_database(Settings())).store
    try:
        return ask(store)
    finally:
        store.close()


def _seal(text: str) -> Seal:
    seq, _, found = text.partition(":")
    if not (seq.isascii() and seq.isdecimal()) or len(found) != 64:
        raise InvalidInput("`--anchor` must be SEQ:HASH, as `gaelp audit verify` prints it.")
    return Seal(int(seq), found)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
