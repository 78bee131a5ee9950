"""What spot nodes saved, as the service says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Cost:
    """Of the same work, in currency units."""

    on_demand: float = 0.0
    paid: float = 0.0
    saved: float = 0.0


@dataclass(frozen=True)
class Savings:
    """What jobs on spot nodes saved against on-demand ones."""

    since: datetime
    until: datetime
    currency: str = ""
    total: Cost = field(default_factory=Cost)
    users: Mapping[str, Cost] = field(default_factory=dict)
    teams: Mapping[str, Cost] = field(default_factory=dict)
    #: By id.
    agents: Mapping[str, Cost] = field(default_factory=dict)
