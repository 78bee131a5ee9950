"""What Ray's autoscaler is asked to have ready.

``request_resources`` sets a floor under the whole cluster, and it is all or nothing: one bundle that fits
nowhere, and the autoscaler heeds none of them. So live nodes are asked for as they are held, each by its own
name, and new ones only as far as their groups' bounds allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from ray.autoscaler.sdk import request_resources

from gaelp_ray.actors.placement import NODE_LABEL, bundle, ray_selector
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import Demand, Plan, Snapshot

Bundle = dict[str, float]
Selector = dict[str, str]


@dataclass(frozen=True)
class Floor:
    """Bundles that the cluster should have room for at once, each with the labels of its node."""

    bundles: tuple[Bundle, ...] = ()
    selectors: tuple[Selector, ...] = ()


NO_FLOOR = Floor()


def floor(snapshot: Snapshot, plan: Plan) -> Floor:
    """What is held now, and what those need who wait for nodes; nothing when nobody does."""
    if not plan.demands:
        return NO_FLOOR
    asked = [*_held(snapshot, plan), *_demanded(plan.demands)]
    return Floor(tuple(each for each, _ in asked), tuple(selector for _, selector in asked))


def _held(snapshot: Snapshot, plan: Plan) -> Iterable[tuple[Bundle, Selector]]:
    """One bundle for each node in use. One that is about to go holds nothing that new nodes must not hold."""
    held: dict[str, Resources] = defaultdict(Resources)
    for node in snapshot.nodes:
        if node.outside != Resources():
            held[node.id] += node.outside
    for claim in snapshot.claims:
        for part in claim.parts:
            if part.node_id is not None:
                held[part.node_id] += part.resources
    placements = [each.placement for each in plan.starts] + [each.placement for each in plan.reserves]
    for placed in chain.from_iterable(placements):
        held[placed.node_id] += placed.resources
    for node in snapshot.nodes:
        if node.id in held and not node.cordoned:
            # Room kept for a preemptor is counted twice while its victims stop.
            yield bundle(_at_most(held[node.id], node.total)), {NODE_LABEL: node.id}


def _demanded(demands: Sequence[Demand]) -> Iterable[tuple[Bundle, Selector]]:
    for demand in demands:
        request = demand.request
        selector = ray_selector(request.selector, request.spot)
        for _ in range(demand.count):
            yield bundle(request.resources), dict(selector)


def _at_most(amount: Resources, most: Resources) -> Resources:
    return Resources(
        min(amount.cpu_milli, most.cpu_milli),
        min(amount.memory_bytes, most.memory_bytes),
        min(amount.gpu_milli, most.gpu_milli),
    )


def _request(asked: Floor) -> None:
    request_resources(bundles=list(asked.bundles), bundle_label_selectors=list(asked.selectors))


class Autoscaler:
    """Asks when something changed. A new one withdraws first whatever was asked before its time."""

    def __init__(self, request: Callable[[Floor], None] = _request) -> None:
        self._request = request
        self._asked: Floor | None = None

    def ask(self, wanted: Floor) -> None:
        if wanted != self._asked:
            self._request(wanted)
            self._asked = wanted
