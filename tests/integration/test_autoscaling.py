"""Ray's own autoscaler adds nodes for jobs that wait and takes them away after; GPUs are only numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.actors.shapes import GROUP_LABEL
from gaelp_ray.config import NodeGroup
from gaelp_ray.domain.jobs import JobState
from gaelp_ray.domain.requests import MARKET_LABEL, SPOT_MARKET
from tests.builders import GIB
from tests.conftest import Postgres
from tests.integration.conftest import quick
from tests.integration.local_nodes import autoscaling_head
from tests.integration.plane import Plane, plane_at
from tests.service import eventually

SPOT = {MARKET_LABEL: SPOT_MARKET}
#: As the manifest of the cluster has them, for the autoscaler and for the service.
MANIFEST = {
    "gpu": {"resources": {"CPU": 2, "GPU": 2, "memory": 2 * GIB}, "max_workers": 1},
    "spot": {"resources": {"CPU": 2, "GPU": 1, "memory": 2 * GIB}, "labels": SPOT, "max_workers": 1},
}
GROUPS = (
    NodeGroup(name="gpu", most=1, resources={"cpu": 2, "gpu": 2, "memory": "2Gi"}),
    NodeGroup(name="spot", most=1, resources={"cpu": 2, "gpu": 1, "memory": "2Gi"}, labels=SPOT),
)


@pytest.fixture(scope="module")
def plane(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("autoscaling")
    with (
        autoscaling_head(folder, MANIFEST) as address,
        postgres.database() as url,
        plane_at(address, quick(folder, url, node_groups=GROUPS), folder) as running,
    ):
        yield running


def groups() -> Counter[str]:
    return Counter(node.labels[GROUP_LABEL] for node in live_nodes())


def test_nodes_come_for_jobs_that_wait_within_their_bounds_and_go_when_the_jobs_are_done(
    plane: Plane,
) -> None:
    assert groups() == {}, "nothing runs, nothing is there"
    agent = plane.agent("gangs:hold", gpu_milli=1000)
    first = [plane.submit(agent) for _ in range(2)]
    for job in first:
        plane.wait(job, JobState.RUNNING)
    assert groups() == {"gpu": 1}, "both on one node; a spot node would not do"
    late, cheap = plane.submit(agent), plane.submit(agent, spot="only")
    plane.wait(cheap, JobState.RUNNING)
    assert groups() == {"gpu": 1, "spot": 1}
    waiting = eventually(lambda: plane.job(late) if plane.job(late).wait_code else None)
    assert waiting is not None
    assert waiting.wait_code == "WaitingForCapacity", "the group is as large as it may be"
    plane.cancel(first[0])
    plane.wait(late, JobState.RUNNING)
    assert groups() == {"gpu": 1, "spot": 1}
    for job in (first[1], late, cheap):
        plane.cancel(job)
        plane.wait(job)
    eventually(lambda: groups() == {}, what="the nodes go when nothing needs them")


def test_a_gang_has_all_its_nodes_come_before_it_starts(plane: Plane) -> None:
    job = plane.submit(plane.agent("gangs:hold", gpu_milli=1000), workers=3, spot="prefer")
    plane.wait(job, JobState.RUNNING)
    assert groups() == {"gpu": 1, "spot": 1}
    plane.cancel(job)
    plane.wait(job)


def test_no_node_comes_for_what_no_node_can_hold(plane: Plane) -> None:
    job = plane.submit(plane.agent("gangs:hold", gpu_milli=4000))
    waiting = eventually(lambda: plane.job(job) if plane.job(job).wait_code else None)
    assert waiting is not None
    assert waiting.wait_code == "NoMatchingShape"
    plane.cancel(job)
    eventually(lambda: groups() == {}, what="what other tests used has gone, and nothing came")
