"""``gaelp promote``: from evidence to real money."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import AsJson, an_id, pairs
from gaelp_ray.cli.output import out, print_items, print_json, print_record, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Evidence, Promotion
from gaelp_ray.domain.errors import InvalidInput

app = typer.Typer(help="Let versions of agents spend real money.", no_args_is_help=True)

AgentId = Annotated[int, typer.Argument(parser=an_id, help="The agent's id.")]
Version = Annotated[str, typer.Argument(help="The version.")]


Baseline = Annotated[str, typer.Option(help="Against what it was compared.")]


@app.command()
def record(
    agent_id: AgentId,
    version: Version,
    baseline: Baseline,
    job: Annotated[
        list[int],
        typer.Option(min=1, help="A completed job of the version: an evaluation, or repeated a run a seed."),
    ],
    baseline_job: Annotated[
        list[int] | None, typer.Option(min=1, help="A run of the baseline; repeatable.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The value of the runs' results that is compared.")
    ] = None,
    safety_metric: Annotated[
        list[str] | None, typer.Option(help="A value of the results that must stay low; repeatable.")
    ] = None,
    confidence: Annotated[float | None, typer.Option(help="Of the interval; 0.95 if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read evidence of a version from the results of its jobs, and record it."""
    with connect() as gaelp:
        found = gaelp.promotions.record_evidence(
            agent_id,
            version,
            baseline=baseline,
            jobs=job,
            baseline_jobs=baseline_job,
            metric=metric,
            safety_metrics=safety_metric,
            confidence=confidence,
        )
    _recorded(found, as_json)


@app.command("record-external")
def record_external(
    agent_id: AgentId,
    version: Version,
    baseline: Baseline,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")],
    effect: Annotated[float, typer.Option(help="How much better it is.")],
    low: Annotated[float, typer.Option(help="Lower end of the effect's interval.")],
    high: Annotated[float, typer.Option(help="Upper end of it.")],
    confidence: Annotated[float, typer.Option(help="Of the interval.")] = 0.95,
    safety: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=BOUND", help="Upper bound of what must stay low; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Record numbers from elsewhere, such as a test on an ad platform; never enough alone."""
    with connect() as gaelp:
        found = gaelp.promotions.record_external_evidence(
            agent_id,
            version,
            baseline=baseline,
            seeds=seeds,
            effect=effect,
            low=low,
            high=high,
            confidence=confidence,
            safety=_numbers(safety),
        )
    _recorded(found, as_json)


@app.command()
def evidence(agent_id: AgentId, version: Version, as_json: AsJson = False) -> None:
    """List what evaluations found of a version, the newest first."""
    with connect() as gaelp:
        found = gaelp.promotions.evidence(agent_id, version)
    if as_json:
        return print_items(found)
    return print_table(
        ("id", "source", "jobs", "baseline", "seeds", "effect", "from", "to", "safety", "by", "at"),
        [
            (
                e.id,
                e.source,
                " ".join(map(str, e.jobs)),
                e.baseline,
                e.seeds,
                e.effect,
                e.low,
                e.high,
                e.safety,
                e.recorded_by,
                e.recorded_at,
            )
            for e in found
        ],
        empty="There is no evidence of it.",
    )


@app.command()
def status(agent_id: AgentId, version: Version, as_json: AsJson = False) -> None:
    """Show what is missing until a version may spend real money."""
    with connect() as gaelp:
        _print(gaelp.promotions.get(agent_id, version), as_json)


@app.command("version")
def promote_version(agent_id: AgentId, version: Version, as_json: AsJson = False) -> None:
    """Let a version spend real money."""
    with connect() as gaelp:
        _print(gaelp.promotions.promote(agent_id, version), as_json)


def _print(found: Promotion, as_json: bool) -> None:
    if as_json:
        return print_json(found)
    if found.promoted:
        return out.print(f"Version {found.version} may spend real money.", markup=False)
    approvals = f"{found.approvals_needed} people must approve {found.approval_subject!r}"
    return print_record(
        {
            "version": found.version,
            "missing": found.missing,
            "approvals": "there" if found.approved else approvals,
        }
    )


def _recorded(found: Evidence, as_json: bool) -> None:
    if as_json:
        return print_json(found)
    return out.print(
        f"Evidence {found.id} is recorded: {found.effect:g}, from {found.low:g} to {found.high:g}, "
        f"{found.seeds} seeds."
    )


def _numbers(given: list[str] | None) -> dict[str, float]:
    try:
        return {name: float(bound) for name, bound in pairs(given, "--safety").items()}
    except ValueError:
        raise InvalidInput("`--safety` must be METRIC=BOUND with a number.") from None
