"""The Python client of gaelp-ray; it speaks HTTP and needs nothing of the cluster."""

from gaelp_ray.client.address import DEFAULT_URL
from gaelp_ray.client.approvals import Approval, Vote
from gaelp_ray.client.audit import AuditBreak, AuditRecord, Proof
from gaelp_ray.client.budgets import (
    Budget,
    BudgetAlert,
    BudgetBalance,
    BudgetUsage,
    HeldMoney,
    Projection,
    Receipt,
    Renewal,
    ReviewedAction,
    StatementLine,
    VerdictReason,
)
from gaelp_ray.client.client import GaelpClient
from gaelp_ray.client.explanations import (
    Eta,
    Explanation,
    Head,
    Place,
    Preemption,
    Preemptions,
    QueueReport,
)
from gaelp_ray.client.holds import Hold
from gaelp_ray.client.messages import Hello, LiveMessage, LiveMetrics, LiveState
from gaelp_ray.client.models import (
    Agent,
    AgentVersion,
    Attempt,
    CancelledMany,
    Checkpoint,
    ComputeCost,
    Event,
    Job,
    Metric,
    Page,
    Progress,
    Seat,
    ServiceStatus,
    Waiting,
)
from gaelp_ray.client.platforms import Booked, Difference, Received
from gaelp_ray.client.policies import DryRun, Policy, Replayed
from gaelp_ray.client.policies import Place as PolicyPlace
from gaelp_ray.client.promotions import Evidence, Promotion
from gaelp_ray.client.quotas import Quota, Usage, UsageHistory, UsagePoint
from gaelp_ray.client.ramps import Ramp, Stage
from gaelp_ray.client.roles import Grant
from gaelp_ray.client.savings import Cost, Savings
from gaelp_ray.client.submission import JobFields
from gaelp_ray.client.switches import Switch
from gaelp_ray.client.violations import Violation, ViolationCount
from gaelp_ray.client.wire import to_json

__all__ = [
    "DEFAULT_URL",
    "Agent",
    "AgentVersion",
    "Approval",
    "Attempt",
    "AuditBreak",
    "AuditRecord",
    "Booked",
    "Budget",
    "BudgetAlert",
    "BudgetBalance",
    "BudgetUsage",
    "CancelledMany",
    "Checkpoint",
    "ComputeCost",
    "Cost",
    "Difference",
    "DryRun",
    "Eta",
    "Event",
    "Evidence",
    "Explanation",
    "GaelpClient",
    "Grant",
    "Head",
    "HeldMoney",
    "Hello",
    "Hold",
    "Job",
    "JobFields",
    "LiveMessage",
    "LiveMetrics",
    "LiveState",
    "Metric",
    "Page",
    "Place",
    "Policy",
    "PolicyPlace",
    "Preemption",
    "Preemptions",
    "Progress",
    "Projection",
    "Promotion",
    "Proof",
    "QueueReport",
    "Quota",
    "Ramp",
    "Receipt",
    "Received",
    "Renewal",
    "Replayed",
    "ReviewedAction",
    "Savings",
    "Seat",
    "ServiceStatus",
    "Stage",
    "StatementLine",
    "Switch",
    "Usage",
    "UsageHistory",
    "UsagePoint",
    "VerdictReason",
    "Violation",
    "ViolationCount",
    "Vote",
    "Waiting",
    "to_json",
]
