"""Jobs are queued as they were asked for, once per key, and no more than may wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gaelp_ray.domain.errors import IdempotencyConflict, InvalidInput, NotFound, QueueFull
from gaelp_ray.domain.jobs import EndCause, Job, JobEvent, JobState, JobStatus
from gaelp_ray.services import agents as agent_service
from gaelp_ray.services import jobs as service
from gaelp_ray.store import jobs as job_store
from gaelp_ray.store.jobs import JobFilter
from tests.builders import ADMIN, ANN, BOB, LAUNCHER, World, at_once, resources
from tests.conftest import Sql


def events(world: World, job: Job) -> list[tuple[JobEvent, JobState | None, JobState, str]]:
    found = world.store.read(service.events, job.id, by=ADMIN, after=0, limit=100)
    return [(e.event, e.from_state, e.to_state, e.actor) for e in found]


def page(
    world: World, by: Any = ANN, *, before: int | None = None, limit: int = 10, **wanted: Any
) -> list[str]:
    found = world.store.read(service.page, JobFilter(**wanted), by=by, before=before, limit=limit)
    return [job.name for job in found]


def test_a_submission_leaves_open_what_the_version_and_the_service_say(world: World) -> None:
    world.defaults = replace(world.defaults, timeout_s=90.0, max_retries=2)
    agent = world.agent(entrypoint="train:main", resources=resources(2, 4))
    job = world.submit(agent, name="run 1")
    assert (job.state, job.status, job.priority) == (JobState.QUEUED, JobStatus.QUEUED, 5)
    assert (job.entrypoint, job.resources, job.version_id) == (
        "train:main",
        resources(2, 4),
        agent.current.id,
    )
    assert (job.timeout_s, job.max_retries, job.seed) == (90.0, 2, 0)
    assert (job.failures, job.losses, job.attempt_number, job.notices) == (0, 0, 0, ())
    assert (job.owner, job.submitted_at, job.finished_at) == ("ann", world.now, None)
    assert world.job(job) == job
    assert events(world, job) == [(JobEvent.SUBMIT, None, JobState.QUEUED, "ann")]


def test_a_submission_may_say_everything_itself(world: World) -> None:
    job = world.submit(
        world.agent(resources=resources(2, 4)),
        priority=10,
        hyperparameters={"rate": 0.1},
        training_config={"market": {"region": "eu"}},
        entrypoint="other:main",
        resources={"cpu": "500m"},
        environment_vars={"A": "b"},
        seed=2**63 - 1,
        timeout_s=1.5,
        max_retries=0,
    )
    assert (job.priority, job.entrypoint, job.resources) == (10, "other:main", resources(0.5, 4))
    assert (job.hyperparameters, job.training_config) == ({"rate": 0.1}, {"market": {"region": "eu"}})
    assert (job.environment_vars, job.seed) == ({"A": "b"}, 2**63 - 1)
    assert (job.timeout_s, job.max_retries) == (1.5, 0)


def test_an_image_that_cannot_be_used_is_said_plainly(world: World) -> None:
    agent = world.agent(docker_image="gaelp/optimizer:v2")
    assert "'gaelp/optimizer:v2' is not used" in world.submit(agent).notices[0]
    world.defaults = replace(world.defaults, runs_images=True)
    assert world.submit(agent).notices == ()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a bad name": ({"name": ""}, "`name`"),
    "a bad priority": ({"priority": 11}, "`priority`"),
    "a bad entry point": ({"entrypoint": "rm -rf /"}, "`entrypoint`"),
    "bad resources": ({"resources": {"cpu": "8GB!"}}, "`resource_requirements.cpu`"),
    "a reserved variable": ({"environment_vars": {"RAY_ADDRESS": "x"}}, "is reserved"),
    "a job to start from that is no number": (
        {"training_config": {"from_job": "7"}},
        "must be the id of a job",
    ),
    "a job to start from that is a boolean": (
        {"training_config": {"from_job": True}},
        "must be the id of a job",
    ),
    "a job to start from that is missing": ({"training_config": {"from_job": 999}}, "There is no job 999"),
    "a seed past counting": ({"seed": 2**63}, "A number is too large"),
    "a NUL deep inside": ({"hyperparameters": {"a": ["\x00"]}}, "Text may not hold NUL"),
    "a NUL in an entry point": ({"entrypoint": "python train.py \x00"}, "Text may not hold NUL"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_submission_is_refused_and_stores_nothing(world: World, sql: Sql, case: str) -> None:
    fields, words = REFUSED[case]
    with pytest.raises((InvalidInput, NotFound), match=words):
        world.submit(**fields)
    assert sql("SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM job_events)") == [(0, 0)]


def test_another_users_job_cannot_be_started_from(world: World) -> None:
    hers = world.submit()
    with pytest.raises(NotFound):
        world.submit(by=BOB, training_config={"from_job": hers.id})


def test_the_same_key_and_body_is_the_same_job(world: World, sql: Sql) -> None:
    agent = world.agent()
    first = world.submit(agent, key="k1", hyperparameters={"a": 1, "b": 2})
    world.cancel(first)
    again = world.submit(agent, key="k1", hyperparameters={"b": 2, "a": 1})
    assert (again.id, again.state) == (first.id, JobState.CANCELLED)
    assert sql("SELECT count(*) FROM jobs") == [(1,)]


@pytest.mark.parametrize(
    "fields", [{"name": "other"}, {"priority": 6}, {"hyperparameters": {"a": 1}}], ids=str
)
def test_the_same_key_with_another_body_is_a_conflict(world: World, sql: Sql, fields: dict[str, Any]) -> None:
    agent = world.agent()
    world.submit(agent, key="k1")
    with pytest.raises(IdempotencyConflict, match="'k1' came with another body before"):
        world.submit(agent, key="k1", **fields)
    assert sql("SELECT count(*) FROM jobs") == [(1,)]


def test_without_a_key_every_submission_is_a_job(world: World) -> None:
    agent = world.agent()
    assert world.submit(agent).id != world.submit(agent).id


def test_a_key_belongs_to_its_user(world: World) -> None:
    assert world.submit(key="k1").id != world.submit(by=BOB, key="k1").id


def test_a_submission_that_an_admin_repeats_is_the_same_job(world: World, sql: Sql) -> None:
    agent = world.agent(by=ANN)
    first = world.submit(agent, by=ADMIN, key="k1")
    assert first.owner == "ann"
    assert world.submit(agent, by=ADMIN, key="k1").id == first.id
    assert sql("SELECT count(*) FROM jobs") == [(1,)]


def test_a_repeated_submission_is_answered_even_when_its_agent_is_gone(world: World) -> None:
    agent = world.agent()
    first = world.submit(agent, key="k1")
    world.cancel(first)
    world.store.transact(agent_service.delete, agent.id, by=ANN, now=world.now)
    assert world.submit(agent, key="k1").id == first.id
    with pytest.raises(NotFound):
        world.submit(agent, key="k2")


def test_duplicates_at_the_same_moment_are_one_job(world: World, sql: Sql) -> None:
    agent = world.agent()
    results = at_once(8, lambda _: world.submit(agent, key="k1"))
    assert [r for r in results if not isinstance(r, Job)] == []
    assert len({job.id for job in results if isinstance(job, Job)}) == 1
    assert sql("SELECT count(*) FROM jobs") == [(1,)]
    assert sql("SELECT count(*) FROM job_events") == [(1,)]


def test_of_bodies_with_one_key_at_the_same_moment_one_wins(world: World, sql: Sql) -> None:
    agent = world.agent()
    results = at_once(8, lambda number: world.submit(agent, key="k1", seed=number))
    assert sorted(type(r).__name__ for r in results) == ["IdempotencyConflict"] * 7 + ["Job"]
    assert sql("SELECT count(*) FROM jobs") == [(1,)]


def test_past_the_limit_of_the_queue_nothing_is_stored(world: World, sql: Sql) -> None:
    agent = world.agent()
    world.defaults = replace(world.defaults, queue_limit=2)
    jobs = [world.submit(agent, key=f"k{n}") for n in range(2)]
    with pytest.raises(QueueFull, match="2 jobs of everybody wait already") as full:
        world.submit(agent)
    assert full.value.details == {"limit": 2, "waiting": 2, "scope": "everybody", "retry_after_s": 5}
    assert sql("SELECT count(*) FROM jobs") == [(2,)]
    assert world.submit(agent, key="k1").id == jobs[1].id, "a repeated submission takes no room"
    world.cancel(jobs[0])
    assert world.submit(agent).state is JobState.QUEUED


def test_a_running_job_takes_no_room_in_the_queue(world: World) -> None:
    world.defaults = replace(world.defaults, queue_limit=1)
    agent = world.agent()
    world.running(world.submit(agent))
    assert world.submit(agent).state is JobState.QUEUED


def test_a_page_shows_what_was_asked_for_newest_first(world: World) -> None:
    agent, other = world.agent(), world.agent()
    world.submit(agent, name="waits")
    world.cancel(world.submit(agent, name="cancelled"))
    world.running(world.submit(other, name="runs", priority=9))
    world.cancel(world.submit(other, name="bobs", by=ADMIN))
    assert page(world, status=JobStatus.CANCELLED) == ["bobs", "cancelled"]
    assert page(world, phase=JobState.RUNNING) == ["runs"]
    assert page(world, agent_id=agent.id) == ["cancelled", "waits"]
    assert page(world, priority=9) == ["runs"]
    assert page(world, BOB) == []
    assert page(world, BOB, owner="ann") == []
    assert page(world, ADMIN, owner="ann", limit=1) == ["bobs"]
    assert page(world, before=3) == ["cancelled", "waits"]


def test_a_strangers_job_is_not_found(world: World) -> None:
    job = world.submit()
    for use in (service.attempts, service.checkpoints, service.get):
        with pytest.raises(NotFound, match=f"There is no job {job.id}, or you may not see it"):
            world.store.read(use, job.id, by=BOB)
    with pytest.raises(NotFound):
        world.store.read(service.events, job.id, by=BOB, after=0, limit=1)
    with pytest.raises(NotFound):
        world.cancel(job, by=BOB)
    assert world.job(job).state is JobState.QUEUED


def test_a_waiting_job_is_cancelled_at_once(world: World) -> None:
    job = world.submit()
    cancelled = world.cancel(job)
    assert (cancelled.job.state, cancelled.launcher) == (JobState.CANCELLED, None)
    assert (cancelled.job.cause, cancelled.job.message) == (EndCause.CANCELLED, "Cancelled by ann.")
    assert cancelled.job.finished_at == world.now
    assert events(world, job)[-1] == (JobEvent.CANCEL, JobState.QUEUED, JobState.CANCELLED, "ann")


def test_a_job_that_backs_off_is_cancelled_at_once_and_stays_so(world: World) -> None:
    attempt = world.running()
    assert world.finish(attempt, EndCause.USER_ERROR) is JobState.BACKOFF
    assert world.cancel(attempt.job_id).job.state is JobState.CANCELLED
    assert world.job(attempt.job_id).not_before is None
    world.wait(100_000)
    world.tick()
    assert world.job(attempt.job_id).state is JobState.CANCELLED


@pytest.mark.parametrize("phase", [JobState.ADMITTED, JobState.STARTING, JobState.RUNNING])
def test_a_live_job_is_told_to_stop_once_through_its_launcher(
    world: World, sql: Sql, phase: JobState
) -> None:
    world.register()
    job = world.submit()
    world.tick()
    if phase is not JobState.ADMITTED:
        world.carry_out()
    if phase is JobState.RUNNING:
        assert world.claim(world.attempts(job)[0])
    assert world.job(job).state is phase
    assert world.cancel(job).launcher == LAUNCHER
    assert world.cancel(job).launcher is None, "it is told once"
    assert world.job(job).state is JobState.STOPPING
    assert sql("SELECT stop_cause FROM attempts") == [("cancelled",)]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'stop'") == [(1,)]


def test_cancelling_what_has_ended_changes_nothing(world: World) -> None:
    attempt = world.running()
    world.finish(attempt, EndCause.SUCCESS, result={"a": 1})
    before = world.job(attempt.job_id)
    assert world.cancel(attempt.job_id).job == before


def test_of_cancels_at_the_same_moment_one_tells_the_launcher(world: World, sql: Sql) -> None:
    attempt = world.running()
    results = at_once(8, lambda _: world.cancel(attempt.job_id).launcher)
    assert sorted(map(str, results)) == ["None"] * 7 + [LAUNCHER]
    assert sql("SELECT count(*) FROM outbox WHERE kind = 'stop'") == [(1,)]


def test_many_jobs_are_read_at_once(world: World) -> None:
    agent = world.agent()
    jobs = {job.id: job for job in (world.submit(agent), world.submit(agent))}
    assert world.store.read(job_store.get_many, [*jobs, 999_999]) == jobs
