"""Names and meanings of every metric; how they are published is the actors' and the door's affair."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    name: str
    kind: Kind
    description: str
    labels: tuple[str, ...] = ()
    #: Upper bounds of a histogram, in the unit of the name.
    buckets: tuple[float, ...] = ()


_LATENCY_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

JOBS = Metric("gaelp_jobs", Kind.GAUGE, "Jobs by phase.", ("phase",))
AGENTS = Metric("gaelp_agents", Kind.GAUGE, "Agents by type.", ("type",))
ATTEMPTS_ENDED = Metric("gaelp_attempts_ended_total", Kind.COUNTER, "Attempts ended, by cause.", ("cause",))
JOBS_STARTED = Metric("gaelp_jobs_started_total", Kind.COUNTER, "Jobs the scheduler started.")
STARTS_DROPPED = Metric(
    "gaelp_starts_dropped_total", Kind.COUNTER, "Planned starts that no longer held at apply."
)
PREEMPTIONS = Metric(
    "gaelp_preemptions_total", Kind.COUNTER, "Jobs told to make room, by reason.", ("reason",)
)
QUEUE_DEPTH = Metric("gaelp_queue_depth", Kind.GAUGE, "Waiting jobs, by why they wait.", ("code",))
PLAN_SECONDS = Metric("gaelp_plan_seconds", Kind.HISTOGRAM, "Length of one decision.", buckets=_LATENCY_S)
MIRROR_LAG = Metric(
    "gaelp_mirror_lag_seconds", Kind.GAUGE, "Age of the scheduler's view of the queue when it decided."
)
AUTOSCALER_DEMAND = Metric(
    "gaelp_autoscaler_demand", Kind.GAUGE, "Workers that the autoscaler is asked to have nodes for."
)
DISCREPANCIES = Metric(
    "gaelp_discrepancies",
    Kind.GAUGE,
    "What attempts, jobs, reservations and tasks disagree on, found twice in a row.",
    ("kind",),
)
TICK_SECONDS = Metric("gaelp_tick_seconds", Kind.HISTOGRAM, "Length of a scheduler tick.", buckets=_LATENCY_S)
SCHEDULER_EPOCH = Metric("gaelp_scheduler_epoch", Kind.GAUGE, "Fencing epoch of the leading scheduler.")
POINTS_STORED = Metric("gaelp_metric_points_stored_total", Kind.COUNTER, "Metric points written.", ("shard",))
POINTS_WAITING = Metric(
    "gaelp_metric_points_waiting", Kind.GAUGE, "Metric points not written yet.", ("shard",)
)
CHECKPOINTS_COLLECTED = Metric(
    "gaelp_checkpoints_collected_total",
    Kind.COUNTER,
    "Checkpoint folders removed because nobody refers to them.",
)
LIVE_ATTEMPTS = Metric("gaelp_live_attempts", Kind.GAUGE, "Attempts a launcher owns.", ("launcher",))
GPU_IDLE_SECONDS = Metric(
    "gaelp_gpu_idle_seconds_total", Kind.COUNTER, "GPU seconds that jobs held and did not use."
)
SILENT_ATTEMPTS = Metric(
    "gaelp_silent_attempts", Kind.GAUGE, "Attempts without a sign of life for 30 s.", ("launcher",)
)
LEDGER_OPERATIONS = Metric(
    "gaelp_ledger_operations_total", Kind.COUNTER, "Operations the guards answered.", ("shard",)
)
LEDGER_COMMIT_SECONDS = Metric(
    "gaelp_ledger_commit_seconds", Kind.HISTOGRAM, "Length of a guard's transaction.", buckets=_LATENCY_S
)
HOLDS_EXPIRED = Metric("gaelp_holds_expired_total", Kind.COUNTER, "Holds that nobody resolved in time.")
LEDGER_DIFFERENCES = Metric(
    "gaelp_ledger_differences",
    Kind.GAUGE,
    "What the reconciler found that does not add up; 0 when all is right.",
)
BUDGETS = Metric(
    "gaelp_budgets",
    Kind.GAUGE,
    "Present windows with a limit: within 95 % of it, nearly spent, or passed.",
    ("state",),
)
BUDGET_LIMIT = Metric(
    "gaelp_budget_limit_micros", Kind.GAUGE, "Limit of a present window.", ("account", "scope", "period")
)
BUDGET_USED = Metric(
    "gaelp_budget_used_micros",
    Kind.GAUGE,
    "Pending or posted in a present window that has a limit.",
    ("account", "scope", "period", "state"),
)
VIOLATIONS = Metric(
    "gaelp_violations", Kind.GAUGE, "Rules of safety policies broken in the last hour.", ("severity",)
)
KILL_SWITCHES = Metric("gaelp_kill_switches_engaged", Kind.GAUGE, "Kill switches that are engaged.")
AUDIT_BREAKS = Metric(
    "gaelp_audit_breaks", Kind.GAUGE, "Records of the audit that were edited, removed or moved; 0 when none."
)
DUTY_FAILURES = Metric(
    "gaelp_duty_failures_total", Kind.COUNTER, "Items, or whole rounds, that a duty could not do.", ("duty",)
)
SET_ASIDE = Metric(
    "gaelp_set_aside", Kind.GAUGE, "Items that a duty could not do and has set aside; 0 when none.", ("duty",)
)
