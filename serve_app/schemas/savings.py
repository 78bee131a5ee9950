"""Savings on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from gaelp_ray.domain.money import units_from_micros
from gaelp_ray.services.savings import Cost, Savings
from serve_app.schemas.common import Out


class CostOut(Out):
    """In currency units."""

    on_demand: float = Field(description="What the work would have cost on on-demand nodes.")
    paid: float = Field(description="What it cost on spot nodes.")
    saved: float

    @staticmethod
    def of(cost: Cost) -> CostOut:
        return CostOut.model_construct(
            on_demand=units_from_micros(cost.on_demand),
            paid=units_from_micros(cost.paid),
            saved=units_from_micros(cost.saved),
        )


class SavingsOut(Out):
    since: datetime
    until: datetime
    currency: str
    total: CostOut
    users: dict[str, CostOut]
    teams: dict[str, CostOut]
    agents: dict[str, CostOut] = Field(description="By id.")

    @staticmethod
    def of(found: Savings, since: datetime, until: datetime) -> SavingsOut:
        return SavingsOut.model_construct(
            since=since,
            until=until,
            currency=found.currency,
            total=CostOut.of(found.total),
            users=_costs(found.users),
            teams=_costs(found.teams),
            agents=_costs(found.agents),
        )


def _costs(costs: Mapping[str, Cost] | Mapping[int, Cost]) -> dict[str, CostOut]:
    return {str(name): CostOut.of(cost) for name, cost in costs.items()}
