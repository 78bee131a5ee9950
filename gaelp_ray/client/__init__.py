"""The Python client of gaelp-ray; it speaks HTTP and needs nothing of the cluster."""

from gaelp_ray.client.client import DEFAULT_URL, GaelpClient
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
    Event,
    Job,
    Metric,
    Page,
    Progress,
    Seat,
    ServiceStatus,
    Waiting,
)
from gaelp_ray.client.quotas import Quota, Usage, UsageHistory, UsagePoint
from gaelp_ray.client.savings import Cost, Savings
from gaelp_ray.client.submission import JobFields
from gaelp_ray.client.wire import to_json

__all__ = [
    "DEFAULT_URL",
    "Agent",
    "AgentVersion",
    "Attempt",
    "CancelledMany",
    "Checkpoint",
    "Cost",
    "Eta",
    "Event",
    "Explanation",
    "GaelpClient",
    "Head",
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
    "Preemption",
    "Preemptions",
    "Progress",
    "QueueReport",
    "Quota",
    "Savings",
    "Seat",
    "ServiceStatus",
    "Usage",
    "UsageHistory",
    "UsagePoint",
    "Waiting",
    "to_json",
]
