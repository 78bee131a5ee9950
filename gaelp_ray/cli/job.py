"""One job as a person reads it."""

from __future__ import annotations

from gaelp_ray.cli.output import compute, print_json, print_record
from gaelp_ray.cli.progress import steps, watch_job
from gaelp_ray.client import GaelpClient, Job
from gaelp_ray.domain.errors import GaelpError
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Spot


def why(job: Job) -> str:
    """Why it waits, or why it did not complete; empty while there is nothing to say."""
    if job.waiting is not None:
        return f"{job.waiting.code}: {job.waiting.message}".removesuffix(": ")
    return "" if job.succeeded else job.message or job.cause or ""


def watch_to_the_end(gaelp: GaelpClient, job_id: int, as_json: bool) -> None:
    """Show a job until it ends; raises ``GaelpError`` unless it completes."""
    job = watch_job(gaelp.jobs.follow(job_id))
    print_job(job, as_json)
    if not job.succeeded:
        raise GaelpError(f"Job {job.id} {job.status}: {why(job) or 'it did not say why'}")


def print_job(job: Job, as_json: bool) -> None:
    if as_json:
        return print_json(job)
    tries = f"{job.failures} of {job.max_retries + 1} failed, {job.losses} lost, {job.preemptions} preempted"
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
            "workers": job.workers if job.workers > 1 else None,
            "labels": job.label_selector,
            "spot": job.spot if job.spot != Spot.AVOID else None,
            "preemptible": "yes" if job.preemptible else None,
            "seed": job.seed,
            "money": job.money if job.money != Money.SIMULATED else None,
            "compute": compute(job.cost),
            "attempt": f"{job.attempt} ({tries})",
            "submitted": job.submitted_at,
            "started": job.started_at,
            "finished": job.finished_at,
            "not before": job.not_before,
            "deadline": job.deadline,
            "notes": " ".join(job.notices),
        }
    )
