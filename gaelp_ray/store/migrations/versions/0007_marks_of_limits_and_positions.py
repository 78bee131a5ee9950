"""marks are told of a limit, lists have positions, and holds that cannot be ended are set aside"""

import sqlalchemy as sa
from alembic import op

from gaelp_ray.store.tables.core import Xid8

revision = "0007"
down_revision = "0006"

#: What was there before has no transaction to wait for: all of it comes first.
FEEDS = ("budget_alerts", "violations")


def upgrade() -> None:
    op.add_column("account_windows", sa.Column("told_limit_micros", sa.BigInteger(), nullable=True))
    op.execute(
        """
        UPDATE account_windows w SET told_limit_micros = l.limit_micros
        FROM account_limits l
        WHERE (l.account_id, l.period) = (w.account_id, w.period) AND w.told_percent > 0
        """
    )
    op.drop_constraint(
        "uq_budget_alerts_account_id_period_starts_at_percent", "budget_alerts", type_="unique"
    )
    op.create_unique_constraint(
        "uq_budget_alerts_mark",
        "budget_alerts",
        ["account_id", "period", "starts_at", "percent", "limit_micros"],
    )
    for table in FEEDS:
        # A constant first: rows that are there get it without being written again.
        op.add_column(table, sa.Column("xid", Xid8(), server_default="0", nullable=False))
        op.execute(f"ALTER TABLE {table} ALTER COLUMN xid SET DEFAULT pg_current_xact_id()")
        op.create_index(f"ix_{table}_xid_id", table, ["xid", "id"])
    op.create_index("ix_ledger_entries_account_id_id", "ledger_entries", ["account_id", "id"])
    op.create_index(
        "ix_ledger_operations_correct",
        "ledger_operations",
        ["hold_key"],
        postgresql_where=sa.text("operation = 'correct'"),
    )
    op.create_index(
        "ix_ledger_operations_report",
        "ledger_operations",
        [sa.text("split_part(key, ':', 2)")],
        postgresql_where=sa.text("operation = 'correct' AND key LIKE 'report:%'"),
    )
    op.create_table(
        "overdue_holds",
        sa.Column("hold_key", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("try_again_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hold_key", name=op.f("pk_overdue_holds")),
    )
    # A hold was kept though it was refused, and nothing was booked for it: it holds nothing.
    op.execute(
        """
        DELETE FROM money_holds h USING ledger_operations o
        WHERE o.key = h.key AND o.operation = 'hold' AND o.refusal IS NOT NULL
            AND NOT EXISTS (SELECT FROM ledger_entries e WHERE e.hold_key = h.key)
        """
    )


def downgrade() -> None:
    op.drop_table("overdue_holds")
    op.drop_index("ix_ledger_operations_report", table_name="ledger_operations")
    op.drop_index("ix_ledger_operations_correct", table_name="ledger_operations")
    op.drop_index("ix_ledger_entries_account_id_id", table_name="ledger_entries")
    for table in FEEDS:
        op.drop_index(f"ix_{table}_xid_id", table_name=table)
        op.drop_column(table, "xid")
    op.drop_constraint("uq_budget_alerts_mark", "budget_alerts", type_="unique")
    # Of marks that were told of several limits, the first stays.
    op.execute(
        """
        DELETE FROM budget_alerts a USING budget_alerts b
        WHERE (a.account_id, a.period, a.starts_at, a.percent) = (b.account_id, b.period, b.starts_at, b.percent)
            AND a.id > b.id
        """
    )
    op.create_unique_constraint(
        "uq_budget_alerts_account_id_period_starts_at_percent",
        "budget_alerts",
        ["account_id", "period", "starts_at", "percent"],
    )
    op.drop_column("account_windows", "told_limit_micros")
