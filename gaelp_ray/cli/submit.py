"""``gaelp jobs submit`` and ``gaelp jobs plan``: one job, described by the same options."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from gaelp_ray.cli.explain import print_explanation
from gaelp_ray.cli.job import watch_to_the_end
from gaelp_ray.cli.options import (
    READ_AS,
    AsJson,
    Config,
    Cpu,
    Deadline,
    Entrypoint,
    Env,
    Expected,
    Gpu,
    MaxRetries,
    Memory,
    Priority,
    Storage,
    Timeout,
    an_id,
    pairs,
    resources,
    values,
)
from gaelp_ray.cli.output import out, print_json
from gaelp_ray.cli.session import connect
from gaelp_ray.client import JobFields
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Spot

AgentId = Annotated[int, typer.Argument(parser=an_id, help="The agent to train.")]


def _fields(
    name: Annotated[str | None, typer.Option(help="A name for the job.")] = None,
    priority: Priority = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            metavar="KEY=VALUE",
            help=f"Hyperparameter. {READ_AS}",
        ),
    ] = None,
    config: Config = None,
    entrypoint: Entrypoint = None,
    env: Env = None,
    cpu: Cpu = None,
    memory: Memory = None,
    gpu: Gpu = None,
    storage: Storage = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="So many at once, placed all or not at all.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="LABEL=CONDITION", help="What a node must be; repeatable."),
    ] = None,
    spot: Annotated[Spot | None, typer.Option(help="Whether to run on spot nodes.")] = None,
    preemptible: Annotated[
        bool | None, typer.Option("--preemptible", help="It may be asked to save and make room for others.")
    ] = None,
    deadline: Deadline = None,
    expect: Expected = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the job's randomness; 0 if left out.")] = None,
    timeout: Timeout = None,
    max_retries: MaxRetries = None,
    money: Annotated[Money | None, typer.Option(help="What it spends itself; simulated if left out.")] = None,
) -> JobFields:
    return {
        "name": name,
        "priority": priority,
        "hyperparameters": values(param, "--param") or None,
        "training_config": values(config, "--config") or None,
        "entrypoint": entrypoint,
        "environment_vars": pairs(env, "--env") or None,
        "resource_requirements": resources(cpu=cpu, memory=memory, gpu=gpu, storage=storage),
        "workers": workers,
        "label_selector": pairs(label, "--label") or None,
        "spot": spot,
        "preemptible": preemptible,
        "deadline": deadline,
        "expected_duration_seconds": expect,
        "seed": seed,
        "timeout_seconds": timeout,
        "max_retries": max_retries,
        "money": money,
    }


def _described(command: Callable[..., None]) -> Callable[..., None]:
    """A command that has the options of ``_fields`` too, and is given what they make."""
    own, shared = inspect.signature(command).parameters, inspect.signature(_fields).parameters

    def run(**given: Any) -> None:
        fields = _fields(**{name: given.pop(name) for name in shared})
        command(**given, fields=fields)

    hints = get_type_hints(_fields, include_extras=True) | get_type_hints(command, include_extras=True)
    parameters = {**own, **shared}
    del parameters["fields"]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            each.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, each in parameters.items()
        ]
    )
    run.__annotations__ = {name: hints[name] for name in parameters}
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


@_described
def submit(
    agent_id: AgentId,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Watch it until it ends.")] = False,
    as_json: AsJson = False,
    fields: JobFields,
) -> None:
    """Queue a training job of an agent; with --watch, exit 0 only if it completes."""
    with connect() as gaelp:
        job = gaelp.jobs.submit(agent_id, **fields)
        if watch:
            return watch_to_the_end(gaelp, job.id, as_json)
    if as_json:
        return print_json(job)
    out.print(f"Job {job.id} is {job.phase}; `gaelp jobs watch {job.id}` shows how it goes.", markup=False)
    for notice in job.notices:
        out.print(f"Note: {notice}", markup=False)
    return None


@_described
def plan(agent_id: AgentId, *, as_json: AsJson = False, fields: JobFields) -> None:
    """Show what would become of such a job, without queueing it."""
    with connect() as gaelp:
        print_explanation(gaelp.jobs.plan(agent_id, **fields), as_json)
