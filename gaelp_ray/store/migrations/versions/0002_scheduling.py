"""scheduling: gangs, lanes, quotas, holds, reservations"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

_QUEUED = sa.text("state = 'queued'")
_EXPIRABLE = sa.text("deadline IS NOT NULL AND state IN ('queued', 'backoff')")
_RUNS = sa.text("state = 'succeeded' AND attempt_number = 1")
_ENDED = sa.text("ended_at IS NOT NULL")
_TEAM = sa.text("team IS NOT NULL")


def _at(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    _extend_jobs()
    _extend_attempts()
    op.create_index("ix_agents_paused", "agents", ["id"], postgresql_where=sa.text("status = 'paused'"))
    op.create_index(
        "ix_job_events_preempt", "job_events", ["job_id", "id"], postgresql_where=sa.text("event = 'preempt'")
    )
    _create_tables()


def _extend_jobs() -> None:
    op.add_column("jobs", sa.Column("workers", sa.Integer(), server_default="1", nullable=False))
    op.add_column("jobs", sa.Column("selector", postgresql.JSONB(), server_default="{}", nullable=False))
    op.add_column("jobs", sa.Column("spot", sa.Text(), server_default="avoid", nullable=False))
    op.add_column(
        "jobs", sa.Column("preemptible", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("jobs", sa.Column("lane", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("expected_s", sa.Float(), nullable=True))
    op.add_column("jobs", sa.Column("expected_p90_s", sa.Float(), nullable=True))
    op.add_column("jobs", sa.Column("preemptions", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", _at("deadline", nullable=True))
    op.add_column("jobs", _at("queued_at", nullable=True))
    # Equal for jobs that are equal to the planner, which is all that a lane's name must be.
    op.execute(
        """
        UPDATE jobs SET queued_at = submitted_at, lane = md5(
            concat_ws('/', owner, agent_id, priority, cpu_milli, memory_bytes, gpu_milli, storage_bytes)
        )
        """
    )
    op.alter_column("jobs", "lane", nullable=False)
    op.alter_column("jobs", "queued_at", nullable=False)
    op.drop_index("ix_jobs_queue", table_name="jobs", postgresql_where=_QUEUED)
    op.drop_column("jobs", "shape")
    op.drop_column("jobs", "wait_code")
    op.drop_column("jobs", "wait_message")
    op.create_check_constraint(op.f("ck_jobs_workers"), "jobs", "workers >= 1")
    op.create_check_constraint(op.f("ck_jobs_spot"), "jobs", "spot IN ('avoid', 'prefer', 'only')")
    op.create_index("ix_jobs_queue", "jobs", ["lane", "submitted_at", "id"], postgresql_where=_QUEUED)
    op.create_index("ix_jobs_queue_owner", "jobs", ["owner"], postgresql_where=_QUEUED)
    op.create_index("ix_jobs_deadline", "jobs", ["deadline"], postgresql_where=_EXPIRABLE)
    op.create_index("ix_jobs_runs", "jobs", ["agent_id", "finished_at"], postgresql_where=_RUNS)


def _extend_attempts() -> None:
    op.add_column("attempts", sa.Column("workers", sa.Integer(), server_default="1", nullable=False))
    op.add_column("attempts", sa.Column("placement", postgresql.JSONB(), server_default="[]", nullable=False))
    op.add_column(
        "attempts", sa.Column("spot", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.add_column("attempts", _at("saved_at", nullable=True))
    op.execute(
        """
        UPDATE attempts
        SET placement = jsonb_build_array(jsonb_build_object('node_id', node_id, 'gpus', '[]'::jsonb))
        WHERE node_id IS NOT NULL
        """
    )
    op.create_index("ix_attempts_ended_at", "attempts", ["ended_at"], postgresql_where=_ENDED)


def _create_tables() -> None:
    op.create_table(
        "lanes",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("wait_code", sa.Text(), nullable=False),
        sa.Column("wait_message", sa.Text(), nullable=False),
        _at("changed_at"),
        sa.PrimaryKeyConstraint("lane", name=op.f("pk_lanes")),
    )
    op.create_table(
        "quotas",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("limits", postgresql.JSONB(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("queued_limit", sa.BigInteger(), nullable=True),
        _at("updated_at"),
        sa.Column("updated_by", sa.Text(), nullable=False),
        sa.CheckConstraint("kind IN ('user', 'team')", name=op.f("ck_quotas_kind")),
        sa.CheckConstraint("weight > 0", name=op.f("ck_quotas_weight")),
        sa.CheckConstraint("kind = 'user' OR team IS NULL", name=op.f("ck_quotas_team")),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_quotas")),
    )
    op.create_index("ix_quotas_team", "quotas", ["team"], postgresql_where=_TEAM)
    op.create_table(
        "holds",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        _at("at"),
        sa.CheckConstraint("scope IN ('global', 'team', 'user', 'agent')", name=op.f("ck_holds_scope")),
        sa.CheckConstraint("mode IN ('hold', 'hold_and_drain')", name=op.f("ck_holds_mode")),
        sa.CheckConstraint("(scope = 'global') = (name = '')", name=op.f("ck_holds_name")),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pk_holds")),
    )
    op.create_table(
        "reservations",
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("placement", postgresql.JSONB(), nullable=False),
        _at("until"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_reservations_job_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_reservations")),
    )
    op.create_table(
        "scheduling_revision",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_scheduling_revision_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scheduling_revision")),
    )
    op.execute("INSERT INTO scheduling_revision (id, revision) VALUES (1, 1)")
    op.create_table(
        "queue_depth",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        _at("counted_at"),
        sa.CheckConstraint("id = 1", name=op.f("ck_queue_depth_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_queue_depth")),
    )


def downgrade() -> None:
    for table in ("queue_depth", "scheduling_revision", "reservations", "holds", "quotas", "lanes"):
        op.drop_table(table)
    op.drop_index("ix_job_events_preempt", table_name="job_events")
    op.drop_index("ix_agents_paused", table_name="agents")
    op.drop_index("ix_attempts_ended_at", table_name="attempts", postgresql_where=_ENDED)
    for column in ("workers", "placement", "spot", "saved_at"):
        op.drop_column("attempts", column)
    for index in ("ix_jobs_queue", "ix_jobs_queue_owner", "ix_jobs_deadline", "ix_jobs_runs"):
        op.drop_index(index, table_name="jobs")
    op.drop_constraint(op.f("ck_jobs_workers"), "jobs")
    op.drop_constraint(op.f("ck_jobs_spot"), "jobs")
    op.add_column("jobs", sa.Column("wait_code", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("wait_message", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("shape", sa.Text(), nullable=True))
    op.execute("UPDATE jobs SET shape = concat(cpu_milli, 'c-', memory_bytes, 'm-', gpu_milli, 'g')")
    op.alter_column("jobs", "shape", nullable=False)
    for column in (
        "workers",
        "selector",
        "spot",
        "preemptible",
        "lane",
        "expected_s",
        "expected_p90_s",
        "preemptions",
        "deadline",
        "queued_at",
    ):
        op.drop_column("jobs", column)
    op.create_index(
        "ix_jobs_queue",
        "jobs",
        ["shape", sa.literal_column("priority DESC"), "submitted_at", "id"],
        postgresql_where=_QUEUED,
    )
