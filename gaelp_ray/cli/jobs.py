"""``gaelp jobs``: submit training and see how it goes."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import (
    AsJson,
    Config,
    Cpu,
    Entrypoint,
    Env,
    Gpu,
    Limit,
    Memory,
    Storage,
    pairs,
    resources,
    values,
)
from gaelp_ray.cli.output import out, print_json, print_record, print_table
from gaelp_ray.cli.progress import steps, watch_job
from gaelp_ray.cli.session import connect
from gaelp_ray.client import GaelpClient, Job
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.jobs import PRIORITY_DEFAULT, PRIORITY_MAX, PRIORITY_MIN, JobState, JobStatus

app = typer.Typer(help="Submit training jobs and see how they go.", no_args_is_help=True)

JobId = Annotated[int, typer.Argument(help="The job's id.")]
Priority = Annotated[int, typer.Option(min=PRIORITY_MIN, max=PRIORITY_MAX, help="The highest goes first.")]


@app.command()
def submit(
    agent_id: Annotated[int, typer.Argument(help="The agent to train.")],
    name: Annotated[str | None, typer.Option(help="A name for the job.")] = None,
    priority: Priority = PRIORITY_DEFAULT,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="Hyperparameter; JSON if it is; repeatable."),
    ] = None,
    config: Config = None,
    entrypoint: Entrypoint = None,
    env: Env = None,
    cpu: Cpu = None,
    memory: Memory = None,
    gpu: Gpu = None,
    storage: Storage = None,
    seed: Annotated[int, typer.Option(help="Seed of the job's randomness.")] = 0,
    timeout: Annotated[float | None, typer.Option(help="Time limit of an attempt, in seconds.")] = None,
    max_retries: Annotated[int | None, typer.Option(min=0, help="Retries after its own failures.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Watch it until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a training job of an agent; with --watch, exit 0 only if it completes."""
    hyperparameters, training_config = values(param, "--param"), values(config, "--config")
    variables = pairs(env, "--env")
    with connect() as gaelp:
        job = gaelp.jobs.submit(
            agent_id,
            name=name,
            priority=priority,
            hyperparameters=hyperparameters,
            training_config=training_config,
            entrypoint=entrypoint,
            environment_vars=variables,
            resource_requirements=resources(cpu=cpu, memory=memory, gpu=gpu, storage=storage),
            seed=seed,
            timeout_seconds=timeout,
            max_retries=max_retries,
        )
        if watch:
            return _watch(gaelp, job.id, as_json)
    if as_json:
        return print_json(job)
    out.print(f"Job {job.id} is {job.phase}; `gaelp jobs watch {job.id}` shows how it goes.", markup=False)
    for notice in job.notices:
        out.print(f"Note: {notice}", markup=False)
    return None


@app.command("list")
def list_jobs(
    agent: Annotated[int | None, typer.Option(help="Only of this agent.")] = None,
    status: Annotated[JobStatus | None, typer.Option(help="Only with this status.")] = None,
    phase: Annotated[JobState | None, typer.Option(help="Only in this phase.")] = None,
    priority: Annotated[int | None, typer.Option(help="Only of this priority.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List your jobs."""
    with connect() as gaelp:
        jobs = gaelp.jobs.list(
            agent_id=agent, status=status, phase=phase, priority=priority, limit=limit
        ).items
    if as_json:
        return print_json(jobs)
    return print_table(
        ("id", "name", "agent", "phase", "priority", "step", "submitted", "why"),
        [(j.id, j.name, j.agent_id, j.phase, j.priority, steps(j), j.submitted_at, why(j)) for j in jobs],
        empty="No jobs; queue one with `gaelp jobs submit AGENT_ID`.",
    )


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job."""
    with connect() as gaelp:
        _print(gaelp.jobs.get(job_id), as_json)


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Stop a job; one that runs gets time to save."""
    with connect() as gaelp:
        job = gaelp.jobs.cancel(job_id)
    if as_json:
        return print_json(job)
    return out.print(f"Job {job.id} is {job.phase}.", markup=False)


@app.command()
def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    attempt: Annotated[
        int | None, typer.Option(min=1, help="Of this attempt; the newest if left out.")
    ] = None,
    tail: Annotated[int, typer.Option(min=0, help="Start with so many of its last lines.")] = 200,
) -> None:
    """Print the log of a job."""
    with connect() as gaelp:
        for text in gaelp.jobs.logs(job_id, attempt=attempt, tail=tail, follow=follow):
            typer.echo(text, nl=False)


@app.command()
def events(job_id: JobId, limit: Limit = 200, as_json: AsJson = False) -> None:
    """List what happened to a job, oldest first."""
    with connect() as gaelp:
        history = gaelp.jobs.events(job_id, limit=limit)
    if as_json:
        return print_json(history)
    return print_table(
        ("at", "event", "from", "to", "attempt", "by", "message"),
        [(e.at, e.event, e.from_state, e.to_state, e.attempt, e.actor, e.message) for e in history],
        empty="No events.",
    )


@app.command()
def watch(job_id: JobId, as_json: AsJson = False) -> None:
    """Watch a job until it ends; exit 0 only if it completes."""
    with connect() as gaelp:
        _watch(gaelp, job_id, as_json)


def why(job: Job) -> str:
    """Why it waits, or why it did not complete; empty while there is nothing to say."""
    if job.waiting is not None:
        return f"{job.waiting.code}: {job.waiting.message}".removesuffix(": ")
    return "" if job.succeeded else job.message or job.cause or ""


def _watch(gaelp: GaelpClient, job_id: int, as_json: bool) -> None:
    job = watch_job(gaelp.jobs.follow(job_id))
    _print(job, as_json)
    if not job.succeeded:
        raise GaelpError(f"Job {job.id} {job.status}: {why(job) or 'it did not say why'}")


def _print(job: Job, as_json: bool) -> None:
    if as_json:
        return print_json(job)
    return print_record(
        {
            "id": job.id,
            "name": job.name,
            "agent": job.agent_id,
            "status": job.status,
            "phase": job.phase,
            "why": why(job),
            "priority": job.priority,
            "progress": steps(job),
            "metrics": job.progress.metrics,
            "result": job.result,
            "entrypoint": job.entrypoint,
            "hyperparameters": job.hyperparameters,
            "config": job.training_config,
            "resources": job.resource_requirements,
            "seed": job.seed,
            "attempt": f"{job.attempt} ({job.failures} of {job.max_retries + 1} failed, {job.losses} lost)",
            "submitted": job.submitted_at,
            "started": job.started_at,
            "finished": job.finished_at,
            "not before": job.not_before,
            "notes": " ".join(job.notices),
        }
    )
