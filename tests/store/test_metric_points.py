"""Points are stored once, and the newest is the progress of its job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gaelp_ray.domain.errors import InvalidInput, NotFound
from gaelp_ray.domain.jobs import Job, Progress
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.services import metrics as service
from tests.builders import ANN, BOB, World, a_point, at


@pytest.fixture
def job(world: World) -> Job:
    return world.submit()


def store(world: World, job: Job, *points: MetricPoint) -> None:
    own = [replace(p, agent_id=job.agent_id, job_id=job.id) for p in points]
    world.store.transact(service.store, own)


def page(world: World, agent_id: int, **wanted: Any) -> list[MetricPoint]:
    asked = {"job_id": None, "since": None, "before": None, "limit": 100} | wanted
    return [p for _, p in world.store.read(service.page, agent_id, by=ANN, **asked)]


def test_a_point_is_read_as_it_was_stored(world: World, job: Job) -> None:
    store(world, job, a_point(3, reward=0.5, loss=1e-300))
    [found] = page(world, job.agent_id)
    assert found == replace(a_point(3, reward=0.5, loss=1e-300), agent_id=job.agent_id, job_id=job.id)


def test_a_batch_sent_twice_is_stored_once(world: World, job: Job) -> None:
    for _ in range(2):
        store(world, job, a_point(1), a_point(2))
    store(world, job, a_point(2), a_point(3))
    assert [p.step for p in page(world, job.agent_id)] == [3, 2, 1]


def test_the_same_step_of_another_attempt_is_another_point(world: World, job: Job) -> None:
    store(world, job, a_point(1), replace(a_point(1), attempt=2))
    assert [p.attempt for p in page(world, job.agent_id)] == [2, 1]


def test_points_without_a_job_or_a_step_are_all_kept(world: World, job: Job) -> None:
    store(world, job, a_point(None), a_point(None))
    for _ in range(2):
        world.store.transact(
            service.record_external, job.agent_id, {"ctr": 0.1}, by=ANN, now=world.now, step=1
        )
    assert len(page(world, job.agent_id)) == 4


def test_the_newest_point_is_the_progress_of_its_job(world: World, job: Job) -> None:
    store(world, job, replace(a_point(1, reward=1.0), total_steps=9), a_point(2, reward=2.0))
    assert world.job(job).progress == Progress(2, None, {"reward": 2.0})
    store(world, job, replace(a_point(3, reward=3.0), total_steps=9))
    store(world, job, a_point(4, reward=4.0))
    assert world.job(job).progress == Progress(4, 9, {"reward": 4.0})


def test_an_older_step_never_overwrites_a_newer(world: World, job: Job) -> None:
    store(world, job, a_point(5, reward=5.0))
    store(world, job, a_point(4, reward=4.0))
    assert world.job(job).progress == Progress(5, None, {"reward": 5.0})


def test_an_empty_batch_is_no_batch(world: World, job: Job) -> None:
    world.store.transact(service.store, [])
    assert page(world, job.agent_id) == []


def test_a_page_shows_what_was_asked_for_newest_first(world: World, job: Job) -> None:
    store(world, job, *(a_point(n) for n in range(1, 6)))
    other = world.submit()
    store(world, other, a_point(9))
    assert [p.step for p in page(world, job.agent_id, limit=2)] == [5, 4]
    assert [p.step for p in page(world, job.agent_id, since=at(4))] == [5, 4]
    assert page(world, job.agent_id, job_id=other.id) == []
    listed = world.store.read(
        service.page, job.agent_id, by=ANN, job_id=None, since=None, before=None, limit=2
    )
    assert [p.step for p in page(world, job.agent_id, before=listed[-1][0])] == [3, 2, 1]


def test_an_outside_source_reports_about_an_agent(world: World) -> None:
    agent = world.agent()
    point = world.store.transact(
        service.record_external,
        agent.id,
        {"ctr": 0.03},
        by=ANN,
        now=at(9),
        source="ads-platform",
        at=at(1),
    )
    assert page(world, agent.id) == [point]
    assert (point.at, point.source, point.job_id) == (at(1), "ads-platform", None)


def test_an_outside_source_cannot_report_what_is_no_metric_or_about_a_strangers_agent(world: World) -> None:
    agent = world.agent()
    with pytest.raises(InvalidInput, match="must be a finite number"):
        world.store.transact(service.record_external, agent.id, {"ctr": float("nan")}, by=ANN, now=world.now)
    with pytest.raises(NotFound):
        world.store.transact(service.record_external, agent.id, {"ctr": 1.0}, by=BOB, now=world.now)
    with pytest.raises(NotFound):
        world.store.read(service.page, agent.id, by=BOB, job_id=None, since=None, before=None, limit=1)
    assert page(world, agent.id) == []
