"""Tables of money: accounts, their windows, and what was booked."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from gaelp_ray.domain.ledger import AtExpiry, HoldState, Money, Operation, Scope
from gaelp_ray.domain.windows import Period
from gaelp_ray.store.tables.core import Xid8, at_column, id_column, metadata, one_of

accounts = Table(
    "accounts",
    metadata,
    id_column(),
    Column("scope", Text, nullable=False),
    #: The agent's id, the user's, team's or campaign's name; empty for the global account.
    Column("subject", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("money", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    at_column("closes_at", nullable=True),
    at_column("created_at"),
    CheckConstraint(one_of("scope", [str(s) for s in Scope]), name="scope"),
    CheckConstraint(one_of("money", [str(m) for m in Money]), name="money"),
    UniqueConstraint("scope", "subject", "currency", "money"),
)

#: A sum of a window is ``micros + parts * WINDOW_PART``, and has no parts while it fits without.
WINDOW_PART = 2**62

account_limits = Table(
    "account_limits",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True),
    Column("period", Text, primary_key=True),
    #: NULL: counted, not limited.
    Column("limit_micros", BigInteger),
    at_column("updated_at"),
    CheckConstraint(one_of("period", [str(p) for p in Period]), name="period"),
    CheckConstraint("limit_micros >= 0", name="limit"),
)

#: Who may charge a campaign's account, beside operators.
account_members = Table(
    "account_members",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True),
    Column("user_name", Text, primary_key=True),
    Column("added_by", Text, nullable=False),
    at_column("added_at"),
)

#: One row: the currency that compute is paid in, as of the last start.
compute_currency = Table(
    "compute_currency",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("currency", Text, nullable=False),
    CheckConstraint("id = 1", name="one"),
)

#: Running sums of ``ledger_entries``, kept so that a limit is tested without adding them up. Whoever changes
#: one holds its account's row.
account_windows = Table(
    "account_windows",
    metadata,
    Column("account_id", BigInteger, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("starts_at", DateTime(timezone=True), primary_key=True),
    at_column("ends_at"),
    Column("pending_micros", BigInteger, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    #: What a sum has beyond what its column holds, in parts of ``WINDOW_PART``. In columns of their own, so
    #: that processes of the version before go on with all sums that they can count.
    Column("pending_parts", BigInteger, nullable=False, server_default="0"),
    Column("posted_parts", BigInteger, nullable=False, server_default="0"),
    Column("told_percent", Integer, nullable=False, server_default="0"),
    #: The limit of which it was told; NULL: nothing was told, or before limits were noted.
    Column("told_limit_micros", BigInteger),
    at_column("breached_at", nullable=True),
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
    at_column("expires_at", nullable=True),
    Column("breached", Boolean, nullable=False),
    Column("note", Text),
    at_column("at"),
    CheckConstraint(one_of("operation", [str(o) for o in Operation]), name="operation"),
    CheckConstraint("(refusal IS NULL) <> (amount_micros IS NULL)", name="answered"),
    # What was corrected of a hold.
    Index("ix_ledger_operations_correct", "hold_key", postgresql_where=text("operation = 'correct'")),
    # The same, of corrections that were booked before they named their hold.
    Index(
        "ix_ledger_operations_report",
        text("split_part(key, ':', 2)"),
        postgresql_where=text("operation = 'correct' AND key LIKE 'report:%'"),
    ),
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
    at_column("created_at"),
    at_column("expires_at"),
    at_column("resolved_at", nullable=True),
    CheckConstraint(one_of("state", [str(s) for s in HoldState]), name="state"),
    CheckConstraint(one_of("at_expiry", [str(a) for a in AtExpiry]), name="at_expiry"),
    CheckConstraint("amount_micros > 0 AND margin_micros >= 0", name="amount"),
    CheckConstraint("(state = 'pending') = (resolved_at IS NULL)", name="resolved"),
    Index("ix_money_holds_due", "expires_at", postgresql_where=text("state = 'pending'")),
    Index("ix_money_holds_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
)

#: All that is known of balances is the sum of these. A trigger keeps rows as they are.
ledger_entries = Table(
    "ledger_entries",
    metadata,
    id_column(),
    Column("account_id", BigInteger, ForeignKey("accounts.id"), nullable=False),
    Column("operation", Text, nullable=False),
    #: Of its operation and its hold. They are written together and never deleted; to have PostgreSQL look
    #: each of them up again would cost as much as the rows themselves, so the reconciler does.
    Column("key", Text, nullable=False),
    Column("hold_key", Text),
    Column("pending_micros", BigInteger, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    #: Decides the windows it counts in: for all that happens to a hold, when the hold was made.
    at_column("counted_at"),
    at_column("at"),
    CheckConstraint(one_of("operation", [str(o) for o in Operation]), name="operation"),
    # A hold is resolved at most once, held by the database.
    Index(
        "uq_ledger_entries_resolution",
        "hold_key",
        "account_id",
        unique=True,
        postgresql_where=text("pending_micros < 0"),
    ),
    Index("ix_ledger_entries_account_id_at", "account_id", "at", "id"),
    # Entries of an account are numbered under its lock, so in the order of their commits.
    Index("ix_ledger_entries_account_id_id", "account_id", "id"),
    Index("ix_ledger_entries_account_id_counted_at", "account_id", "counted_at"),
)

budget_alerts = Table(
    "budget_alerts",
    metadata,
    id_column(),
    Column("account_id", BigInteger, nullable=False),
    Column("period", Text, nullable=False),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("limit_micros", BigInteger, nullable=False),
    Column("pending_micros", BigInteger, nullable=False),
    Column("posted_micros", BigInteger, nullable=False),
    at_column("at"),
    # Readers stop below pg_snapshot_xmin: ids of different accounts may commit out of order.
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    ForeignKeyConstraint(
        ["account_id", "period", "starts_at"],
        ["account_windows.account_id", "account_windows.period", "account_windows.starts_at"],
    ),
    # Each mark of a limit is told once in a window.
    UniqueConstraint(
        "account_id", "period", "starts_at", "percent", "limit_micros", name="uq_budget_alerts_mark"
    ),
    Index("ix_budget_alerts_xid_id", "xid", "id"),
)

#: Pending holds that could not be ended when their time was over; they are tried again later.
overdue_holds = Table(
    "overdue_holds",
    metadata,
    Column("hold_key", Text, primary_key=True),
    Column("tries", Integer, nullable=False),
    #: What went wrong the last time.
    Column("error", Text, nullable=False),
    at_column("at"),
    at_column("try_again_at"),
)
