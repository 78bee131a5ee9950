"""jobs and agents spend through the ledger"""

import os

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_CURRENCY = "GAELP_CURRENCY"


def upgrade() -> None:
    op.add_column("agents", sa.Column("account_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_agents_account_id"), "agents", "accounts", ["account_id"], ["id"])
    op.add_column("jobs", sa.Column("account_id", sa.BigInteger(), nullable=True))
    op.create_foreign_key(op.f("fk_jobs_account_id"), "jobs", "accounts", ["account_id"], ["id"])
    op.add_column("jobs", sa.Column("money", sa.Text(), server_default="simulated", nullable=False))
    op.create_check_constraint(op.f("ck_jobs_money"), "jobs", "money IN ('real', 'simulated')")
    op.add_column("jobs", sa.Column("cost_micros", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("expected_cost_micros", sa.BigInteger(), nullable=True))
    op.add_column("jobs", sa.Column("expected_p90_cost_micros", sa.BigInteger(), nullable=True))
    op.add_column("attempts", sa.Column("hour_micros", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("attempts", sa.Column("cost_micros", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("attempts", sa.Column("slices", sa.Integer(), server_default="0", nullable=False))
    for statement in _CARRY_OVER:
        op.execute(sa.text(statement).bindparams(currency=os.environ.get(_CURRENCY, "USD")))
    for statement in _BOOK_SPENDS:
        op.execute(statement)
    op.drop_constraint(op.f("ck_agents_budget_limit"), "agents")
    op.drop_column("agents", "budget_limit_micros")
    op.drop_table("spends")


#: Every agent gets its account, every user one for the compute of his jobs.
_CARRY_OVER = (
    """
    INSERT INTO accounts (scope, subject, currency, money, timezone, created_at)
    SELECT 'agent', id::text, :currency,
           CASE type WHEN 'real_deployment' THEN 'real' ELSE 'simulated' END, 'UTC', created_at
    FROM agents
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO accounts (scope, subject, currency, money, timezone, created_at)
    SELECT DISTINCT 'agent', agents.id::text, :currency, 'simulated', 'UTC', agents.created_at
    FROM agents JOIN jobs ON jobs.agent_id = agents.id
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO accounts (scope, subject, currency, money, timezone, created_at)
    SELECT 'user', owner, :currency, 'real', 'UTC', min(submitted_at) FROM jobs GROUP BY owner
    ON CONFLICT DO NOTHING
    """,
    """
    UPDATE agents SET account_id = accounts.id
    FROM accounts
    WHERE accounts.scope = 'agent' AND accounts.subject = agents.id::text AND accounts.currency = :currency
      AND accounts.money = CASE agents.type WHEN 'real_deployment' THEN 'real' ELSE 'simulated' END
    """,
    """
    UPDATE jobs SET account_id = accounts.id
    FROM accounts
    WHERE accounts.scope = 'agent' AND accounts.subject = jobs.agent_id::text
      AND accounts.currency = :currency AND accounts.money = 'simulated'
    """,
)

#: What was spent before is one entry of each agent.
_BOOK_SPENDS = (
    """
    INSERT INTO account_limits (account_id, period, limit_micros, updated_at)
    SELECT accounts.id, 'total', agents.budget_limit_micros, accounts.created_at
    FROM accounts LEFT JOIN agents ON agents.account_id = accounts.id
    ON CONFLICT (account_id, period) DO UPDATE
    SET limit_micros = coalesce(account_limits.limit_micros, excluded.limit_micros)
    """,
    """
    INSERT INTO ledger_operations (key, operation, digest, amount_micros, breached, at)
    SELECT 'gaelp:carried over:' || agent_id, 'spend', '', sum(amount_micros), false, max(at)
    FROM spends GROUP BY agent_id
    """,
    """
    INSERT INTO ledger_entries (account_id, operation, key, pending_micros, posted_micros, counted_at, at)
    SELECT agents.account_id, 'spend', 'gaelp:carried over:' || agents.id, 0, sum(amount_micros), max(at),
           max(at)
    FROM spends JOIN agents ON agents.id = spends.agent_id GROUP BY agents.id
    """,
    """
    INSERT INTO account_windows (account_id, period, starts_at, ends_at, pending_micros, posted_micros)
    SELECT agents.account_id, 'total', '1970-01-01 00:00:00+00', '9000-01-01 00:00:00+00', 0,
           sum(amount_micros)
    FROM spends JOIN agents ON agents.id = spends.agent_id GROUP BY agents.id
    ON CONFLICT (account_id, period, starts_at) DO UPDATE
    SET posted_micros = account_windows.posted_micros + excluded.posted_micros
    """,
)


def downgrade() -> None:
    """The limits come back; what was spent stays in the ledger."""
    op.create_table(
        "spends",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("agent_id", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("amount_micros", sa.BigInteger(), nullable=False),
        sa.Column("balance_micros", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_micros > 0", name=op.f("ck_spends_amount")),
        sa.ForeignKeyConstraint(["agent_id"], ["agents.id"], name=op.f("fk_spends_agent_id")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_spends_job_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spends")),
        sa.UniqueConstraint("agent_id", "key", name=op.f("uq_spends_agent_id_key")),
    )
    op.create_index("ix_spends_agent_id_id", "spends", ["agent_id", "id"])
    op.add_column("agents", sa.Column("budget_limit_micros", sa.BigInteger(), nullable=True))
    op.execute(
        """
        UPDATE agents SET budget_limit_micros = account_limits.limit_micros
        FROM account_limits
        WHERE account_limits.account_id = agents.account_id AND account_limits.period = 'total'
        """
    )
    op.create_check_constraint(op.f("ck_agents_budget_limit"), "agents", "budget_limit_micros >= 0")
    op.drop_column("agents", "account_id")
    for column in ("hour_micros", "cost_micros", "slices"):
        op.drop_column("attempts", column)
    for column in ("account_id", "money", "cost_micros", "expected_cost_micros", "expected_p90_cost_micros"):
        op.drop_column("jobs", column)
