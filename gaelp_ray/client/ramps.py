"""Ramps of spend, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from gaelp_ray.client.http import Http
from gaelp_ray.client.models import Page
from gaelp_ray.client.pages import read_page
from gaelp_ray.client.wire import read


@dataclass(frozen=True)
class Stage:
    #: Of the whole daily budget.
    percent: int
    holds_for_seconds: float


@dataclass(frozen=True)
class Ramp:
    """A promoted version on its way to its whole daily budget."""

    id: int
    agent_id: int
    version_id: int
    account_id: int
    #: ``canary``, ``ramping``, ``full`` or ``rolled_back``.
    state: str
    #: From 0.
    stage: int = 0
    stage_since: datetime | None = None
    stages: tuple[Stage, ...] = ()
    #: What may be spent in a day as it stands, and at the end.
    day_micros: int = 0
    full_day_micros: int = 0
    #: A daily limit that was set by hand meanwhile: no stage goes past it.
    cap_micros: int | None = None
    #: What watches over it, and what its median must be.
    metric: str = ""
    min_samples: int = 0
    min_value: float = 0.0
    #: Why it was rolled back.
    reason: str = ""
    previous_version_id: int | None = None
    started_by: str = ""
    started_at: datetime | None = None


class Ramps:
    """``client.ramps``. Operators start them and roll them back; the service moves them by itself.

    Every method may raise ``Unauthenticated``, ``Forbidden``, ``Unavailable`` and ``NotFound``.
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    def start(
        self,
        agent_id: int,
        version: str,
        *,
        full_day_micros: int,
        metric: str,
        min_value: float,
        min_samples: int = 1,
        account_id: int | None = None,
        stages: Sequence[Stage] | None = None,
    ) -> Ramp:
        """Make a promoted version current and give it the first share of its daily budget.

        By default of its main account, in four stages of a day each: 5, 25, 50 and 100 percent. Raises
        ``NotEligible`` for a version that was not promoted and ``Conflict`` for an agent that has a ramp.
        """
        body = {
            "agent_id": agent_id,
            "version": version,
            "account_id": account_id,
            "full_day_micros": full_day_micros,
            "metric": metric,
            "min_samples": min_samples,
            "min_value": min_value,
            "stages": None if stages is None else [asdict(stage) for stage in stages],
        }
        return read(Ramp, self._http.post("/ramps", body))

    def list(self, *, agent_id: int | None = None, limit: int = 100, cursor: str | None = None) -> Page[Ramp]:
        """Live ones; with ``agent_id`` a page of all of an agent, newest first."""
        return read_page(Ramp, self._http.get("/ramps", agent_id=agent_id, limit=limit, cursor=cursor))

    def get(self, ramp_id: int) -> Ramp:
        return read(Ramp, self._http.get(f"/ramps/{ramp_id}"))

    def roll_back(self, ramp_id: int, *, reason: str) -> Ramp:
        """Point the agent to its previous version and let it spend nothing more."""
        return read(Ramp, self._http.post(f"/ramps/{ramp_id}/rollback", {"reason": reason}))
