"""Where jobs can run: live nodes, and nodes that the autoscaler may still add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET, Request, Spot, meets
from gaelp_ray.domain.resources import Resources


@dataclass(frozen=True)
class Node:
    """A live node: what it has in all, whoever uses it now."""

    id: str
    total: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Takes no new work, e.g. while it drains.
    cordoned: bool = False
    #: What others than jobs of the queue use of it.
    outside: Resources = field(default_factory=Resources)

    @property
    def spot(self) -> bool:
        return self.labels.get(MARKET_LABEL) == SPOT_MARKET


@dataclass(frozen=True)
class NodeShape:
    """A kind of node that the autoscaler may add."""

    #: The worker group's name.
    name: str
    total: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    #: How many more its bounds allow.
    room: int = 0

    @property
    def spot(self) -> bool:
        return self.labels.get(MARKET_LABEL) == SPOT_MARKET


def suits(place: Node | NodeShape, request: Request, *, on_demand: bool = True) -> bool:
    """Whether an empty node of this kind could hold one worker. ``on_demand``: others than spot nodes too."""
    if place.spot and request.spot is Spot.AVOID:
        return False
    if not place.spot and (request.spot is Spot.ONLY or not on_demand):
        return False
    return request.resources.fits_on(place.total) and meets(place.labels, request.selector)
