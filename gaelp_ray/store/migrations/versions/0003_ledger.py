"""ledger"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

APPEND_ONLY = ("ledger_entries", "ledger_operations")


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("money", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("money IN ('real', 'simulated')", name=op.f("ck_accounts_money")),
        sa.CheckConstraint(
            "scope IN ('agent', 'user', 'team', 'campaign', 'global')", name=op.f("ck_accounts_scope")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint(
            "scope", "subject", "currency", "money", name=op.f("uq_accounts_scope_subject_currency_money")
        ),
    )
    op.create_table(
        "ledger_operations",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("hold_key", sa.Text(), nullable=True),
        sa.Column("amount_micros", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("breached", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "operation IN ('hold', 'post', 'void', 'expire', 'settle', 'spend', 'correct')",
            name=op.f("ck_ledger_operations_operation"),
        ),
        sa.CheckConstraint(
            "(refusal IS NULL) <> (amount_micros IS NULL)", name=op.f("ck_ledger_operations_answered")
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_ledger_operations")),
    )
    op.create_table(
        "account_limits",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("limit_micros", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "period IN ('hour', 'day', 'week', 'month', 'total')", name=op.f("ck_account_limits_period")
        ),
        sa.CheckConstraint("limit_micros >= 0", name=op.f("ck_account_limits_limit")),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_account_limits_account_id")),
        sa.PrimaryKeyConstraint("account_id", "period", name=op.f("pk_account_limits")),
    )
    op.create_table(
        "account_windows",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pending_micros", sa.BigInteger(), nullable=False),
        sa.Column("posted_micros", sa.BigInteger(), nullable=False),
        sa.Column("told_percent", sa.Integer(), server_default="0", nullable=False),
        sa.Column("breached_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("pending_micros >= 0", name=op.f("ck_account_windows_pending")),
        sa.ForeignKeyConstraint(
            ["account_id", "period"],
            ["account_limits.account_id", "account_limits.period"],
            name=op.f("fk_account_windows_account_id"),
        ),
        sa.PrimaryKeyConstraint("account_id", "period", "starts_at", name=op.f("pk_account_windows")),
    )
    op.create_table(
        "budget_alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("limit_micros", sa.BigInteger(), nullable=False),
        sa.Column("pending_micros", sa.BigInteger(), nullable=False),
        sa.Column("posted_micros", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id", "period", "starts_at"],
            ["account_windows.account_id", "account_windows.period", "account_windows.starts_at"],
            name=op.f("fk_budget_alerts_account_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget_alerts")),
        sa.UniqueConstraint(
            "account_id",
            "period",
            "starts_at",
            "percent",
            name=op.f("uq_budget_alerts_account_id_period_starts_at_percent"),
        ),
    )
    op.create_table(
        "money_holds",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("account_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("margin_micros", sa.BigInteger(), nullable=False),
        sa.Column("at_expiry", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("posted_micros", sa.BigInteger(), nullable=False),
        sa.Column("reported_micros", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (resolved_at IS NULL)", name=op.f("ck_money_holds_resolved")
        ),
        sa.CheckConstraint("at_expiry IN ('return', 'spend')", name=op.f("ck_money_holds_at_expiry")),
        sa.CheckConstraint(
            "state IN ('pending', 'posted', 'voided', 'expired')", name=op.f("ck_money_holds_state")
        ),
        sa.CheckConstraint("amount_micros > 0 AND margin_micros >= 0", name=op.f("ck_money_holds_amount")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_money_holds_job_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_money_holds")),
    )
    op.create_index(
        "ix_money_holds_due",
        "money_holds",
        ["expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_money_holds_job_id",
        "money_holds",
        ["job_id"],
        unique=False,
        postgresql_where=sa.text("job_id IS NOT NULL"),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("hold_key", sa.Text(), nullable=True),
        sa.Column("pending_micros", sa.BigInteger(), nullable=False),
        sa.Column("posted_micros", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "operation IN ('hold', 'post', 'void', 'expire', 'settle', 'spend', 'correct')",
            name=op.f("ck_ledger_entries_operation"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_ledger_entries_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_entries")),
    )
    op.create_index(
        "ix_ledger_entries_account_id_at", "ledger_entries", ["account_id", "at", "id"], unique=False
    )
    op.create_index(
        "ix_ledger_entries_account_id_counted_at",
        "ledger_entries",
        ["account_id", "counted_at"],
        unique=False,
    )
    op.create_index(
        "uq_ledger_entries_resolution",
        "ledger_entries",
        ["hold_key", "account_id"],
        unique=True,
        postgresql_where=sa.text("pending_micros < 0"),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'rows of % are never changed; book a correction beside them', TG_TABLE_NAME;
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    op.drop_index(
        "uq_ledger_entries_resolution",
        table_name="ledger_entries",
        postgresql_where=sa.text("pending_micros < 0"),
    )
    op.drop_index("ix_ledger_entries_account_id_counted_at", table_name="ledger_entries")
    op.drop_index("ix_ledger_entries_account_id_at", table_name="ledger_entries")
    op.drop_table("ledger_entries")
    op.drop_index(
        "ix_money_holds_job_id", table_name="money_holds", postgresql_where=sa.text("job_id IS NOT NULL")
    )
    op.drop_index(
        "ix_money_holds_due", table_name="money_holds", postgresql_where=sa.text("state = 'pending'")
    )
    op.drop_table("money_holds")
    op.drop_table("budget_alerts")
    op.drop_table("account_windows")
    op.drop_table("account_limits")
    op.drop_table("ledger_operations")
    op.drop_table("accounts")
    op.execute("DROP FUNCTION refuse_change()")
