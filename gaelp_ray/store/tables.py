"""Every table. Invariants that the database can hold, it holds: see the constraints and partial indexes."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import UserDefinedType

from gaelp_ray.domain.approvals import ApprovalState, Purpose
from gaelp_ray.domain.holds import HoldMode, HoldScope
from gaelp_ray.domain.jobs import LIVE, JobState
from gaelp_ray.domain.ledger import AtExpiry, HoldState, Money, Operation, Scope
from gaelp_ray.domain.quotas import QuotaKind
from gaelp_ray.domain.ramps import RampState
from gaelp_ray.domain.requests import Spot
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach
from gaelp_ray.domain.safety.verdicts import Severity
from gaelp_ray.domain.switches import SwitchScope
from gaelp_ray.domain.windows import Period

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id, which orders a feed by commit safety."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "xid8"


def _one_of(column: str, values: list[str]) -> str:
    return f"{column} IN ({', '.join(repr(v) for v in values)})"


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(always=True), primary_key=True)


def _at(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


_LIVE_SQL = _one_of("state", sorted(map(str, LIVE)))

agents = Table(
    "agents",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    # Both are set in the transaction that adds the agent: the account is named after it.
    Column("account_id", BigInteger, ForeignKey("accounts.id")),
    # The pointer that rollback moves.
    Column("current_version_id", BigInteger),
    _at("created_at"),
    _at("updated_at"),
    CheckConstraint(
        _one_of("type", ["simulation", "real_deployment", "evaluation", "research"]), name="type"
    ),
    CheckConstraint(_one_of("status", ["active", "paused", "archived"]), name="status"),
    # A deleted agent frees its name.
    Index(
        "uq_agents_owner_name", "owner", "name", unique=True, postgresql_where=text("status <> 'archived'")
    ),
    Index("ix_agents_owner_id", "owner", "id"),
    Index("ix_agents_paused", "id", postgresql_where=text("status = 'paused'")),
)

agent_versions = Table(
    "agent_versions",
    metadata,
    _id(),
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
    _at("created_at"),
    UniqueConstraint("agent_id", "version"),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("version_id", BigInteger, ForeignKey("agent_versions.id"), nullable=False),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    #: Grows with every change of state; a guarded update names the one it saw.
    Column("row_version", Integer, nullable=False, server_default="1"),
    Column("priority", Integer, nullable=False),
    Column("cpu_milli", BigInteger, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("gpu_milli", BigInteger, nullable=False),
    Column("storage_bytes", BigInteger, nullable=False),
    #: Placed all or not at all; the amounts above are of each.
    Column("workers", Integer, nullable=False, server_default="1"),
    Column("selector", JSONB, nullable=False, server_default="{}"),
    Column("spot", Text, nullable=False, server_default="avoid"),
    Column("preemptible", Boolean, nullable=False, server_default=text("false")),
    #: Jobs in one lane are equal to the planner.
    Column("lane", Text, nullable=False),
    Column("expected_s", Float),
    Column("expected_p90_s", Float),
    Column("entrypoint", Text, nullable=False),
    Column("hyperparameters", JSONB, nullable=False),
    Column("training_config", JSONB, nullable=False),
    Column("environment_vars", JSONB, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("timeout_s", Float),
    Column("max_retries", Integer, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("preemptions", Integer, nullable=False, server_default="0"),
    Column("attempt_number", Integer, nullable=False, server_default="0"),
    Column("step", BigInteger),
    Column("total_steps", BigInteger),
    Column("latest_metrics", JSONB, nullable=False, server_default="{}"),
    Column("cause", Text),
    Column("message", Text),
    Column("result", JSONB),
    Column("notices", JSONB, nullable=False, server_default="[]"),
    #: The kind of money that it spends itself, and the account that it does so from.
    Column("money", Text, nullable=False, server_default="simulated"),
    Column("account_id", BigInteger, ForeignKey("accounts.id")),
    #: Of its compute: what was booked so far, and what was expected, median and 90th percentile.
    Column("cost_micros", BigInteger, nullable=False, server_default="0"),
    Column("expected_cost_micros", BigInteger),
    Column("expected_p90_cost_micros", BigInteger),
    Column("idempotency_key", Text),
    Column("request_digest", Text),
    _at("deadline", nullable=True),
    _at("submitted_at"),
    #: When it last joined the queue.
    _at("queued_at"),
    _at("started_at", nullable=True),
    _at("finished_at", nullable=True),
    _at("not_before", nullable=True),
    CheckConstraint(_one_of("state", [str(s) for s in JobState]), name="state"),
    CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
    CheckConstraint("workers >= 1", name="workers"),
    CheckConstraint(_one_of("spot", [str(s) for s in Spot]), name="spot"),
    CheckConstraint(_one_of("money", sorted(str(m) for m in Money)), name="money"),
    UniqueConstraint("owner", "idempotency_key"),
    Index("ix_jobs_owner_id", "owner", "id"),
    Index("ix_jobs_agent_id_id", "agent_id", "id"),
    Index("ix_jobs_state", "state"),
    Index("ix_jobs_queue", "lane", "submitted_at", "id", postgresql_where=text("state = 'queued'")),
    # What the limit of each user's queue is counted from.
    Index("ix_jobs_queue_owner", "owner", postgresql_where=text("state = 'queued'")),
    Index(
        "ix_jobs_deadline",
        "deadline",
        postgresql_where=text("deadline IS NOT NULL AND state IN ('queued', 'backoff')"),
    ),
    # Run times of an agent's undisturbed jobs, newest first.
    Index(
        "ix_jobs_runs",
        "agent_id",
        "finished_at",
        postgresql_where=text("state = 'succeeded' AND attempt_number = 1"),
    ),
    Index("ix_jobs_backoff", "not_before", postgresql_where=text("state = 'backoff'")),
    Index("ix_jobs_live", "id", postgresql_where=text(_LIVE_SQL)),
)

attempts = Table(
    "attempts",
    metadata,
    _id(),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("token", Uuid, nullable=False),
    Column("cpu_milli", BigInteger, nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("gpu_milli", BigInteger, nullable=False),
    Column("storage_bytes", BigInteger, nullable=False),
    #: The amounts above are of each.
    Column("workers", Integer, nullable=False, server_default="1"),
    #: ``[{"node_id": ..., "gpus": [...]}]``, one for each worker.
    Column("placement", JSONB, nullable=False, server_default="[]"),
    #: A node of it is one that its owner may take back.
    Column("spot", Boolean, nullable=False, server_default=text("false")),
    #: The launcher that owns its task, from admission on; ``incarnation`` once it was handed to Ray.
    Column("launcher", Text, nullable=False),
    Column("incarnation", Uuid),
    #: The process that runs it; a claim repeated by the same process is granted again.
    Column("claimed_by", Uuid),
    #: The first worker's.
    Column("node_id", Text),
    #: Why it was told to stop, if it was.
    Column("stop_cause", Text),
    Column("resumed_from_step", BigInteger),
    Column("cause", Text),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("peak_memory_bytes", BigInteger),
    #: What an hour of all its workers costs, as of its admission; 0 for what is free.
    Column("hour_micros", BigInteger, nullable=False, server_default="0"),
    #: Booked so far, and how many slices of running time money was held for, one after the other.
    Column("cost_micros", BigInteger, nullable=False, server_default="0"),
    Column("slices", Integer, nullable=False, server_default="0"),
    _at("created_at"),
    _at("claimed_at", nullable=True),
    _at("last_seen_at", nullable=True),
    #: When it saved its newest checkpoint.
    _at("saved_at", nullable=True),
    _at("ended_at", nullable=True),
    UniqueConstraint("job_id", "number"),
    # Promise 3, held by the database: a job has at most one live attempt.
    Index("uq_attempts_live_job", "job_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_attempts_live_launcher", "launcher", postgresql_where=text("ended_at IS NULL")),
    # Usage in the past is the sum of what ended since.
    Index("ix_attempts_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    CheckConstraint("(ended_at IS NULL) = (cause IS NULL)", name="ended_has_cause"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _id(),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("attempt_id", BigInteger, ForeignKey("attempts.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("uri", Text, nullable=False, unique=True),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("metrics", JSONB, nullable=False),
    _at("created_at"),
    _at("deleted_at", nullable=True),
    Index("ix_checkpoints_job_id_step", "job_id", "step"),
)

job_events = Table(
    "job_events",
    metadata,
    _id(),
    # Readers of the feed stop below pg_snapshot_xmin: ids may commit out of order, these never pass it.
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("agent_id", BigInteger, nullable=False),
    Column("attempt", Integer),
    Column("event", Text, nullable=False),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("message", Text, nullable=False, server_default=""),
    Column("data", JSONB, nullable=False, server_default="{}"),
    _at("at"),
    Index("ix_job_events_job_id_id", "job_id", "id"),
    Index("ix_job_events_xid_id", "xid", "id"),
    Index("ix_job_events_preempt", "job_id", "id", postgresql_where=text("event = 'preempt'")),
)

metric_points = Table(
    "metric_points",
    metadata,
    _id(),
    Column("agent_id", BigInteger, nullable=False),
    Column("job_id", BigInteger),
    Column("attempt", Integer),
    Column("step", BigInteger),
    Column("source", Text, nullable=False),
    Column("values", JSONB, nullable=False),
    _at("at"),
    Index("ix_metric_points_agent_id_id", "agent_id", "id"),
    Index("ix_metric_points_job_id_id", "job_id", "id", postgresql_where=text("job_id IS NOT NULL")),
    # A resumed attempt, or a batch sent twice, may say the same thing again: it is stored once.
    Index(
        "uq_metric_points_job_attempt_step",
        "job_id",
        "attempt",
        "step",
        unique=True,
        postgresql_where=text("job_id IS NOT NULL AND step IS NOT NULL"),
    ),
)

log_chunks = Table(
    "log_chunks",
    metadata,
    Column("attempt_id", BigInteger, ForeignKey("attempts.id"), primary_key=True),
    #: Offset of the first byte in the attempt's log; the key makes a chunk sent twice harmless.
    Column("start_byte", BigInteger, primary_key=True),
    Column("content", LargeBinary, nullable=False),
    _at("at"),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("launcher", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt_id", BigInteger, ForeignKey("attempts.id"), nullable=False),
    _at("created_at"),
    _at("delivered_at", nullable=True),
    CheckConstraint(_one_of("kind", ["launch", "stop"]), name="kind"),
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
    _at("registered_at"),
    _at("seen_at"),
    Column("retired", Boolean, nullable=False, server_default=text("false")),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    #: Grows with every change of holder; writes of an older epoch are refused.
    Column("epoch", BigInteger, nullable=False),
    _at("expires_at"),
)

lanes = Table(
    "lanes",
    metadata,
    Column("lane", Text, primary_key=True),
    #: Why its jobs wait.
    Column("wait_code", Text, nullable=False),
    Column("wait_message", Text, nullable=False),
    _at("changed_at"),
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
    _at("updated_at"),
    Column("updated_by", Text, nullable=False),
    CheckConstraint(_one_of("kind", [str(k) for k in QuotaKind]), name="kind"),
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
    _at("at"),
    CheckConstraint(_one_of("scope", [str(s) for s in HoldScope]), name="scope"),
    CheckConstraint(_one_of("mode", [str(m) for m in HoldMode]), name="mode"),
    CheckConstraint("(scope = 'global') = (name = '')", name="name"),
)

reservations = Table(
    "reservations",
    metadata,
    #: The waiting job that others make room for.
    Column("job_id", BigInteger, ForeignKey("jobs.id"), primary_key=True),
    #: As an attempt's.
    Column("placement", JSONB, nullable=False),
    _at("until"),
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
    _at("counted_at"),
    CheckConstraint("id = 1", name="one_row"),
)

accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("scope", Text, nullable=False),
    #: The agent's id, the user's, team's or campaign's name; empty for the global account.
    Column("subject", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("money", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    _at("closes_at", nullable=True),
    _at("created_at"),
    CheckConstraint(_one_of("scope", [str(s) for s in Scope]), name="scope"),
    CheckConstraint(_one_of("money", [str(m) for m in Money]), name="money"),
    UniqueConstraint("scope", "subject", "currency", "money"),
)

account_limits = Table(
    "account_limits",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True),
    Column("period", Text, primary_key=True),
    #: NULL: counted, not limited.
    Column("limit_micros", BigInteger),
    _at("updated_at"),
    CheckConstraint(_one_of("period", [str(p) for p in Period]), name="period"),
    CheckConstraint("limit_micros >= 0", name="limit"),
)

#: Running sums of ``ledger_entries``, kept so that a limit is tested without adding them up. Whoever changes
#: one holds its account's row.
account_windows = Table(
    "account_windows",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    _at("ends_at"),
    Column("pending_micros", BigInteger, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    Column("told_percent", Integer, nullable=False, server_default="0"),
    _at("breached_at", nullable=True),
    ForeignKeyConstraint(["account_id", "period"], ["account_limits.account_id", "account_limits.period"]),
    CheckConstraint("pending_micros >= 0", name="pending"),
)

#: Every operation under the key that its caller made, with its answer. A trigger keeps rows as they are.
ledger_operations = Table(
    "ledger_operations",
    metadata,
    Column("key", Text, primary_key=True),
    Column("operation", Text, nullable=False),
    Column("digest", Text, nullable=False),
    #: NULL when it was carried out, else the code of the error that it was refused with.
    Column("refusal", Text),
    Column("message", Text),
    Column("details", JSONB),
    Column("hold_key", Text),
    Column("amount_micros", BigInteger),
    _at("expires_at", nullable=True),
    Column("breached", Boolean, nullable=False),
    Column("note", Text),
    _at("at"),
    CheckConstraint(_one_of("operation", [str(o) for o in Operation]), name="operation"),
    CheckConstraint("(refusal IS NULL) <> (amount_micros IS NULL)", name="answered"),
)

money_holds = Table(
    "money_holds",
    metadata,
    #: Of the operation that opened it.
    Column("key", Text, primary_key=True),
    #: In ascending order.
    Column("account_ids", ARRAY(BigInteger), nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("margin_micros", BigInteger, nullable=False),
    Column("at_expiry", Text, nullable=False),
    Column("job_id", BigInteger, ForeignKey("jobs.id")),
    Column("state", Text, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    Column("reported_micros", BigInteger),
    _at("created_at"),
    _at("expires_at"),
    _at("resolved_at", nullable=True),
    CheckConstraint(_one_of("state", [str(s) for s in HoldState]), name="state"),
    CheckConstraint(_one_of("at_expiry", [str(a) for a in AtExpiry]), name="at_expiry"),
    CheckConstraint("amount_micros > 0 AND margin_micros >= 0", name="amount"),
    CheckConstraint("(state = 'pending') = (resolved_at IS NULL)", name="resolved"),
    Index("ix_money_holds_due", "expires_at", postgresql_where=text("state = 'pending'")),
    Index("ix_money_holds_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
)

#: All that is known of balances is the sum of these. A trigger keeps rows as they are.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    _id(),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("operation", Text, nullable=False),
    #: Of its operation and its hold. They are written together and never deleted; to have PostgreSQL look
    #: each of them up again would cost as much as the rows themselves, so the reconciler does.
    Column("key", Text, nullable=False),
    Column("hold_key", Text),
    Column("pending_micros", BigInteger, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    #: Decides the windows it counts in: for all that happens to a hold, when the hold was made.
    _at("counted_at"),
    _at("at"),
    CheckConstraint(_one_of("operation", [str(o) for o in Operation]), name="operation"),
    # A hold is resolved at most once, held by the database.
    Index(
        "uq_ledger_entries_resolution",
        "hold_key",
        "account_id",
        unique=True,
        postgresql_where=text("pending_micros < 0"),
    ),
    Index("ix_ledger_entries_account_id_at", "account_id", "at", "id"),
    Index("ix_ledger_entries_account_id_counted_at", "account_id", "counted_at"),
)

budget_alerts = Table(
    "budget_alerts",
    metadata,
    _id(),
    Column("account_id", BigInteger, nullable=False),
    Column("period", Text, nullable=False),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("limit_micros", BigInteger, nullable=False),
    Column("pending_micros", BigInteger, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    _at("at"),
    ForeignKeyConstraint(
        ["account_id", "period", "starts_at"],
        ["account_windows.account_id", "account_windows.period", "account_windows.starts_at"],
    ),
    # Each mark is told once in a window.
    UniqueConstraint("account_id", "period", "starts_at", "percent"),
)

#: Who changed what: one chain, each row sealed with the hash of the one before. A trigger keeps rows as
#: they are.
audit_records = Table(
    "audit_records",
    metadata,
    #: Without a gap: the next number is drawn under the lock of ``audit_head``.
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    _at("at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    # JSON as it was hashed. A JSON column would give numbers back in another shape.
    Column("before", Text),
    Column("after", Text),
    Column("request_id", Text),
    Column("hash", Text, nullable=False, unique=True),
    CheckConstraint("seq > 0", name="seq"),
    Index("ix_audit_records_at", "at"),
    Index("ix_audit_records_subject_seq", "subject", "seq"),
)

#: One row: the end of the chain, locked by whoever adds to it.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    CheckConstraint("id = 1", name="one"),
)

role_grants = Table(
    "role_grants",
    metadata,
    Column("user_name", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("granted_by", Text, nullable=False),
    _at("granted_at"),
    CheckConstraint(_one_of("role", [str(r) for r in Role]), name="role"),
)

#: A trigger keeps versions as they are.
policies = Table(
    "policies",
    metadata,
    _id(),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", JSONB, nullable=False),
    Column("created_by", Text, nullable=False),
    _at("created_at"),
    CheckConstraint("version > 0", name="version"),
    UniqueConstraint("name", "version"),
)

policy_attachments = Table(
    "policy_attachments",
    metadata,
    _id(),
    Column("policy_id", BigInteger, ForeignKey("policies.id"), nullable=False),
    #: Of the policy, so that one of its versions is attached to a thing at a time.
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("attached_by", Text, nullable=False),
    _at("attached_at"),
    Column("detached_by", Text),
    _at("detached_at", nullable=True),
    CheckConstraint(_one_of("scope", [str(a) for a in Attach]), name="scope"),
    Index(
        "uq_policy_attachments_live",
        "scope",
        "subject",
        "name",
        unique=True,
        postgresql_where=text("detached_at IS NULL"),
    ),
)

#: Every real action that was reviewed, so that a policy can be tried on history.
reviewed_actions = Table(
    "reviewed_actions",
    metadata,
    _id(),
    #: Made by the caller, and of the hold that pays for it; the same key gets the same verdict again.
    Column("key", Text, nullable=False, unique=True),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("action", JSONB, nullable=False),
    Column("measured", JSONB, nullable=False),
    #: What it was cut to; NULL when it was not to happen.
    Column("allowed", JSONB),
    Column("verdict", Text, nullable=False),
    _at("at"),
    CheckConstraint(_one_of("verdict", ["allow", *map(str, Severity)]), name="verdict"),
    Index("ix_reviewed_actions_agent_id_at", "agent_id", "at"),
)

violations = Table(
    "violations",
    metadata,
    _id(),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("policy_id", BigInteger, ForeignKey("policies.id")),
    Column("severity", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("reviewed_id", BigInteger, ForeignKey("reviewed_actions.id"), nullable=False),
    _at("at"),
    CheckConstraint(_one_of("severity", [str(s) for s in Severity]), name="severity"),
    Index("ix_violations_agent_id_id", "agent_id", "id"),
    Index("ix_violations_at", "at"),
)

approvals = Table(
    "approvals",
    metadata,
    _id(),
    Column("purpose", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("amount_micros", BigInteger),
    Column("currency", Text),
    Column("reason", Text, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    _at("requested_at"),
    _at("expires_at"),
    _at("decided_at", nullable=True),
    #: What it was spent on; an approval is good for one thing.
    Column("used_for", Text),
    CheckConstraint(_one_of("purpose", [str(p) for p in Purpose]), name="purpose"),
    CheckConstraint(_one_of("state", [str(s) for s in ApprovalState]), name="state"),
    CheckConstraint("(amount_micros IS NULL) = (currency IS NULL)", name="amount"),
    CheckConstraint("needed > 0", name="needed"),
    Index("ix_approvals_purpose_subject", "purpose", "subject", "id"),
)

approval_votes = Table(
    "approval_votes",
    metadata,
    # One person, one vote, held by the database.
    Column("approval_id", BigInteger, ForeignKey("approvals.id"), primary_key=True),
    Column("voter", Text, primary_key=True),
    Column("approves", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    _at("at"),
)

#: A row for each that was ever engaged.
kill_switches = Table(
    "kill_switches",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("engaged", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("changed_by", Text, nullable=False),
    _at("changed_at"),
    CheckConstraint(_one_of("scope", [str(s) for s in SwitchScope]), name="scope"),
    Index("ix_kill_switches_engaged", "scope", "subject", postgresql_where=text("engaged")),
)

promotion_evidence = Table(
    "promotion_evidence",
    metadata,
    _id(),
    Column("version_id", BigInteger, ForeignKey("agent_versions.id"), nullable=False),
    Column("baseline", Text, nullable=False),
    Column("seeds", Integer, nullable=False),
    Column("effect", Float, nullable=False),
    Column("low", Float, nullable=False),
    Column("high", Float, nullable=False),
    Column("confidence", Float, nullable=False),
    #: Upper confidence bounds of what must stay low, by metric.
    Column("safety", JSONB, nullable=False),
    Column("recorded_by", Text, nullable=False),
    _at("recorded_at"),
    CheckConstraint("seeds > 0", name="seeds"),
    CheckConstraint("low <= effect AND effect <= high", name="interval"),
    Index("ix_promotion_evidence_version_id_id", "version_id", "id"),
)

promotions = Table(
    "promotions",
    metadata,
    Column("version_id", BigInteger, ForeignKey("agent_versions.id"), primary_key=True),
    Column("evidence_id", BigInteger, ForeignKey("promotion_evidence.id"), nullable=False),
    Column("approval_id", BigInteger, ForeignKey("approvals.id")),
    Column("promoted_by", Text, nullable=False),
    _at("promoted_at"),
)

ramps = Table(
    "ramps",
    metadata,
    _id(),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("version_id", BigInteger, ForeignKey("agent_versions.id"), nullable=False),
    #: What a rollback points the agent to.
    Column("previous_version_id", BigInteger, ForeignKey("agent_versions.id")),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    #: What it may spend in a day at the end of the ramp.
    Column("full_day_micros", BigInteger, nullable=False),
    Column("stages", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    _at("stage_since"),
    #: The newest metric point when the stage began, so that older ones need not be looked at.
    Column("points_after", BigInteger, nullable=False),
    #: The metric that watches over it, and what each stage must show of it.
    Column("metric", Text, nullable=False),
    Column("min_samples", Integer, nullable=False),
    Column("min_value", Float, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("started_by", Text, nullable=False),
    _at("started_at"),
    _at("ended_at", nullable=True),
    CheckConstraint(_one_of("state", [str(s) for s in RampState]), name="state"),
    CheckConstraint("full_day_micros > 0", name="full_day"),
    Index("uq_ramps_live_agent", "agent_id", unique=True, postgresql_where=text("ended_at IS NULL")),
)

#: What ad platforms say was spent. Each report of an order replaces those with lower numbers.
platform_reports = Table(
    "platform_reports",
    metadata,
    Column("platform", Text, primary_key=True),
    #: The key of the hold that paid for it.
    Column("order_key", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("campaign", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    Column("final", Boolean, nullable=False),
    _at("reported_at"),
    _at("received_at"),
    CheckConstraint("cost_micros >= 0", name="cost"),
    Index("ix_platform_reports_received_at", "platform", "received_at"),
)

#: What was booked beside the hold of an order, to make the ledger say what its platform says.
platform_corrections = Table(
    "platform_corrections",
    metadata,
    Column("order_key", Text, primary_key=True),
    Column("corrected_micros", BigInteger, nullable=False),
)
