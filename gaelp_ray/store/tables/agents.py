"""Tables of agents and their versions."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from gaelp_ray.store.tables.core import at_column, id_column, metadata, one_of

agents = Table(
    "agents",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # Both are set in the transaction that adds the agent: the account is named after it.
    Column("account_id", BigInteger, ForeignKey("accounts.id")),
    # The pointer that rollback moves.
    Column("current_version_id", BigInteger),
    at_column("created_at"),
    at_column("updated_at"),
    CheckConstraint(one_of("type", ["simulation", "real_deployment", "evaluation", "research"]), name="type"),
    CheckConstraint(one_of("status", ["active", "paused", "archived"]), name="status"),
    # A deleted agent frees its name.
    Index(
        "uq_agents_owner_name", "owner", "name", unique=True, postgresql_where=text("status <> 'archived'")
    ),
    Index("ix_agents_owner_lower_name", "owner", text("lower(name)")),
    Index("ix_agents_owner_id", "owner", "id"),
    Index("ix_agents_paused", "id", postgresql_where=text("status = 'paused'")),
)

agent_versions = Table(
    "agent_versions",
    metadata,
    id_column(),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("version", Text, nullable=False),
    Column("entrypoint", Text, nullable=False),
    Column("docker_image", Text),
    Column("working_dir", Text),
    Column("config", JSONB, nullable=False),
    Column("requirements", JSONB, nullable=False),
    Column("cpu_milli", BigInteger, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("gpu_milli", BigInteger, nullable=False),
    Column("storage_bytes", BigInteger, nullable=False),
    Column("environment_vars", JSONB, nullable=False),
    Column("secrets", JSONB, nullable=False),
    Column("created_by", Text, nullable=False),
    at_column("created_at"),
    UniqueConstraint("agent_id", "version"),
)
