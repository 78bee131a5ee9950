"""Agents and their versions, over HTTP."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gaelp_ray.client.http import Http
from gaelp_ray.client.models import Agent, AgentVersion, Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_page
from gaelp_ray.client.wire import read
from gaelp_ray.domain.agents import AgentStatus, AgentType


class Agents:
    """``client.agents``. Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def create(
        self,
        name: str,
        type: AgentType | str = AgentType.SIMULATION,  # noqa: A002 - the word of the API
        *,
        version: str = "1.0.0",
        description: str | None = None,
        docker_image: str | None = None,
        working_dir: str | None = None,
        entrypoint: str | None = None,
        config: Mapping[str, Any] | None = None,
        requirements: Sequence[str] | None = None,
        resource_requirements: Mapping[str, Any] | None = None,
        environment_vars: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        budget_limit: float | None = None,
    ) -> Agent:
        """Register an agent; without an ``entrypoint`` it trains with the reference trainer.

        ``resource_requirements`` are Kubernetes quantities (``{"cpu": "500m"}``), ``requirements`` are pip
        lines, ``working_dir`` is a folder or archive with code that every node can reach, ``secrets`` map an
        environment variable to the name of a secret, and ``budget_limit`` is in currency units (None: no
        limit). Raises ``InvalidInput``, and ``Conflict`` for a name you use already.
        """
        body = {
            "name": name,
            "type": type,
            "version": version,
            "description": description,
            "docker_image": docker_image,
            "working_dir": working_dir,
            "entrypoint": entrypoint,
            "config": config,
            "requirements": requirements,
            "resource_requirements": resource_requirements,
            "environment_vars": environment_vars,
            "secrets": secrets,
            "budget_limit": budget_limit,
        }
        return read(Agent, self._http.post("/agents", body))

    def get(self, agent_id: int) -> Agent:
        return read(Agent, self._http.get(f"/agents/{agent_id}"))

    def list(
        self,
        *,
        type: AgentType | str | None = None,  # noqa: A002 - the word of the API
        status: AgentStatus | str | None = None,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Agent]:
        """One page of your agents, newest first."""
        params = {"type": type, "status": status, "name": name, "limit": limit, "cursor": cursor}
        return read_page(Agent, self._http.get("/agents", **params))

    def iterate(
        self,
        *,
        type: AgentType | str | None = None,  # noqa: A002 - the word of the API
        status: AgentStatus | str | None = None,
        name: str | None = None,
    ) -> Iterator[Agent]:
        """All your agents, newest first, page by page."""
        return each(
            lambda cursor: self.list(type=type, status=status, name=name, limit=WHOLE_PAGE, cursor=cursor)
        )

    def update(
        self,
        agent_id: int,
        *,
        status: AgentStatus | str | None = None,
        description: str | None = None,
        budget_limit: float | None = None,
        clear: Collection[str] = (),
    ) -> Agent:
        """Change what is given and leave the rest. ``budget_limit`` is in currency units.

        ``clear`` names what is to be taken away: ``description`` or ``budget_limit``.
        """
        body = {"status": status, "description": description, "budget_limit": budget_limit}
        return read(Agent, self._http.patch(f"/agents/{agent_id}", body | dict.fromkeys(clear), nulls=clear))

    def pause(self, agent_id: int) -> Agent:
        """Let it start no more jobs; those that run go on."""
        return self.update(agent_id, status=AgentStatus.PAUSED)

    def resume(self, agent_id: int) -> Agent:
        """Let it start jobs again."""
        return self.update(agent_id, status=AgentStatus.ACTIVE)

    def delete(self, agent_id: int) -> None:
        """Archive it: it leaves the lists and its history is kept."""
        self._http.delete(f"/agents/{agent_id}")

    def versions(self, agent_id: int) -> tuple[AgentVersion, ...]:
        """All of them, newest first; what is large of one is left out, and ``version`` has it."""
        address = f"/agents/{agent_id}/versions"
        pages = each(
            lambda cursor: read_page(AgentVersion, self._http.get(address, limit=WHOLE_PAGE, cursor=cursor))
        )
        return tuple(pages)

    def version(self, agent_id: int, version: str) -> AgentVersion:
        """One version in full."""
        return read(AgentVersion, self._http.get(f"/agents/{agent_id}/versions/{quote(version, safe='')}"))

    def add_version(
        self,
        agent_id: int,
        version: str,
        *,
        docker_image: str | None = None,
        working_dir: str | None = None,
        entrypoint: str | None = None,
        config: Mapping[str, Any] | None = None,
        requirements: Sequence[str] | None = None,
        resource_requirements: Mapping[str, Any] | None = None,
        environment_vars: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> AgentVersion:
        """Add a version and make it the current one; raises ``Conflict`` for a version it has already."""
        body = {
            "version": version,
            "docker_image": docker_image,
            "working_dir": working_dir,
            "entrypoint": entrypoint,
            "config": config,
            "requirements": requirements,
            "resource_requirements": resource_requirements,
            "environment_vars": environment_vars,
            "secrets": secrets,
        }
        return read(AgentVersion, self._http.post(f"/agents/{agent_id}/versions", body))

    def rollback(self, agent_id: int, version: str) -> Agent:
        """Make an earlier version the current one."""
        return read(Agent, self._http.post(f"/agents/{agent_id}/rollback", {"version": version}))
