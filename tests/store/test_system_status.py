"""The system at a glance is counted from the truth."""

from __future__ import annotations

from gaelp_ray.domain.jobs import EndCause, JobState, JobStatus
from gaelp_ray.domain.resources import Resources
from gaelp_ray.services import status as service
from tests.builders import World, resources


def test_an_empty_system_counts_nothing_of_everything(world: World) -> None:
    found = world.store.read(service.status)
    assert found.jobs == dict.fromkeys(JobStatus, 0)
    assert found.phases == dict.fromkeys(JobState, 0)
    assert (found.agents_by_type, found.claimed, found.leader) == ({}, Resources(), None)


def test_jobs_are_counted_by_word_and_by_state(world: World) -> None:
    agent = world.agent(resources=resources(2, 4))
    world.finish(world.running(world.submit(agent)), EndCause.SUCCESS)
    world.running(world.submit(agent))
    world.finish(world.running(world.submit(agent)), EndCause.USER_ERROR)
    world.submit(agent)
    found = world.store.read(service.status)
    assert found.jobs == {"completed": 1, "running": 1, "queued": 2, "failed": 0, "cancelled": 0}
    assert {s: n for s, n in found.phases.items() if n} == {
        "succeeded": 1,
        "running": 1,
        "backoff": 1,
        "queued": 1,
    }
    assert found.agents_by_type == {"simulation": 1}
    assert found.claimed == resources(2, 4), "only the live attempt holds anything"
    assert found.leader is not None
