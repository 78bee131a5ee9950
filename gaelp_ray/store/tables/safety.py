"""Tables of safety: the audit, policies, approvals, switches, promotions, ramps, platforms."""

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
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from gaelp_ray.domain.approvals import ApprovalState, Purpose
from gaelp_ray.domain.promotion import EvidenceSource
from gaelp_ray.domain.ramps import RampState
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach
from gaelp_ray.domain.safety.verdicts import Severity
from gaelp_ray.domain.switches import SwitchScope
from gaelp_ray.store.tables.core import Xid8, at_column, id_column, metadata, one_of

#: Who changed what: one chain, each row sealed with the hash of the one before. A trigger keeps rows as
#: they are.
audit_records = Table(
    "audit_records",
    metadata,
    #: Without a gap: the next number is drawn under the lock of ``audit_head``.
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    at_column("at"),
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
    at_column("granted_at"),
    CheckConstraint(one_of("role", [str(r) for r in Role]), name="role"),
)

#: A trigger keeps versions as they are.
policies = Table(
    "policies",
    metadata,
    id_column(),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", JSONB, nullable=False),
    Column("created_by", Text, nullable=False),
    at_column("created_at"),
    CheckConstraint("version > 0", name="version"),
    UniqueConstraint("name", "version"),
)

policy_attachments = Table(
    "policy_attachments",
    metadata,
    id_column(),
    Column("policy_id", BigInteger, ForeignKey("policies.id"), nullable=False),
    #: Of the policy, so that one of its versions is attached to a thing at a time.
    Column("name", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("attached_by", Text, nullable=False),
    at_column("attached_at"),
    Column("detached_by", Text),
    at_column("detached_at", nullable=True),
    CheckConstraint(one_of("scope", [str(a) for a in Attach]), name="scope"),
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
    id_column(),
    #: Made by the caller, and of the hold that pays for it; the same key gets the same verdict again.
    Column("key", Text, nullable=False, unique=True),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("action", JSONB, nullable=False),
    Column("measured", JSONB, nullable=False),
    #: Held on top of what the action costs, so it may be spent as well.
    Column("margin_micros", BigInteger, nullable=False, server_default="0"),
    #: What it was cut to; NULL when it was not to happen.
    Column("allowed", JSONB),
    Column("verdict", Text, nullable=False),
    at_column("at"),
    CheckConstraint(one_of("verdict", ["allow", *map(str, Severity)]), name="verdict"),
    Index("ix_reviewed_actions_agent_id_at", "agent_id", "at"),
)

violations = Table(
    "violations",
    metadata,
    id_column(),
    Column("agent_id", BigInteger, ForeignKey("agents.id"), nullable=False),
    Column("policy_id", BigInteger, ForeignKey("policies.id")),
    Column("severity", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("reviewed_id", BigInteger, ForeignKey("reviewed_actions.id"), nullable=False),
    at_column("at"),
    # Readers stop below pg_snapshot_xmin: ids of different agents may commit out of order.
    Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
    CheckConstraint(one_of("severity", [str(s) for s in Severity]), name="severity"),
    Index("ix_violations_agent_id_id", "agent_id", "id"),
    Index("ix_violations_xid_id", "xid", "id"),
    Index("ix_violations_at", "at"),
)

approvals = Table(
    "approvals",
    metadata,
    id_column(),
    Column("purpose", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("amount_micros", BigInteger),
    Column("currency", Text),
    #: Of a limit.
    Column("period", Text),
    #: Of a policy: what is done with which version where.
    Column("change", Text),
    Column("reason", Text, nullable=False),
    Column("needed", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    at_column("requested_at"),
    at_column("expires_at"),
    at_column("decided_at", nullable=True),
    #: What it was spent on; an approval is good for one thing.
    Column("used_for", Text),
    CheckConstraint(one_of("purpose", [str(p) for p in Purpose]), name="purpose"),
    CheckConstraint(one_of("state", [str(s) for s in ApprovalState]), name="state"),
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
    at_column("at"),
    #: Cast with an admin's token, and until when that token holds; NULL: no end is known.
    Column("by_admin", Boolean, nullable=False, server_default=text("false")),
    at_column("admin_until", nullable=True),
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
    at_column("changed_at"),
    CheckConstraint(one_of("scope", [str(s) for s in SwitchScope]), name="scope"),
    Index("ix_kill_switches_engaged", "scope", "subject", postgresql_where=text("engaged")),
)

promotion_evidence = Table(
    "promotion_evidence",
    metadata,
    id_column(),
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
    at_column("recorded_at"),
    Column("source", Text, nullable=False, server_default=EvidenceSource.EXTERNAL),
    #: Of evidence from runs: what was read from which jobs, and when the oldest of them ended.
    Column("metric", Text),
    Column("jobs", JSONB, nullable=False, server_default="[]"),
    Column("baseline_jobs", JSONB, nullable=False, server_default="[]"),
    at_column("measured_at", nullable=True),
    CheckConstraint(one_of("source", [str(s) for s in EvidenceSource]), name="source"),
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
    at_column("promoted_at"),
)

ramps = Table(
    "ramps",
    metadata,
    id_column(),
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
    at_column("stage_since"),
    #: The newest metric point when the stage began, so that older ones need not be looked at.
    Column("points_after", BigInteger, nullable=False),
    #: The daily limit that somebody set by hand meanwhile: the ramp stays below. NULL: nobody did.
    Column("cap_micros", BigInteger),
    #: The metric that watches over it, and what each stage must show of it.
    Column("metric", Text, nullable=False),
    Column("min_samples", Integer, nullable=False),
    Column("min_value", Float, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Column("started_by", Text, nullable=False),
    at_column("started_at"),
    at_column("ended_at", nullable=True),
    CheckConstraint(one_of("state", [str(s) for s in RampState]), name="state"),
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
    at_column("reported_at"),
    at_column("received_at"),
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
