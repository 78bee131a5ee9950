"""``gaelp agents``: register advertising agents and look after their versions."""

from __future__ import annotations

from typing import Annotated

import typer

from gaelp_ray.cli.options import (
    AsJson,
    Config,
    Cpu,
    Cursor,
    Entrypoint,
    Env,
    Gpu,
    Image,
    Limit,
    Memory,
    Requirement,
    Secret,
    Storage,
    WorkingDir,
    an_id,
    folder,
    pairs,
    resources,
    values,
)
from gaelp_ray.cli.output import money, out, print_items, print_json, print_record, print_table
from gaelp_ray.cli.session import connect
from gaelp_ray.client import Agent
from gaelp_ray.domain.agents import AgentStatus, AgentType

app = typer.Typer(help="Register agents and look after their versions.", no_args_is_help=True)

AgentId = Annotated[int, typer.Argument(parser=an_id, help="The agent's id.")]


@app.command("list")
def list_agents(
    agent_type: Annotated[AgentType | None, typer.Option("--type", help="Only of this type.")] = None,
    status: Annotated[AgentStatus | None, typer.Option(help="Only with this status.")] = None,
    name: Annotated[str | None, typer.Option(help="Only with this name.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List your agents."""
    with connect() as gaelp:
        page = gaelp.agents.list(type=agent_type, status=status, name=name, limit=limit, cursor=cursor)
    if as_json:
        return print_json(page)
    return print_table(
        ("id", "name", "type", "status", "version", "budget", "owner"),
        [
            (a.id, a.name, a.type, a.status, a.version, money(a.budget_spent, a.budget_limit), a.owner)
            for a in page.items
        ],
        more=page.next_cursor,
        empty="No agents; make one with `gaelp agents create NAME`.",
    )


@app.command()
def show(agent_id: AgentId, as_json: AsJson = False) -> None:
    """Show an agent."""
    with connect() as gaelp:
        _print(gaelp.agents.get(agent_id), as_json)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name, unique among yours.")],
    agent_type: Annotated[AgentType, typer.Option("--type", help="What it is for.")] = AgentType.SIMULATION,
    version: Annotated[str, typer.Option(help="Its first version.")] = "1.0.0",
    description: Annotated[str | None, typer.Option(help="A sentence about it.")] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Most it may spend, in currency units.")] = None,
    entrypoint: Entrypoint = None,
    image: Image = None,
    working_dir: WorkingDir = None,
    config: Config = None,
    requirement: Requirement = None,
    env: Env = None,
    secret: Secret = None,
    cpu: Cpu = None,
    memory: Memory = None,
    gpu: Gpu = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Register an agent; without an entrypoint it trains with the reference trainer."""
    settings = values(config, "--config")
    variables, secrets = pairs(env, "--env"), pairs(secret, "--secret")
    with connect() as gaelp:
        agent = gaelp.agents.create(
            name,
            agent_type,
            version=version,
            description=description,
            budget_limit=budget,
            entrypoint=entrypoint,
            docker_image=image,
            working_dir=folder(working_dir),
            config=settings,
            requirements=requirement,
            environment_vars=variables,
            secrets=secrets,
            resource_requirements=resources(cpu=cpu, memory=memory, gpu=gpu, storage=storage),
        )
    _print(agent, as_json)


@app.command()
def versions(agent_id: AgentId, as_json: AsJson = False) -> None:
    """List the versions of an agent."""
    with connect() as gaelp:
        found = gaelp.agents.versions(agent_id)
        current = gaelp.agents.get(agent_id).version
    if as_json:
        return print_items(found)
    return print_table(
        ("version", "current", "entrypoint", "image", "resources", "by", "created"),
        [
            (
                v.version,
                "yes" if v.version == current else "",
                v.entrypoint,
                v.docker_image,
                v.resource_requirements,
                v.created_by,
                v.created_at,
            )
            for v in found
        ],
        empty="No versions.",
    )


@app.command("add-version")
def add_version(
    agent_id: AgentId,
    version: Annotated[str, typer.Argument(help="The new version, e.g. 1.1.0.")],
    entrypoint: Entrypoint = None,
    image: Image = None,
    working_dir: WorkingDir = None,
    config: Config = None,
    requirement: Requirement = None,
    env: Env = None,
    secret: Secret = None,
    cpu: Cpu = None,
    memory: Memory = None,
    gpu: Gpu = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Add a version to an agent and make it the current one."""
    settings = values(config, "--config")
    variables, secrets = pairs(env, "--env"), pairs(secret, "--secret")
    with connect() as gaelp:
        added = gaelp.agents.add_version(
            agent_id,
            version,
            entrypoint=entrypoint,
            docker_image=image,
            working_dir=folder(working_dir),
            config=settings,
            requirements=requirement,
            environment_vars=variables,
            secrets=secrets,
            resource_requirements=resources(cpu=cpu, memory=memory, gpu=gpu, storage=storage),
        )
    if as_json:
        return print_json(added)
    return out.print(f"Agent {agent_id} is now at version {added.version}.", markup=False)


@app.command()
def rollback(
    agent_id: AgentId,
    version: Annotated[str, typer.Argument(help="The version to go back to.")],
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the current one."""
    with connect() as gaelp:
        _print(gaelp.agents.rollback(agent_id, version), as_json)


@app.command()
def pause(agent_id: AgentId, as_json: AsJson = False) -> None:
    """Let an agent start no more jobs; those that run go on."""
    with connect() as gaelp:
        _print(gaelp.agents.pause(agent_id), as_json)


@app.command()
def resume(agent_id: AgentId, as_json: AsJson = False) -> None:
    """Let a paused agent start jobs again."""
    with connect() as gaelp:
        _print(gaelp.agents.resume(agent_id), as_json)


@app.command()
def budget(
    agent_id: AgentId,
    limit: Annotated[
        float | None, typer.Argument(min=0, help="Most it may spend in all, in currency units.")
    ] = None,
    unlimited: Annotated[bool, typer.Option("--unlimited", help="Take the limit away.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set the budget limit of an agent, or take it away."""
    if (limit is None) is not unlimited:
        raise typer.BadParameter("Say a limit, or --unlimited.")
    clear = ("budget_limit",) if unlimited else ()
    with connect() as gaelp:
        _print(gaelp.agents.update(agent_id, budget_limit=limit, clear=clear), as_json)


@app.command()
def delete(agent_id: AgentId) -> None:
    """Archive an agent; its history is kept."""
    with connect() as gaelp:
        gaelp.agents.delete(agent_id)
    out.print(f"Agent {agent_id} is archived.")


def _print(agent: Agent, as_json: bool) -> None:
    if as_json:
        return print_json(agent)
    return print_record(
        {
            "id": agent.id,
            "name": agent.name,
            "type": agent.type,
            "status": agent.status,
            "owner": agent.owner,
            "description": agent.description,
            "version": agent.version,
            "entrypoint": agent.entrypoint,
            "image": agent.docker_image,
            "code": agent.working_dir,
            "config": agent.config,
            "requirements": agent.requirements,
            "resources": agent.resource_requirements,
            "environment": agent.environment_vars,
            "secrets": agent.secrets,
            "budget": money(agent.budget_spent, agent.budget_limit),
            "created": agent.created_at,
            "updated": agent.updated_at,
        }
    )
