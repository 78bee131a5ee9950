"""What spot nodes saved against on-demand ones."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from gaelp_ray.domain import periods
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.prices import ANY_GPU, PriceTable
from gaelp_ray.domain.requests import ACCELERATOR_LABEL
from gaelp_ray.store import quotas as quota_store
from gaelp_ray.store import savings as savings_store
from gaelp_ray.store.savings import SpotRun


@dataclass
class Cost:
    """Of the same work, in micros."""

    on_demand: int = 0
    paid: int = 0

    @property
    def saved(self) -> int:
        return self.on_demand - self.paid

    def add(self, on_demand: int, paid: int) -> None:
        self.on_demand += on_demand
        self.paid += paid


@dataclass
class Savings:
    currency: str
    total: Cost = field(default_factory=Cost)
    users: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    teams: dict[str, Cost] = field(default_factory=lambda: defaultdict(Cost))
    agents: dict[int, Cost] = field(default_factory=lambda: defaultdict(Cost))


def savings(
    connection: Connection,
    *,
    since: datetime,
    until: datetime,
    prices: PriceTable,
    by: Principal,
    now: datetime,
) -> Savings:
    """What attempts on spot nodes cost between two times, and would have cost elsewhere.

    An admin sees everybody's. A user counts for the team of today.
    """
    periods.check(since, until)
    runs = savings_store.spot_runs(
        connection,
        owner=None if by.admin else by.user,
        accelerator_label=ACCELERATOR_LABEL,
        since=since,
        until=until,
        now=now,
    )
    book = quota_store.book(connection)
    found = Savings(prices.currency)
    for run in runs:
        gpu = _gpu(run, prices)
        on_demand = prices.cost(run.resources, run.lifetime, gpu_label=gpu)
        paid = prices.cost(run.resources, run.lifetime, gpu_label=gpu, spot=True)
        team = book.team_of(run.owner)
        groups = [found.total, found.users[run.owner], found.agents[run.agent_id]]
        for group in (*groups, *([found.teams[team]] if team else [])):
            group.add(on_demand, paid)
    return found


def _gpu(run: SpotRun, prices: PriceTable) -> str:
    """The cheapest kind of GPU that meets the job's condition, so that savings are never overstated."""
    if run.accelerator is None:
        return ANY_GPU
    kinds = prices.kinds(run.accelerator)
    return min(kinds, key=lambda kind: prices.gpu_hour_micros[kind], default=ANY_GPU)
