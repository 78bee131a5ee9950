"""Metrics of agents, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from gaelp_ray.client.http import Http
from gaelp_ray.client.models import Metric, Page
from gaelp_ray.client.pages import WHOLE_PAGE, each, read_page
from gaelp_ray.client.wire import read


class Metrics:
    """``client.metrics``. Every method may raise ``Unauthenticated``, ``Unavailable`` and ``NotFound``."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def list(
        self,
        agent_id: int,
        *,
        job_id: int | None = None,
        since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Metric]:
        """One page of an agent's metrics, newest first."""
        params = {"job_id": job_id, "since": since, "limit": limit, "cursor": cursor}
        return read_page(Metric, self._http.get(f"/agents/{agent_id}/metrics", **params))

    def iterate(
        self, agent_id: int, *, job_id: int | None = None, since: datetime | None = None
    ) -> Iterator[Metric]:
        """All metrics of an agent, newest first, page by page."""
        return each(
            lambda cursor: self.list(agent_id, job_id=job_id, since=since, limit=WHOLE_PAGE, cursor=cursor)
        )

    def record(
        self,
        agent_id: int,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        source: str = "external",
        at: datetime | None = None,
    ) -> Metric:
        """Add values from outside, by default as of now; raises ``InvalidInput`` for NaN and bad names."""
        body = {"metrics": dict(metrics), "step": step, "source": source, "at": at}
        return read(Metric, self._http.post(f"/agents/{agent_id}/metrics", body))
