"""Tables of the scheduler: who leads, what launchers are told, what plans go by."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from gaelp_ray.domain.holds import HoldMode, HoldScope
from gaelp_ray.domain.quotas import QuotaKind
from gaelp_ray.store.tables.core import at_column, id_column, metadata, one_of

outbox = Table(
    "outbox",
    metadata,
    id_column(),
    Column("launcher", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt_id", BigInteger, ForeignKey("attempts.id"), nullable=False),
    at_column("created_at"),
    at_column("delivered_at", nullable=True),
    CheckConstraint(one_of("kind", ["launch", "stop"]), name="kind"),
    Index("ix_outbox_waiting", "launcher", "id", postgresql_where=text("delivered_at IS NULL")),
)

launchers = Table(
    "launchers",
    metadata,
    #: Unique over clusters: during an upgrade two Ray clusters share this database.
    Column("name", Text, primary_key=True),
    Column("cluster", Text, nullable=False),
    #: One life of the actor; a new one proves that the tasks of the last are dead.
    Column("incarnation", Uuid, nullable=False, unique=True),
    at_column("registered_at"),
    at_column("seen_at"),
    Column("retired", Boolean, nullable=False, server_default=text("false")),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    #: Grows with every change of holder; writes of an older epoch are refused.
    Column("epoch", BigInteger, nullable=False),
    at_column("expires_at"),
)

lanes = Table(
    "lanes",
    metadata,
    Column("lane", Text, primary_key=True),
    #: Why its jobs wait.
    Column("wait_code", Text, nullable=False),
    Column("wait_message", Text, nullable=False),
    at_column("changed_at"),
)

quotas = Table(
    "quotas",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    #: A user's team.
    Column("team", Text),
    #: ``{"limit": {"gpu": 4000}, "borrowing": {}, "lending": {}}``; what is left out is not limited.
    Column("limits", JSONB, nullable=False),
    Column("weight", Float, nullable=False),
    #: Jobs that may wait; null for any number.
    Column("queued_limit", BigInteger),
    at_column("updated_at"),
    Column("updated_by", Text, nullable=False),
    CheckConstraint(one_of("kind", [str(k) for k in QuotaKind]), name="kind"),
    CheckConstraint("weight > 0", name="weight"),
    CheckConstraint("kind = 'user' OR team IS NULL", name="team"),
    Index("ix_quotas_team", "team", postgresql_where=text("team IS NOT NULL")),
)

holds = Table(
    "holds",
    metadata,
    Column("scope", Text, primary_key=True),
    #: Of the user or team, or the agent's id; empty for global.
    Column("name", Text, primary_key=True),
    Column("mode", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    at_column("at"),
    CheckConstraint(one_of("scope", [str(s) for s in HoldScope]), name="scope"),
    CheckConstraint(one_of("mode", [str(m) for m in HoldMode]), name="mode"),
    CheckConstraint("(scope = 'global') = (name = '')", name="name"),
)

reservations = Table(
    "reservations",
    metadata,
    #: The waiting job that others make room for.
    Column("job_id", BigInteger, ForeignKey("jobs.id"), primary_key=True),
    #: As an attempt's.
    Column("placement", JSONB, nullable=False),
    at_column("until"),
)

scheduling_revision = Table(
    "scheduling_revision",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    #: Grows with every change of what plans go by: quotas, holds, paused agents.
    Column("revision", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

queue_depth = Table(
    "queue_depth",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    #: Jobs that waited when the scheduler last looked; nobody else counts them all.
    Column("waiting", BigInteger, nullable=False),
    at_column("counted_at"),
    CheckConstraint("id = 1", name="one_row"),
)
