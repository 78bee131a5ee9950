"""What the WebSocket of an agent says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gaelp_ray.client.models import Job
from gaelp_ray.client.problems import problem_error
from gaelp_ray.client.wire import named, read
from gaelp_ray.domain.errors import GaelpError


@dataclass(frozen=True)
class Hello:
    """The first message of every connection: how the agent's newest jobs stand now.

    Messages between two connections are lost; a second ``Hello`` tells what came of them.
    """

    agent_id: int
    jobs: tuple[Job, ...] = ()
    at: datetime | None = None


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
    to_state: str = named("to")
    from_state: str | None = named("from", default=None)
    #: The public word for ``to_state``.
    status: str = ""
    attempt: int | None = None
    message: str = ""
    at: datetime | None = None


LiveMessage = Hello | LiveMetrics | LiveState

_MODELS: Mapping[str, type[LiveMessage]] = {"hello": Hello, "metrics": LiveMetrics, "state": LiveState}


def parse(text: str | bytes) -> LiveMessage | None:
    """One message; None for a type that this client does not know.

    Raises the error that a message of the type ``error`` stands for, and ``GaelpError`` for a broken one.
    """
    try:
        data = json.loads(text)
        kind = data["type"]
    except (ValueError, TypeError, KeyError) as error:
        raise GaelpError(f"The service sent a message that cannot be read: {text[:200]!r}.") from error
    if kind == "error":
        raise problem_error(data)
    model = _MODELS.get(kind)
    return None if model is None else read(model, data)
