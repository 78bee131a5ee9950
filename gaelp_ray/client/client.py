"""The way into the service from Python."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import datetime
from types import TracebackType
from typing import Self

import httpx

from gaelp_ray.client.address import service_token, service_url
from gaelp_ray.client.agents import Agents
from gaelp_ray.client.approvals import Approvals
from gaelp_ray.client.audit import Audit
from gaelp_ray.client.budgets import Budgets
from gaelp_ray.client.explanations import QueueReport
from gaelp_ray.client.holds import Holds
from gaelp_ray.client.http import Http
from gaelp_ray.client.jobs import Jobs
from gaelp_ray.client.live import listen
from gaelp_ray.client.messages import LiveMessage
from gaelp_ray.client.metrics import Metrics
from gaelp_ray.client.models import ServiceStatus
from gaelp_ray.client.platforms import Platforms
from gaelp_ray.client.policies import Policies
from gaelp_ray.client.promotions import Promotions
from gaelp_ray.client.quotas import Quotas
from gaelp_ray.client.ramps import Ramps
from gaelp_ray.client.roles import Roles
from gaelp_ray.client.savings import Savings
from gaelp_ray.client.switches import Switches
from gaelp_ray.client.violations import Violations
from gaelp_ray.client.wire import read
from gaelp_ray.domain.errors import Unavailable


class GaelpClient:
    """A connection to gaelp-ray.

        with GaelpClient() as gaelp:
            agent = gaelp.agents.create("bidder", budget_limit=100.0)
            job = gaelp.jobs.wait(gaelp.jobs.submit(agent.id).id)

    Errors are those of ``gaelp_ray.domain.errors``. One client may be shared by threads.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        timeout: float = 30.0,
        *,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Without ``url`` and ``token`` they are found as the ``gaelp`` command finds them.

        ``url`` is then ``GAELP_URL``, else the service of this machine at ``GAELP_HOST`` and ``GAELP_PORT``;
        ``token`` is ``GAELP_TOKEN``, else, for a service on this machine, the one that ``gaelp up`` wrote to
        ``GAELP_HOME``.

        ``timeout`` is for each request, in seconds; ``transport`` replaces the network in tests. Raises
        ``InvalidInput`` for an address or a token that cannot be one.
        """
        url = url or service_url()
        self._http = Http(url, token or service_token(url), timeout, transport)
        self.agents = Agents(self._http)
        self.jobs = Jobs(self._http)
        self.metrics = Metrics(self._http)
        self.quotas = Quotas(self._http)
        self.holds = Holds(self._http)
        self.budgets = Budgets(self._http)
        self.policies = Policies(self._http)
        self.violations = Violations(self._http)
        self.switches = Switches(self._http)
        self.approvals = Approvals(self._http)
        self.roles = Roles(self._http)
        self.promotions = Promotions(self._http)
        self.ramps = Ramps(self._http)
        self.platforms = Platforms(self._http)
        self.audit = Audit(self._http)

    @property
    def url(self) -> str:
        """Where the service is, without a slash at the end."""
        return self._http.url

    @property
    def token(self) -> str | None:
        """The bearer token of every request; keep it to yourself."""
        return self._http.token

    def status(self) -> ServiceStatus:
        """The whole service at a glance."""
        return read(ServiceStatus, self._http.get("/status"))

    def queue(self, *, limit: int = 50) -> QueueReport:
        """The queue as the last plan left it, with the first ``limit`` heads; for admins."""
        return read(QueueReport, self._http.get("/queue", limit=limit))

    def savings(self, *, since: datetime | None = None, until: datetime | None = None) -> Savings:
        """What your jobs on spot nodes saved, by default in the last 30 days; an admin sees all."""
        return read(Savings, self._http.get("/savings", since=since, until=until))

    def healthy(self) -> bool:
        """Whether the service answers at all."""
        return self._answers("/health")

    def ready(self) -> bool:
        """Whether the service can do its work now."""
        return self._answers("/ready")

    def watch(self, agent_id: int, *, patience: float = 60.0) -> Generator[LiveMessage, None, None]:
        """Live messages of an agent, without end; a connection that is cut is opened again.

        Each connection starts with a ``Hello``; after a second one, messages may have been missed. Raises
        ``Unavailable`` after ``patience`` seconds without a connection, and ``Unauthenticated``,
        ``Forbidden`` or ``NotFound`` when refused.
        """
        with closing(listen(self.url, self.token, agent_id, tick_s=1.0, patience_s=patience)) as messages:
            yield from filter(None, messages)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self, path: str) -> bool:
        try:
            self._http.request("GET", path)
        except Unavailable:
            return False
        return True
