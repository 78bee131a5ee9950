"""The Python client of gaelp-ray; it speaks HTTP and needs nothing of the cluster."""

from gaelp_ray.client.client import DEFAULT_URL, GaelpClient
from gaelp_ray.client.messages import Hello, LiveMessage, LiveMetrics, LiveState
from gaelp_ray.client.models import (
    Agent,
    AgentVersion,
    Attempt,
    Checkpoint,
    Event,
    Job,
    Metric,
    Page,
    Progress,
    ServiceStatus,
    Waiting,
)
from gaelp_ray.client.wire import to_json

__all__ = [
    "DEFAULT_URL",
    "Agent",
    "AgentVersion",
    "Attempt",
    "Checkpoint",
    "Event",
    "GaelpClient",
    "Hello",
    "Job",
    "LiveMessage",
    "LiveMetrics",
    "LiveState",
    "Metric",
    "Page",
    "Progress",
    "ServiceStatus",
    "Waiting",
    "to_json",
]
