"""How Ray is told to run a worker."""

from __future__ import annotations

import pytest
from ray.exceptions import OutOfMemoryError, TaskCancelledError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gaelp_ray.actors.placement import bundle, ray_selector, task_options
from gaelp_ray.actors.verdicts import outcome_of_failure
from gaelp_ray.domain.jobs import EndCause
from gaelp_ray.domain.requests import MARKET_LABEL, Spot
from tests.builders import GIB, an_order, resources

NODE = "ab" * 28


def test_one_worker_goes_to_its_node_or_to_another_that_meets_the_request() -> None:
    order = an_order(
        "m:f", number=2, node_id=NODE, resources=resources(1.5, 2, 0.5), selector=(("zone", "a"),)
    )
    options = task_options(order, 0, None)
    where = options.pop("scheduling_strategy")
    assert isinstance(where, NodeAffinitySchedulingStrategy)
    assert (where.node_id, where.soft) == (NODE, True)
    assert options == {
        "name": "job-7-attempt-2",
        "num_cpus": 1.5,
        "num_gpus": 0.5,
        "memory": 2 * GIB,
        "max_retries": 0,
        "label_selector": {MARKET_LABEL: "!spot", "zone": "a"},
    }


def test_a_worker_is_the_services_own_whatever_its_job_asks_for() -> None:
    asking = an_order("m:f", node_id=None, requirements=("torch",), working_dir="s3://bucket/code.zip")
    assert task_options(asking, 0, None) == task_options(an_order("m:f", node_id=None), 0, None)
    assert "runtime_env" not in task_options(asking, 0, None)


@pytest.mark.parametrize(
    ("spot", "selector"),
    [(Spot.AVOID, {MARKET_LABEL: "!spot"}), (Spot.PREFER, {}), (Spot.ONLY, {MARKET_LABEL: "spot"})],
)
def test_a_market_is_a_label(spot: Spot, selector: dict[str, str]) -> None:
    assert ray_selector((), spot) == selector


def test_the_users_own_word_on_the_market_stands() -> None:
    assert ray_selector(((MARKET_LABEL, "in(spot, reserved)"),), Spot.AVOID) == {
        MARKET_LABEL: "in(spot, reserved)"
    }


def test_a_bundle_names_only_what_it_holds() -> None:
    assert bundle(resources(2, 1)) == {"CPU": 2.0, "memory": GIB}


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OutOfMemoryError("x"), EndCause.OOM),
        (TaskCancelledError(), EndCause.CANCELLED),
        (WorkerCrashedError(), EndCause.NODE_LOST),
        (RuntimeError("x"), EndCause.NODE_LOST),
    ],
)
def test_every_verdict_of_ray_is_a_cause(error: Exception, cause: EndCause) -> None:
    assert outcome_of_failure(error).cause is cause
