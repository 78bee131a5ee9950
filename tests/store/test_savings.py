"""What spot nodes saved: by the lives of attempts, the price table, and nobody else's business."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.requests import ACCELERATOR_LABEL, Spot
from gaelp_ray.services import savings as service
from tests.builders import ADMIN, ANN, BOB, T0, World, a_node, a_spot_node, at

#: One unit of currency for a core, and for a GPU five, or three of the old kind; spot is 60 % off.
PRICES = PriceTable(
    currency="EUR",
    cpu_hour_micros=1_000_000,
    gib_hour_micros=0,
    gpu_hour_micros={"*": 10_000_000, "A100": 5_000_000, "T4": 3_000_000},
    spot_discount_ppm=600_000,
)
HOUR = 3600


def savings(
    world: World, *, by: Principal = ADMIN, since: datetime = T0, until: datetime | None = None
) -> service.Savings:
    return world.store.read(
        service.savings, since=since, until=until or at(24 * HOUR), prices=PRICES, by=by, now=world.now
    )


def run(world: World, seconds: float, *, by: Principal = ANN, **fields: Any) -> int:
    """A job that ran so long; returns the id of its agent."""
    asked = {"spot": Spot.ONLY, "resources": {"cpu": "2"}} | fields
    job = world.submit(by=by, **asked)
    attempt = world.running(job)
    world.wait(seconds)
    world.finish(attempt, EndCause.SUCCESS)
    return job.agent_id


@pytest.fixture
def spot(world: World) -> World:
    """A world in which every node may be taken back."""
    world.nodes = (a_spot_node(cpu=64, memory_gib=256, gpu=8),)
    return world


def test_an_hour_on_a_spot_node_saves_the_discount(spot: World) -> None:
    agent = run(spot, HOUR)

    found = savings(spot)

    assert (found.currency, found.total.on_demand, found.total.paid) == ("EUR", 2_000_000, 800_000)
    assert found.total.saved == 1_200_000
    assert {name: cost.saved for name, cost in found.users.items()} == {"ann": 1_200_000}
    assert {name: cost.saved for name, cost in found.agents.items()} == {agent: 1_200_000}


def test_on_demand_nodes_save_nothing(world: World) -> None:
    world.nodes = (a_node(cpu=64, memory_gib=256),)
    run(world, HOUR, spot=Spot.AVOID)

    assert savings(world).total == service.Cost()


def test_every_worker_counts(spot: World) -> None:
    run(spot, HOUR, workers=3)

    assert savings(spot).total.on_demand == 6_000_000


def test_an_attempt_that_runs_counts_up_to_now(spot: World) -> None:
    spot.running(spot.submit(spot=Spot.ONLY, resources={"cpu": "2"}))
    spot.wait(HOUR / 2)

    assert savings(spot).total.on_demand == 1_000_000


def test_only_what_lies_in_the_span_counts(spot: World) -> None:
    run(spot, HOUR)

    assert savings(spot, since=at(HOUR / 2), until=at(3 * HOUR / 4)).total.on_demand == 500_000
    assert savings(spot, since=at(2 * HOUR)).total == service.Cost()


GPUS: dict[str, tuple[dict[str, str], int]] = {
    "any kind": ({}, 10_000_000),
    "a kind with a price": ({ACCELERATOR_LABEL: "A100"}, 5_000_000),
    "one of several, the cheapest": ({ACCELERATOR_LABEL: "in(A100, T4)"}, 3_000_000),
    "a kind without a price": ({ACCELERATOR_LABEL: "H100"}, 10_000_000),
}


@pytest.mark.parametrize("case", GPUS)
def test_a_gpu_is_priced_as(spot: World, case: str) -> None:
    selector, price = GPUS[case]
    kind = selector.get(ACCELERATOR_LABEL, "")
    labels = {ACCELERATOR_LABEL: "A100" if "A100" in kind else kind}
    node = spot.nodes[0]
    spot.nodes = (type(node)(node.id, node.total, {**node.labels, **labels}),)

    run(spot, HOUR, resources={"cpu": "1", "gpu": "1"}, label_selector=selector)

    assert savings(spot).total.on_demand == 1_000_000 + price


def test_users_count_for_themselves_and_their_team_and_see_their_own(spot: World) -> None:
    spot.quota("ann", team="ads")
    spot.quota("bob", team="ads")
    run(spot, HOUR, by=ANN)
    run(spot, HOUR, by=BOB, resources={"cpu": "1"})

    everybody, mine = savings(spot), savings(spot, by=BOB)

    assert {name: cost.on_demand for name, cost in everybody.teams.items()} == {"ads": 3_000_000}
    assert set(everybody.users) == {"ann", "bob"}
    assert set(mine.users) == {"bob"}
    assert mine.total.on_demand == 1_000_000


def test_a_span_that_ends_before_it_begins_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="since"):
        savings(world, since=at(10), until=at(5))
