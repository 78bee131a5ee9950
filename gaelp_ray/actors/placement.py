"""How an attempt's workers get their places on Ray."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from gaelp_ray.domain.attempts import LaunchOrder
from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET, Selector, Spot
from gaelp_ray.domain.resources import Resources

NODE_LABEL = "ray.io/node-id"
#: A gang waits so long for the very nodes that the planner chose, and so long for any that suit.
PINNED_S = 5.0
ROOM_S = 60.0
_LOOK_S = 0.1


def task_options(order: LaunchOrder, rank: int, group: PlacementGroup | None) -> dict[str, Any]:
    """How Ray runs one worker: its resources and its place.

    No environment: packages and code are the training process's, and every worker may run any attempt.
    """
    request = order.resources
    options: dict[str, Any] = {
        "name": f"job-{order.job_id}-attempt-{order.number}" + (f"-rank-{rank}" if group else ""),
        "num_cpus": request.cpu_milli / 1000,
        "num_gpus": request.gpu_milli / 1000,
        "memory": request.memory_bytes,
        # The service retries, from the checkpoint and with an attempt of its own.
        "max_retries": 0,
    }
    if group is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=rank
        )
    else:
        options |= _place_of_one(order)
    return options


def _place_of_one(order: LaunchOrder) -> dict[str, Any]:
    """The planned node; where that has gone or drains, another that meets the request."""
    place: dict[str, Any] = {}
    if order.node_id is not None:
        place["scheduling_strategy"] = NodeAffinitySchedulingStrategy(order.node_id, soft=True)
    selector = ray_selector(order.selector, order.spot)
    return place | {"label_selector": selector} if selector else place


def ray_selector(selector: Selector, spot: Spot) -> dict[str, str]:
    """A request's conditions on nodes, as Ray takes them."""
    market = {Spot.AVOID: {MARKET_LABEL: f"!{SPOT_MARKET}"}, Spot.ONLY: {MARKET_LABEL: SPOT_MARKET}}
    return market.get(spot, {}) | dict(selector)


def bundle(resources: Resources) -> dict[str, float]:
    """An amount as Ray counts it."""
    amounts = {
        "CPU": resources.cpu_milli / 1000,
        "GPU": resources.gpu_milli / 1000,
        "memory": resources.memory_bytes,
    }
    return {name: amount for name, amount in amounts.items() if amount}


async def reserve(order: LaunchOrder, name: str) -> PlacementGroup | None:
    """Room for every worker of a gang together: where it was planned, else on any nodes that suit.

    None: there was none in time, and nothing is held. When the actor that asked for room dies, Ray gives the
    room back before it restarts the actor.
    """
    wanted = ray_selector(order.selector, order.spot)
    pinned = [wanted | {NODE_LABEL: seat.node_id} for seat in order.placement]
    tries: list[tuple[Sequence[Mapping[str, str]], float]] = [([wanted] * order.workers, ROOM_S)]
    if len(pinned) == order.workers:
        tries.insert(0, (pinned, PINNED_S))
    for selectors, wait_s in tries:
        group: PlacementGroup = placement_group(
            [bundle(order.resources)] * order.workers,
            strategy="PACK",
            name=name,
            bundle_label_selector=[dict(each) for each in selectors] if any(selectors) else None,
        )
        try:
            if await _is_ready(group, wait_s):
                return group
        except asyncio.CancelledError:
            remove_placement_group(group)
            raise
        remove_placement_group(group)
    return None


async def _is_ready(group: PlacementGroup, wait_s: float) -> bool:
    # A thread that waits for as long as that could keep the database calls of others from having one.
    end = time.monotonic() + wait_s
    while not await asyncio.to_thread(group.wait, 0):
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


def give_back(group: PlacementGroup) -> None:
    remove_placement_group(group)
