"""``gaelp jobs``: submit training and see how it goes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from gaelp_ray.cli.explain import print_explanation, print_preemptions
from gaelp_ray.cli.job import print_job, watch_to_the_end, why
from gaelp_ray.cli.options import (
    AsJson,
    Cursor,
    Deadline,
    Expected,
    JobId,
    Limit,
    MaxRetries,
    Priority,
    Timeout,
    an_id,
)
from gaelp_ray.cli.output import out, print_items, print_json, print_table, shown
from gaelp_ray.cli.progress import steps
from gaelp_ray.cli.session import connect
from gaelp_ray.cli.submit import plan, submit
from gaelp_ray.domain.jobs import JobState, JobStatus

app = typer.Typer(help="Submit training jobs and see how they go.", no_args_is_help=True)

app.command()(submit)
app.command()(plan)


@app.command("list")
def list_jobs(
    agent: Annotated[int | None, typer.Option(parser=an_id, help="Only of this agent.")] = None,
    status: Annotated[JobStatus | None, typer.Option(help="Only with this status.")] = None,
    phase: Annotated[JobState | None, typer.Option(help="Only in this phase.")] = None,
    priority: Annotated[int | None, typer.Option(help="Only of this priority.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List your jobs."""
    with connect() as gaelp:
        page = gaelp.jobs.list(
            agent_id=agent, status=status, phase=phase, priority=priority, limit=limit, cursor=cursor
        )
    if as_json:
        return print_json(page)
    return print_table(
        ("id", "name", "agent", "phase", "priority", "step", "submitted", "why"),
        [
            (j.id, j.name, j.agent_id, j.phase, j.priority, steps(j), j.submitted_at, why(j))
            for j in page.items
        ],
        more=page.next_cursor,
        empty="No jobs; queue one with `gaelp jobs submit AGENT_ID`.",
    )


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job."""
    with connect() as gaelp:
        print_job(gaelp.jobs.get(job_id), as_json)


@app.command("why")
def explain(job_id: JobId, as_json: AsJson = False) -> None:
    """Show why a job waits, what would let it start, its place in line and when it may begin."""
    with connect() as gaelp:
        found = gaelp.jobs.why(job_id)
        preemptions = gaelp.jobs.preemptions(job_id)
    print_explanation(found, as_json)
    if not as_json:
        print_preemptions(preemptions)


class Clearable(StrEnum):
    """What `--clear` takes, by the names of the options that set it."""

    DEADLINE = "deadline"
    TIMEOUT = "timeout"
    MAX_RETRIES = "max-retries"
    EXPECT = "expect"


_CLEARED = {
    Clearable.DEADLINE: "deadline",
    Clearable.TIMEOUT: "timeout_seconds",
    Clearable.MAX_RETRIES: "max_retries",
    Clearable.EXPECT: "expected_duration_seconds",
}


@app.command()
def edit(
    job_id: JobId,
    priority: Priority = None,
    preemptible: Annotated[bool | None, typer.Option(help="Whether it makes room for others.")] = None,
    deadline: Deadline = None,
    clear: Annotated[
        list[Clearable] | None,
        typer.Option(help="As if it had never been said; repeatable."),
    ] = None,
    no_deadline: Annotated[
        bool, typer.Option("--no-deadline", help="Take its deadline away, as `--clear deadline`.")
    ] = False,
    expect: Expected = None,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    as_json: AsJson = False,
) -> None:
    """Change a job that waits; it keeps its place by time of submission."""
    cleared = {_CLEARED[each] for each in clear or ()} | ({"deadline"} if no_deadline else set())
    given = {
        "deadline": deadline,
        "timeout_seconds": timeout,
        "max_retries": max_retries,
        "expected_duration_seconds": expect,
    }
    if both := sorted(name for name in cleared if given[name] is not None):
        raise typer.BadParameter(f"{both[0]} is given and cleared; say one of them.")
    with connect() as gaelp:
        job = gaelp.jobs.edit(
            job_id,
            priority=priority,
            preemptible=preemptible,
            deadline=deadline,
            expected_duration_seconds=expect,
            timeout_seconds=timeout,
            max_retries=max_retries,
            clear=sorted(cleared),
        )
    print_job(job, as_json)


@app.command()
def cancel(
    job_ids: Annotated[list[int] | None, typer.Argument(help="The jobs' ids.")] = None,
    agent: Annotated[int | None, typer.Option(parser=an_id, help="All of this agent.")] = None,
    status: Annotated[JobStatus | None, typer.Option(help="All with this status.")] = None,
    priority: Annotated[int | None, typer.Option(help="All of this priority.")] = None,
    owner: Annotated[str | None, typer.Option(help="All of this user, for admins.")] = None,
    reason: Annotated[str | None, typer.Option(help="What their owner is told.")] = None,
    as_json: AsJson = False,
) -> None:
    """Stop jobs: these, or all that meet what is said. One that runs gets time to save."""
    wanted = {"agent_id": agent, "status": status, "priority": priority, "owner": owner}
    chosen = any(value is not None for value in wanted.values())
    if not (job_ids or chosen):
        raise typer.BadParameter("Name the jobs, or say which by --agent, --status, --priority or --owner.")
    with connect() as gaelp:
        if job_ids and len(job_ids) == 1 and not chosen and reason is None:
            job = gaelp.jobs.cancel(job_ids[0])
            return print_json(job) if as_json else out.print(f"Job {job.id} is {job.phase}.", markup=False)
        many = gaelp.jobs.cancel_many(
            ids=job_ids or None, agent_id=agent, status=status, priority=priority, owner=owner, reason=reason
        )
    if as_json:
        return print_json(many)
    rest = " There are more; run it again." if many.more else ""
    return out.print(f"{many.count} jobs are cancelled or told to stop.{rest}", markup=False)


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of this attempt; the newest if left out.")
    ] = None,
    tail: Annotated[int, typer.Option(min=0, help="Start with so many of its last lines.")] = 200,
    raw: Annotated[
        bool, typer.Option("--raw", help="As the job wrote it, with colours and all that a terminal obeys.")
    ] = False,
) -> None:
    """Print the log of a job. Without --raw what could take over your terminal is spelled out."""
    with connect() as gaelp:
        for text in gaelp.jobs.logs(job_id, attempt=attempt, tail=tail, follow=follow):
            typer.echo(text if raw else shown(text), nl=False)


@app.command()
def events(job_id: JobId, limit: Limit = 200, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List what happened to a job, oldest first."""
    with connect() as gaelp:
        history = gaelp.jobs.events(job_id, after=_event_id(cursor), limit=limit)
    more = str(history[-1].id) if len(history) == limit else None
    if as_json:
        return print_items(history, more)
    return print_table(
        ("at", "event", "from", "to", "attempt", "by", "message"),
        [(e.at, e.event, e.from_state, e.to_state, e.attempt, e.actor, e.message) for e in history],
        empty="No events.",
        more=more,
    )


def _event_id(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise typer.BadParameter("It is the `next_cursor` of the page before.", param_hint="--cursor")
    return int(cursor)


@app.command()
def watch(job_id: JobId, as_json: AsJson = False) -> None:
    """Watch a job until it ends; exit 0 only if it completes."""
    with connect() as gaelp:
        watch_to_the_end(gaelp, job_id, as_json)
