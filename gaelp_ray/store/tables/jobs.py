"""Tables of jobs, their attempts, and what those leave behind."""

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
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from gaelp_ray.domain.jobs import LIVE, JobState
from gaelp_ray.domain.ledger import Money
from gaelp_ray.domain.requests import Spot
from gaelp_ray.store.tables.core import Xid8, at_column, id_column, metadata, one_of

_LIVE_SQL = one_of("state", sorted(map(str, LIVE)))

jobs = Table(
    "jobs",
    metadata,
    id_column(),
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
    #: The user's own guess of its run time; what is expected is made from it and from past runs.
    Column("guess_s", Float),
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
    #: In a row, right after their start and with no part of the cluster that was seen to fail.
    Column("instant_losses", Integer, nullable=False, server_default="0"),
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
    at_column("deadline", nullable=True),
    at_column("submitted_at"),
    #: When it last joined the queue.
    at_column("queued_at"),
    at_column("started_at", nullable=True),
    at_column("finished_at", nullable=True),
    at_column("not_before", nullable=True),
    CheckConstraint(one_of("state", [str(s) for s in JobState]), name="state"),
    CheckConstraint("priority BETWEEN 1 AND 10", name="priority"),
    CheckConstraint("workers >= 1", name="workers"),
    CheckConstraint(one_of("spot", [str(s) for s in Spot]), name="spot"),
    CheckConstraint(one_of("money", sorted(str(m) for m in Money)), name="money"),
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
    id_column(),
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
    #: A checkpoint of another job that it works on: kept as long as the attempt lives. No foreign key, for
    #: checkpoints refer to attempts.
    Column("input_checkpoint_id", BigInteger),
    Column("cause", Text),
    Column("message", Text),
    Column("exit_code", Integer),
    Column("peak_memory_bytes", BigInteger),
    #: What an hour of all its workers costs, as of its admission; 0 for what is free.
    Column("hour_micros", BigInteger, nullable=False, server_default="0"),
    #: Booked so far, and how many slices of running time money was held for, one after the other.
    Column("cost_micros", BigInteger, nullable=False, server_default="0"),
    Column("slices", Integer, nullable=False, server_default="0"),
    at_column("created_at"),
    at_column("claimed_at", nullable=True),
    at_column("last_seen_at", nullable=True),
    #: When it saved its newest checkpoint.
    at_column("saved_at", nullable=True),
    at_column("ended_at", nullable=True),
    UniqueConstraint("job_id", "number"),
    # Promise 3, held by the database: a job has at most one live attempt.
    Index("uq_attempts_live_job", "job_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_attempts_live_launcher", "launcher", postgresql_where=text("ended_at IS NULL")),
    Index(
        "ix_attempts_inputs",
        "input_checkpoint_id",
        postgresql_where=text("ended_at IS NULL AND input_checkpoint_id IS NOT NULL"),
    ),
    # Usage in the past is the sum of what ended since.
    Index("ix_attempts_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    CheckConstraint("(ended_at IS NULL) = (cause IS NULL)", name="ended_has_cause"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    id_column(),
    Column("job_id", BigInteger, ForeignKey("jobs.id"), nullable=False),
    Column("attempt_id", BigInteger, ForeignKey("attempts.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    #: Where it was saved, and the same place relative to the storage's root, by which it is found.
    Column("uri", Text, nullable=False, unique=True),
    Column("address", Text),
    Column("digest", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("metrics", JSONB, nullable=False),
    at_column("created_at"),
    at_column("deleted_at", nullable=True),
    # Ids grow in the order of saving, for the row of the job is held.
    Index("ix_checkpoints_kept", "job_id", "id", postgresql_where=text("deleted_at IS NULL")),
    Index("ix_checkpoints_attempt_id", "attempt_id"),
)

job_events = Table(
    "job_events",
    metadata,
    id_column(),
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
    at_column("at"),
    Index("ix_job_events_job_id_id", "job_id", "id"),
    Index("ix_job_events_xid_id", "xid", "id"),
    Index("ix_job_events_preempt", "job_id", "id", postgresql_where=text("event = 'preempt'")),
)

metric_points = Table(
    "metric_points",
    metadata,
    id_column(),
    Column("agent_id", BigInteger, nullable=False),
    Column("job_id", BigInteger),
    Column("attempt", Integer),
    Column("step", BigInteger),
    Column("source", Text, nullable=False),
    Column("values", JSONB, nullable=False),
    at_column("at"),
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
    at_column("at"),
)
