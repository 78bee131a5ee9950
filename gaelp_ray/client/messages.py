"""What the WebSocket of an agent says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gaelp_ray.client.wire import named, read
from gaelp_ray.domain.errors import GaelpError


@dataclass(frozen=True)
class Hello:
    """The first message of every connection. After a second one, messages in between may be missing."""

    agent_id: int | None = None


@dataclass(frozen=True)
class LiveMetrics:
    """A job of the agent, or an outside source, reported values."""

    agent_id: int
    at: datetime
    job_id: int | None = None
    attempt: int | None = None
    step: int | None = None
    total_steps: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LiveState:
    """A job of the agent changed its state."""

    agent_id: int
    job_id: int
    event: str
    to_phase: str = named("to")
    from_phase: str | None = named("from", default=None)
    #: The public word for ``to_phase``.
    status: str = ""
    message: str = ""
    at: datetime | None = None


LiveMessage = Hello | LiveMetrics | LiveState

_MODELS: Mapping[str, type[LiveMessage]] = {"hello": Hello, "metrics": LiveMetrics, "state": LiveState}


def parse(text: str | bytes) -> LiveMessage | None:
    """One message; None for a type that this client does not know. Raises ``GaelpError`` for a broken one."""
    try:
        data = json.loads(text)
        model = _MODELS.get(data["type"])
    except (ValueError, TypeError, KeyError) as error:
        raise GaelpError(f"The service sent a message that cannot be read: {text[:200]!r}.") from error
    return None if model is None else read(model, data)
