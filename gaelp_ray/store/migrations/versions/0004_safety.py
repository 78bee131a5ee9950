"""safety"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

APPEND_ONLY = (
    "approval_votes",
    "audit_records",
    "platform_reports",
    "policies",
    "promotion_evidence",
    "promotions",
    "reviewed_actions",
    "violations",
)


def upgrade() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_for", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "purpose IN ('spend', 'promotion', 'limit', 'policy')", name=op.f("ck_approvals_purpose")
        ),
        sa.CheckConstraint(
            "state IN ('requested', 'approved', 'rejected', 'withdrawn', 'expired', 'used')",
            name=op.f("ck_approvals_state"),
        ),
        sa.CheckConstraint("(amount_micros IS NULL) = (currency IS NULL)", name=op.f("ck_approvals_amount")),
        sa.CheckConstraint("needed > 0", name=op.f("ck_approvals_needed")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
    )
    op.create_index("ix_approvals_purpose_subject", "approvals", ["purpose", "subject", "id"], unique=False)
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_head_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "audit_records",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.CheckConstraint("seq > 0", name=op.f("ck_audit_records_seq")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_records")),
        sa.UniqueConstraint("hash", name=op.f("uq_audit_records_hash")),
    )
    op.create_index("ix_audit_records_at", "audit_records", ["at"], unique=False)
    op.create_index("ix_audit_records_subject_seq", "audit_records", ["subject", "seq"], unique=False)
    op.create_table(
        "kill_switches",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("engaged", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "scope IN ('agent', 'user', 'campaign', 'global')", name=op.f("ck_kill_switches_scope")
        ),
        sa.PrimaryKeyConstraint("scope", "subject", name=op.f("pk_kill_switches")),
    )
    op.create_index(
        "ix_kill_switches_engaged",
        "kill_switches",
        ["scope", "subject"],
        unique=False,
        postgresql_where=sa.text("engaged"),
    )
    op.create_table(
        "platform_corrections",
        sa.Column("order_key", sa.Text(), nullable=False),
        sa.Column("corrected_micros", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("order_key", name=op.f("pk_platform_corrections")),
    )
    op.create_table(
        "platform_reports",
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("order_key", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("cost_micros >= 0", name=op.f("ck_platform_reports_cost")),
        sa.PrimaryKeyConstraint("platform", "order_key", "number", name=op.f("pk_platform_reports")),
    )
    op.create_index(
        "ix_platform_reports_received_at", "platform_reports", ["platform", "received_at"], unique=False
    )
    op.create_table(
        "policies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("version > 0", name=op.f("ck_policies_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_policies_name_version")),
    )
    op.create_table(
        "role_grants",
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('approver', 'operator', 'auditor')", name=op.f("ck_role_grants_role")),
        sa.PrimaryKeyConstraint("user_name", "role", name=op.f("pk_role_grants")),
    )
    op.create_table(
        "approval_votes",
        sa.Column("approval_id", sa.BigInteger(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("approves", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["approval_id"], ["approvals.id"], name=op.f("fk_approval_votes_approval_id")
        ),
        sa.PrimaryKeyConstraint("approval_id", "voter", name=op.f("pk_approval_votes")),
    )
    op.create_table(
        "policy_attachments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("attached_by", sa.Text(), nullable=False),
        sa.Column("attached_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detached_by", sa.Text(), nullable=True),
        sa.Column("detached_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("scope IN ('agent', 'type', 'global')", name=op.f("ck_policy_attachments_scope")),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name=op.f("fk_policy_attachments_policy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy_attachments")),
    )
    op.create_index(
        "uq_policy_attachments_live",
        "policy_attachments",
        ["scope", "subject", "name"],
        unique=True,
        postgresql_where=sa.text("detached_at IS NULL"),
    )
    op.create_table(
        "reviewed_actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("action", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("measured", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("allowed", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('allow', 'clip', 'deny', 'halt')", name=op.f("ck_reviewed_actions_verdict")
        ),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_reviewed_actions_agent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviewed_actions")),
        sa.UniqueConstraint("key", name=op.f("uq_reviewed_actions_key")),
    )
    op.create_index("ix_reviewed_actions_agent_id_at", "reviewed_actions", ["agent_id", "at"], unique=False)
    op.create_table(
        "promotion_evidence",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("baseline", sa.Text(), nullable=False),
        sa.Column("seeds", sa.Integer(), nullable=False),
        sa.Column("effect", sa.Float(), nullable=False),
        sa.Column("low", sa.Float(), nullable=False),
        sa.Column("high", sa.Float(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("safety", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("low <= effect AND effect <= high", name=op.f("ck_promotion_evidence_interval")),
        sa.CheckConstraint("seeds > 0", name=op.f("ck_promotion_evidence_seeds")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["agent_versions.id"], name=op.f("fk_promotion_evidence_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion_evidence")),
    )
    op.create_index(
        "ix_promotion_evidence_version_id_id", "promotion_evidence", ["version_id", "id"], unique=False
    )
    op.create_table(
        "ramps",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("previous_version_id", sa.BigInteger(), nullable=True),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("full_day_micros", sa.BigInteger(), nullable=False),
        sa.Column("stages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("stage_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('canary', 'ramping', 'full', 'rolled_back')", name=op.f("ck_ramps_state")
        ),
        sa.CheckConstraint("full_day_micros > 0", name=op.f("ck_ramps_full_day")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_ramps_account_id")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_ramps_agent_id")),
        sa.ForeignKeyConstraint(
            ["previous_version_id"], ["agent_versions.id"], name=op.f("fk_ramps_previous_version_id")
        ),
        sa.ForeignKeyConstraint(["version_id"], ["agent_versions.id"], name=op.f("fk_ramps_version_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ramps")),
    )
    op.create_index(
        "uq_ramps_live_agent",
        "ramps",
        ["agent_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "violations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("policy_id", sa.BigInteger(), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("reviewed_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("severity IN ('clip', 'deny', 'halt')", name=op.f("ck_violations_severity")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_violations_agent_id")),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name=op.f("fk_violations_policy_id")),
        sa.ForeignKeyConstraint(
            ["reviewed_id"], ["reviewed_actions.id"], name=op.f("fk_violations_reviewed_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_violations")),
    )
    op.create_index("ix_violations_agent_id_id", "violations", ["agent_id", "id"], unique=False)
    op.create_index("ix_violations_at", "violations", ["at"], unique=False)
    op.create_table(
        "promotions",
        sa.Column("version_id", sa.BigInteger(), nullable=False),
        sa.Column("evidence_id", sa.BigInteger(), nullable=False),
        sa.Column("approval_id", sa.BigInteger(), nullable=True),
        sa.Column("promoted_by", sa.Text(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["approval_id"], ["approvals.id"], name=op.f("fk_promotions_approval_id")),
        sa.ForeignKeyConstraint(
            ["evidence_id"], ["promotion_evidence.id"], name=op.f("fk_promotions_evidence_id")
        ),
        sa.ForeignKeyConstraint(["version_id"], ["agent_versions.id"], name=op.f("fk_promotions_version_id")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_promotions")),
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        "CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON audit_head "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute("INSERT INTO audit_head (id, seq, hash) VALUES (1, 0, repeat('0', 64))")


def downgrade() -> None:
    op.drop_table("promotions")
    op.drop_index("ix_violations_at", table_name="violations")
    op.drop_index("ix_violations_agent_id_id", table_name="violations")
    op.drop_table("violations")
    op.drop_index("uq_ramps_live_agent", table_name="ramps", postgresql_where=sa.text("ended_at IS NULL"))
    op.drop_table("ramps")
    op.drop_index("ix_promotion_evidence_version_id_id", table_name="promotion_evidence")
    op.drop_table("promotion_evidence")
    op.drop_index("ix_reviewed_actions_agent_id_at", table_name="reviewed_actions")
    op.drop_table("reviewed_actions")
    op.drop_index(
        "uq_policy_attachments_live",
        table_name="policy_attachments",
        postgresql_where=sa.text("detached_at IS NULL"),
    )
    op.drop_table("policy_attachments")
    op.drop_table("approval_votes")
    op.drop_table("role_grants")
    op.drop_table("policies")
    op.drop_index("ix_platform_reports_received_at", table_name="platform_reports")
    op.drop_table("platform_reports")
    op.drop_table("platform_corrections")
    op.drop_index("ix_kill_switches_engaged", table_name="kill_switches", postgresql_where=sa.text("engaged"))
    op.drop_table("kill_switches")
    op.drop_index("ix_audit_records_subject_seq", table_name="audit_records")
    op.drop_index("ix_audit_records_at", table_name="audit_records")
    op.drop_table("audit_records")
    op.drop_table("audit_head")
    op.drop_index("ix_approvals_purpose_subject", table_name="approvals")
    op.drop_table("approvals")
