"""/api/v1/status, /health, /ready and /metrics"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy import Connection, text

from gaelp_ray import __version__
from gaelp_ray.domain.budgets import Usage
from gaelp_ray.domain.errors import Unavailable
from gaelp_ray.domain.ledger import Account
from gaelp_ray.domain.resources import Resources
from gaelp_ray.observability.metrics import AGENTS, BUDGET_LIMIT, BUDGET_USED, BUDGETS, JOBS
from gaelp_ray.services import accounts, duties, roles, scheduling
from gaelp_ray.services import status as service
from gaelp_ray.services.status import Status
from gaelp_ray.store.leases import Lease
from serve_app.auth import Caller, principal
from serve_app.context import context
from serve_app.respond import json_response
from serve_app.route import Route
from serve_app.routers.api import api_router
from serve_app.schemas.status import (
    AgentsOut,
    ClusterOut,
    HealthOut,
    ReadyOut,
    SchedulerOut,
    SetAsideOut,
    StatusOut,
)

router = api_router("", tag="status")
root_router = APIRouter(tags=["status"], route_class=Route)
#: What duties could not do that is shown.
_FAILURES = 50


@router.get("/status", response_model=StatusOut)
async def get_status(caller: Caller) -> Response:
    """The system at a glance: cluster, jobs, agents, scheduler, and what was set aside."""
    found = await context().read(service.status)
    failures = await context().read(duties.page, limit=_FAILURES) if caller.admin else []
    nodes = await context().nodes()
    total = sum((node.total for node in nodes), Resources())
    body = StatusOut(
        version=__version__,
        cluster=ClusterOut(
            nodes=len(nodes),
            total=_placed(total),
            claimed=_placed(found.claimed),
            free=_placed(total - found.claimed),
        ),
        jobs=found.jobs,
        phases=found.phases,
        agents=AgentsOut(total=sum(found.agents_by_type.values()), by_type=found.agents_by_type),
        scheduler=_scheduler(found.leader),
        set_aside=found.set_aside,
        failures=[SetAsideOut.of(each) for each in failures],
    )
    return json_response(body)


@root_router.get("/health", response_model=HealthOut)
async def health() -> Response:
    """Whether this replica lives; asks nobody else."""
    return json_response(HealthOut(status="ok"))


@root_router.get("/ready", response_model=ReadyOut, responses={503: {"model": ReadyOut}})
async def ready() -> Response:
    """Whether the service can do its work: the database answers and a scheduler leads."""
    try:
        leader = await context().read(_ping)
    except Unavailable:
        return json_response(ReadyOut(status="not ready", database=False, scheduler=False), 503)
    leading = _scheduler(leader).leading
    body = ReadyOut(status="ready" if leading else "not ready", database=True, scheduler=leading)
    return json_response(body, 200 if leading else 503)


@root_router.get("/metrics", response_class=Response, include_in_schema=False)
async def prometheus(request: Request) -> Response:
    """What the database knows, for Prometheus; what processes know is at Ray's own exporter.

    Totals, and for a token of an admin, operator or auditor the figures of each account.
    """
    in_full = context().settings.metrics_open
    if "authorization" in request.headers:
        in_full = await context().read(roles.may_see_accounts, by=await principal(request)) or in_full
    found = await context().read(service.status)
    usages = await context().read(accounts.limited, now=datetime.now(UTC))
    registry = CollectorRegistry()
    registry.register(_Truths(found, usages, in_full=in_full))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Truths(Collector):
    def __init__(self, status: Status, usages: list[tuple[Account, Usage]], *, in_full: bool) -> None:
        self._status, self._usages, self._in_full = status, usages, in_full

    def collect(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily(JOBS.name, JOBS.description, labels=["phase"])
        for phase, count in self._status.phases.items():
            jobs.add_metric([phase], count)
        yield jobs
        agents = GaugeMetricFamily(AGENTS.name, AGENTS.description, labels=["type"])
        for kind, count in self._status.agents_by_type.items():
            agents.add_metric([kind], count)
        yield agents
        budgets = GaugeMetricFamily(BUDGETS.name, BUDGETS.description, labels=BUDGETS.labels)
        for state, count in _states(usage for _, usage in self._usages).items():
            budgets.add_metric([state], count)
        yield budgets
        if self._in_full:
            yield from self._accounts()

    def _accounts(self) -> Iterator[Metric]:
        """By number, not by name: whoever may scrape need not know whose they are."""
        limits = GaugeMetricFamily(BUDGET_LIMIT.name, BUDGET_LIMIT.description, labels=BUDGET_LIMIT.labels)
        used = GaugeMetricFamily(BUDGET_USED.name, BUDGET_USED.description, labels=BUDGET_USED.labels)
        for account, usage in self._usages:
            named = [str(account.id), str(account.scope), str(usage.period)]
            limits.add_metric(named, usage.limit_micros or 0)
            used.add_metric([*named, "pending"], usage.pending_micros)
            used.add_metric([*named, "posted"], usage.posted_micros)
        yield limits
        yield used


def _states(usages: Iterable[Usage]) -> Mapping[str, int]:
    """How many windows are within their limit, nearly spent (over 95 %), or passed."""
    found = dict.fromkeys(("within", "nearly", "passed"), 0)
    for usage in usages:
        used, limit = usage.pending_micros + usage.posted_micros, usage.limit_micros or 0
        found["passed" if used > limit else "nearly" if used * 100 > limit * 95 else "within"] += 1
    return found


def _ping(connection: Connection) -> Lease | None:
    connection.execute(text("SELECT 1"))
    return scheduling.leader(connection)


def _scheduler(lease: Lease | None) -> SchedulerOut:
    if lease is None:
        return SchedulerOut(leading=False, holder=None, epoch=None, expires_at=None)
    leading = lease.expires_at > datetime.now(UTC)
    return SchedulerOut(leading=leading, holder=lease.holder, epoch=lease.epoch, expires_at=lease.expires_at)


def _placed(amount: Resources) -> dict[str, str]:
    quantities = amount.to_quantities()
    del quantities["storage"]
    return quantities
