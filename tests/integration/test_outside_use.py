"""What others use of a real Ray cluster is seen, named, and waited for."""

from __future__ import annotations

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gaelp_ray.actors.cluster import live_nodes, used_resources, waiting_for_room
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.jobs import JobState, NewJob
from gaelp_ray.domain.requests import Spot
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import WaitCode
from gaelp_ray.services import submissions
from tests.builders import ANN
from tests.integration.plane import Plane
from tests.service import eventually


def test_a_job_waits_for_what_others_use_and_runs_when_they_leave(plane: Plane) -> None:
    (node,) = [node for node in live_nodes() if not node.spot]
    cpus = node.total.cpu_milli // 1000

    @ray.remote(num_cpus=cpus)
    class Squatter:
        def sits(self) -> bool:
            return True

    here = NodeAffinitySchedulingStrategy(node.id, soft=False)
    squatter = Squatter.options(scheduling_strategy=here).remote()
    assert ray.get(squatter.sits.remote(), timeout=120)
    eventually(lambda: used_resources()[node.id].cpu_milli == node.total.cpu_milli, what="Ray counts it")

    agent = plane.agent("trainers:nothing", cpu_milli=node.total.cpu_milli)

    def dry_run() -> WaitCode | None:
        new = NewJob(agent.id, "dry", spot=Spot.AVOID)
        drafted = plane.store.read(submissions.draft, new, by=ANN, now=utc_now(), defaults=plane.defaults)
        code: WaitCode | None = ray.get(plane.actors.scheduler.dry_run.remote(drafted.job)).code
        return code

    # It is believed once it has lasted.
    eventually(lambda: dry_run() is WaitCode.WAITING_FOR_CAPACITY, what="the dry run says that it waits")
    job = plane.submit(agent)
    told = eventually(
        lambda: (now := plane.job(job)).wait_code == WaitCode.WAITING_FOR_CAPACITY and now,
        what=f"it waits: {plane.job(job)}",
    )
    assert "used outside the queue" in (told.wait_message or "")
    assert plane.attempts(job) == []
    ray.kill(squatter)
    assert plane.wait(job).state is JobState.SUCCEEDED
    assert len(plane.attempts(job)) == 1


def test_what_ray_finds_no_room_for_is_known(plane: Plane) -> None:
    @ray.remote(num_cpus=777, max_retries=0)
    def never() -> None:
        pass

    asked = never.remote()
    eventually(lambda: Resources(cpu_milli=777_000) in waiting_for_room(), what="Ray says that it waits")
    ray.cancel(asked, force=True)
