"""``gaelp demo``: a newcomer's first minutes, from nothing to an agent that beats the best fixed bid."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from time import monotonic
from typing import Annotated, Any

import typer
from rich.table import Table

from gaelp_ray.cli import local
from gaelp_ray.cli.output import err, money, out
from gaelp_ray.cli.progress import headline, watch_job
from gaelp_ray.cli.session import local_token
from gaelp_ray.client import Agent, GaelpClient, Job
from gaelp_ray.config import Settings
from gaelp_ray.domain.agents import DEFAULT_ENTRYPOINT, AgentType
from gaelp_ray.domain.errors import Conflict, GaelpError

EVALUATION = "gaelp_ray.training.evaluation:evaluate_job"
#: What the simulated market lets a bidder spend in a day; the trainer is charged one day per epoch.
DAY_BUDGET = 150.0
#: Seconds between two looks at what the agent has spent.
_BUDGET_EVERY_S = 2.0
_LOG_LINES = 20


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running afterwards.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training.")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Steps of training.")] = 40,
) -> None:
    """Start the service here, train a bidder on a simulated ad auction, compare it with the best fixed bid.

    Exit 0 only if the trained agent is better with 95% confidence.
    """
    settings = Settings()
    with service(settings, keep=keep) as left_up, connect_here(settings) as gaelp:
        agent = _register(gaelp, budget=DAY_BUDGET * epochs)
        out.print(f"Agent {agent.id} {agent.name} may spend {agent.budget_limit:,.0f} simulated.")
        links = local.urls(settings) | {"Live page": f"{gaelp.url}/live/{agent.id}#token={gaelp.token}"}
        print_links(links)
        training = gaelp.jobs.submit(
            agent.id,
            name="demo-training",
            entrypoint=DEFAULT_ENTRYPOINT,
            hyperparameters={"epochs": epochs},
            seed=seed,
        )
        out.print("Training against rivals in a second-price ad auction.")
        _finish(gaelp, training, keep=keep)
        evaluation = gaelp.jobs.submit(
            agent.id,
            name="demo-evaluation",
            entrypoint=EVALUATION,
            training_config={"from_job": training.id},
            seed=seed,
        )
        out.print("Comparing it with the best fixed bid on days that neither has seen.")
        result = _finish(gaelp, evaluation, keep=keep).result
        if not result:
            raise GaelpError(f"Job {evaluation.id} ({evaluation.name}) completed without a result.")
        _print_result(result)
        if left_up:
            print_links(links)
    raise typer.Exit(0 if result["beats_baseline"] else 1)


@contextmanager
def service(settings: Settings, *, keep: bool) -> Iterator[bool]:
    """The service, started if it is not up and then stopped again; tells whether it stays up."""
    if local.is_ours(settings):
        yield True
        return
    out.print("Starting gaelp-ray on this machine.")
    try:
        local.start(settings)
        yield keep
    finally:
        if not keep:
            out.print("Stopping what the demo started; `--keep` leaves it up.")
            local.stop(settings)


def connect_here(settings: Settings) -> GaelpClient:
    # The demo is about this machine, so its own token goes before one that may be of another service.
    return GaelpClient(local.base_url(settings), local_token(settings) or os.environ.get("GAELP_TOKEN"))


def _register(gaelp: GaelpClient, *, budget: float) -> Agent:
    """A new simulation agent, numbered on from earlier demos."""
    for number in count(1):
        with suppress(Conflict):
            return gaelp.agents.create(
                f"demo-bidder-{number}",
                AgentType.SIMULATION,
                description="Made by `gaelp demo`.",
                budget_limit=budget,
            )
    raise AssertionError("count() does not end")


def _finish(gaelp: GaelpClient, job: Job, *, keep: bool) -> Job:
    """Show a job until it has completed; leave none running when interrupted, unless ``keep``."""
    try:
        job = watch_job(gaelp.jobs.follow(job.id), _with_budget(gaelp, job.agent_id))
    except BaseException:
        if not keep:
            with suppress(GaelpError):
                gaelp.jobs.cancel(job.id)
        raise
    if not job.succeeded:
        with suppress(GaelpError):
            err.print("".join(gaelp.jobs.logs(job.id, tail=_LOG_LINES)), markup=False, highlight=False)
        raise GaelpError(f"Job {job.id} ({job.name}) {job.status}: {job.message or job.cause}.")
    return job


def _with_budget(gaelp: GaelpClient, agent_id: int) -> Callable[[Job], str]:
    """A note on a job: how it does and what its agent has spent, looked up now and then."""
    spent, looked = "", -_BUDGET_EVERY_S

    def note(job: Job) -> str:
        nonlocal spent, looked
        if job.ended or monotonic() - looked >= _BUDGET_EVERY_S:
            with suppress(GaelpError):
                agent = gaelp.agents.get(agent_id)
                spent = f"spent {money(agent.budget_spent, agent.budget_limit)}"
            looked = monotonic()
        return "  ".join(filter(None, (headline(job), spent)))

    return note


def print_links(links: Mapping[str, str]) -> None:
    for name, link in links.items():
        # Not wrapped: a link must stay whole to be followed.
        out.print(f"{name:<15} {link}", markup=False, highlight=False, soft_wrap=True)


def _print_result(result: Mapping[str, Any]) -> None:
    table = Table("", "profit a day", title=f"{result['days']} held-out days")
    table.add_row("trained agent", f"{result['reward']:.2f}")
    table.add_row(f"best fixed bid ({result['baseline_bid']:.3f})", f"{result['baseline_reward']:.2f}")
    table.add_row("difference, paired", f"{result['difference']:+.2f}")
    table.add_row("95% confidence", f"{result['lower']:+.2f} to {result['upper']:+.2f}")
    out.print(table)
    if result["beats_baseline"]:
        out.print("The agent beats the best fixed bid.", style="green")
    else:
        out.print("The agent does not beat the best fixed bid; try more --epochs.", style="red")
