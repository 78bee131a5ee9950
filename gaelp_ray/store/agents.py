"""Agents and versions in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Numeric,
    Select,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from gaelp_ray.domain.agents import Agent, AgentStatus, AgentType, AgentVersion, NewAgent, VersionSpec
from gaelp_ray.domain.windows import ALWAYS, Period
from gaelp_ray.store import rows
from gaelp_ray.store.lists import left_out, small
from gaelp_ray.store.tables import account_limits, account_windows, agent_versions, agents
from gaelp_ray.store.tables.ledger import WINDOW_PART


@dataclass(frozen=True)
class AgentFilter:
    """None means any; ``owner`` None is for admins."""

    owner: str | None = None
    type: AgentType | None = None
    status: AgentStatus | None = None
    name: str | None = None


_DOCUMENTS = (
    agent_versions.c.config,
    agent_versions.c.requirements,
    agent_versions.c.environment_vars,
    agent_versions.c.secrets,
)
_VERSION_FACTS = [
    agent_versions.c.id.label("version_id"),
    agent_versions.c.agent_id.label("agent_id"),
    agent_versions.c.version,
    agent_versions.c.entrypoint,
    agent_versions.c.docker_image,
    agent_versions.c.working_dir,
    *rows.resources_columns(agent_versions),
    agent_versions.c.created_by,
    agent_versions.c.created_at.label("version_created_at"),
]
_VERSION_COLUMNS = [*_VERSION_FACTS, *_DOCUMENTS]
_LISTED_COLUMNS = [*_VERSION_FACTS, *map(small, _DOCUMENTS), left_out(*_DOCUMENTS)]

# Looked up for each agent: joined, they cost PostgreSQL as much to plan as all the rest.
_limit = (
    select(account_limits.c.limit_micros)
    .where(account_limits.c.account_id == agents.c.account_id, account_limits.c.period == Period.TOTAL)
    .scalar_subquery()
)
_spent = (
    select(account_windows.c.posted_micros + account_windows.c.posted_parts * literal(WINDOW_PART, Numeric))
    .where(
        account_windows.c.account_id == agents.c.account_id,
        account_windows.c.period == Period.TOTAL,
        account_windows.c.starts_at == ALWAYS.starts_at,
    )
    .scalar_subquery()
)

_FACTS = [
    agents.c.name,
    agents.c.type,
    agents.c.status,
    agents.c.owner,
    agents.c.description,
    agents.c.account_id,
    _limit.label("budget_limit_micros"),
    _spent.label("budget_spent_micros"),
    agents.c.created_at,
    agents.c.updated_at,
]
_of_current = agent_versions.c.id == agents.c.current_version_id
_AGENT: Select[Any] = select(*_FACTS, *_VERSION_COLUMNS).join(agent_versions, _of_current)
_LISTED: Select[Any] = select(*_FACTS, *_LISTED_COLUMNS).join(agent_versions, _of_current)

#: Built once: SQLAlchemy spends as long on composing it as PostgreSQL on answering.
_AGENTS_OF_IDS = _AGENT.where(agents.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))


def lock_name(tx: Connection, owner: str, name: str) -> None:
    """Let those who register agents of one owner and name take turns until the transaction ends."""
    tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(f"{owner}/{name.lower()}", 0))))


def add(tx: Connection, new: NewAgent, *, owner: str, now: datetime) -> int:
    """Insert an agent with its first version and return its id; a taken name violates a unique index."""
    agent_id: int = tx.execute(
        insert(agents)
        .values(
            name=new.name,
            type=new.type,
            status=AgentStatus.ACTIVE,
            owner=owner,
            description=new.description,
            created_at=now,
            updated_at=now,
        )
        .returning(agents.c.id)
    ).scalar_one()
    point_to(tx, agent_id, add_version(tx, agent_id, new.spec, by=owner, now=now), now=now)
    return agent_id


def add_version(tx: Connection, agent_id: int, spec: VersionSpec, *, by: str, now: datetime) -> int:
    version_id: int = tx.execute(
        insert(agent_versions)
        .values(
            agent_id=agent_id,
            version=spec.version,
            entrypoint=spec.entrypoint,
            docker_image=spec.docker_image,
            working_dir=spec.working_dir,
            config=dict(spec.config),
            requirements=list(spec.requirements),
            **rows.resources_values(spec.resources),
            environment_vars=dict(spec.environment_vars),
            secrets=dict(spec.secrets),
            created_by=by,
            created_at=now,
        )
        .returning(agent_versions.c.id)
    ).scalar_one()
    return version_id


def point_to(tx: Connection, agent_id: int, version_id: int, *, now: datetime) -> None:
    """Make a version the current one."""
    set_fields(tx, agent_id, {"current_version_id": version_id}, now=now)


def set_fields(tx: Connection, agent_id: int, values: dict[str, Any], *, now: datetime) -> None:
    tx.execute(update(agents).where(agents.c.id == agent_id).values(**values, updated_at=now))


def lock(tx: Connection, agent_id: int) -> None:
    """Hold the agent's row until the transaction ends."""
    tx.execute(select(agents.c.id).where(agents.c.id == agent_id).with_for_update())


def keep(tx: Connection, agent_id: int) -> None:
    """Let nobody lock the agent, to delete it say, until the transaction ends."""
    tx.execute(select(agents.c.id).where(agents.c.id == agent_id).with_for_update(read=True, key_share=True))


def get(connection: Connection, agent_id: int) -> Agent | None:
    """The agent, deleted or not."""
    row = connection.execute(_AGENT.where(agents.c.id == agent_id)).one_or_none()
    return rows.agent(row) if row else None


def owner(connection: Connection, agent_id: int) -> str | None:
    """Whose the agent is, deleted or not."""
    query = select(agents.c.owner).where(agents.c.id == agent_id)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def get_many(connection: Connection, agent_ids: Sequence[int]) -> dict[int, Agent]:
    found = connection.execute(_AGENTS_OF_IDS, {"ids": list(agent_ids)}).all()
    return {row.agent_id: rows.agent(row) for row in found}


def page(connection: Connection, wanted: AgentFilter, *, before: int | None, limit: int) -> list[Agent]:
    """Newest first, ids below ``before``; deleted agents only when asked for by status.

    What is large of them is left out.
    """
    query = _LISTED.order_by(agents.c.id.desc()).limit(limit)
    if wanted.owner is not None:
        query = query.where(agents.c.owner == wanted.owner)
    if wanted.type is not None:
        query = query.where(agents.c.type == wanted.type)
    if wanted.name is not None:
        query = query.where(func.lower(agents.c.name) == wanted.name.lower())
    if wanted.status is not None:
        query = query.where(agents.c.status == wanted.status)
    else:
        query = query.where(agents.c.status != AgentStatus.ARCHIVED)
    if before is not None:
        query = query.where(agents.c.id < before)
    return [rows.agent(row) for row in connection.execute(query)]


def versions(
    connection: Connection, agent_id: int, *, before: int | None = None, limit: int | None = None
) -> list[AgentVersion]:
    """Newest first, ids below ``before``. What is large of them is left out."""
    columns = agent_versions.c
    query = select(*_LISTED_COLUMNS).where(columns.agent_id == agent_id).order_by(columns.id.desc())
    query = query.limit(limit)
    if before is not None:
        query = query.where(columns.id < before)
    return [rows.version(row) for row in connection.execute(query)]


def find_version(connection: Connection, agent_id: int, version: str) -> AgentVersion | None:
    """The version of that name, in whatever case; one that is spelled so before any other."""
    columns = agent_versions.c
    query = (
        select(*_VERSION_COLUMNS)
        .where(columns.agent_id == agent_id, func.lower(columns.version) == version.lower())
        .order_by((columns.version == version).desc(), columns.id)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return rows.version(row) if row else None


def version_by_id(connection: Connection, version_id: int) -> AgentVersion:
    query = select(*_VERSION_COLUMNS).where(agent_versions.c.id == version_id)
    return rows.version(connection.execute(query).one())


def find_version_by_id(connection: Connection, version_id: int) -> AgentVersion | None:
    query = select(*_VERSION_COLUMNS).where(agent_versions.c.id == version_id)
    row = connection.execute(query).one_or_none()
    return rows.version(row) if row else None


def count_by_type(connection: Connection) -> dict[str, int]:
    query = (
        select(agents.c.type, func.count().label("total"))
        .where(agents.c.status != AgentStatus.ARCHIVED)
        .group_by(agents.c.type)
    )
    return {row.type: row.total for row in connection.execute(query)}
