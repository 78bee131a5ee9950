"""approvals say what they are for; evidence comes from runs; budgets of campaigns have members"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

COLUMNS: tuple[tuple[str, Callable[[], sa.Column[Any]]], ...] = (
    ("approvals", lambda: sa.Column("period", sa.Text())),
    ("approvals", lambda: sa.Column("change", sa.Text())),
    (
        "approval_votes",
        lambda: sa.Column("by_admin", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    ),
    ("approval_votes", lambda: sa.Column("admin_until", sa.DateTime(timezone=True))),
    (
        "reviewed_actions",
        lambda: sa.Column("margin_micros", sa.BigInteger(), nullable=False, server_default="0"),
    ),
    ("ramps", lambda: sa.Column("cap_micros", sa.BigInteger())),
    # What was recorded before was typed in.
    (
        "promotion_evidence",
        lambda: sa.Column("source", sa.Text(), nullable=False, server_default="external"),
    ),
    ("promotion_evidence", lambda: sa.Column("metric", sa.Text())),
    (
        "promotion_evidence",
        lambda: sa.Column("jobs", postgresql.JSONB(), nullable=False, server_default="[]"),
    ),
    (
        "promotion_evidence",
        lambda: sa.Column("baseline_jobs", postgresql.JSONB(), nullable=False, server_default="[]"),
    ),
    ("promotion_evidence", lambda: sa.Column("measured_at", sa.DateTime(timezone=True))),
)


def upgrade() -> None:
    for table, column in COLUMNS:
        op.add_column(table, column())
    op.create_check_constraint(
        op.f("ck_promotion_evidence_source"), "promotion_evidence", "source IN ('runs', 'external')"
    )
    op.create_table(
        "account_members",
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("user_name", sa.Text(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name=op.f("fk_account_members_account_id")),
        sa.PrimaryKeyConstraint("account_id", "user_name", name=op.f("pk_account_members")),
    )
    op.create_table(
        "compute_currency",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_compute_currency_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_compute_currency")),
    )
    # The accounts that pay for compute are opened in the service's own currency.
    op.execute(
        """
        INSERT INTO compute_currency (id, currency)
        SELECT 1, currency FROM accounts WHERE scope = 'user' AND money = 'real'
        GROUP BY currency ORDER BY count(*) DESC, currency LIMIT 1
        """
    )


def downgrade() -> None:
    op.drop_table("compute_currency")
    op.drop_table("account_members")
    op.drop_constraint(op.f("ck_promotion_evidence_source"), "promotion_evidence")
    for table, column in reversed(COLUMNS):
        op.drop_column(table, column().name)
