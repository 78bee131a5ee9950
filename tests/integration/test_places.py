"""Where attempts run, and how they make room, on a real Ray cluster."""

from __future__ import annotations

import time
from pathlib import Path

import ray
from ray._raylet import GcsClient
from ray.core.generated import autoscaler_pb2

from gaelp_ray.actors.cluster import live_nodes
from gaelp_ray.actors.loops import utc_now
from gaelp_ray.domain.jobs import EndCause, JobEvent, JobState, NewJob
from gaelp_ray.domain.quotas import Amounts
from gaelp_ray.domain.requests import Request, Spot
from gaelp_ray.domain.resources import Resources
from gaelp_ray.domain.scheduling import WaitCode
from gaelp_ray.services import jobs as job_service
from gaelp_ray.services import submissions
from tests.builders import ANN, GIB
from tests.integration.plane import Plane
from tests.service import eventually


def node_of(plane: Plane, *, spot: bool) -> str:
    (found,) = [node.id for node in live_nodes() if node.spot is spot]
    return found


def test_a_job_avoids_spot_nodes_unless_it_says_otherwise(plane: Plane) -> None:
    agent = plane.agent("gangs:hold")
    held = {spot: plane.submit(agent, spot=spot) for spot in ("avoid", "prefer", "only")}
    for job in held.values():
        plane.wait(job, JobState.RUNNING)
    nodes = {spot: plane.attempts(job)[0].node_id for spot, job in held.items()}
    assert nodes == {
        "avoid": node_of(plane, spot=False),
        "prefer": node_of(plane, spot=True),
        "only": node_of(plane, spot=True),
    }
    assert plane.attempts(held["only"])[0].spot
    for job in held.values():
        plane.cancel(job)
        plane.wait(job)


def test_a_label_decides_where_a_job_runs(plane: Plane) -> None:
    agent = plane.agent("trainers:nothing")
    here = plane.wait(plane.submit(agent, label_selector={"zone": "a"}, spot="prefer"))
    there = plane.wait(plane.submit(agent, label_selector={"zone": "!a"}, spot="prefer"))
    assert plane.attempts(here)[0].node_id == node_of(plane, spot=False)
    assert plane.attempts(there)[0].node_id == node_of(plane, spot=True)


def test_shares_of_a_gpu_are_packed_and_known_by_number(plane: Plane, tmp_path: Path) -> None:
    until = {"until": str(tmp_path / "go")}
    agent = plane.agent("gangs:hold", gpu_milli=500)
    jobs = [plane.submit(agent, hyperparameters=until) for _ in range(3)]
    for job in jobs:
        plane.wait(job, JobState.RUNNING)
    seats = [plane.attempts(job)[0].placement[0] for job in jobs]
    (tmp_path / "go").touch()
    ended = [plane.wait(job) for job in jobs]
    assert {seat.node_id for seat in seats} == {node_of(plane, spot=False)}
    numbers = sorted(number for seat in seats for number in seat.gpus)
    assert numbers in ([0, 0, 1], [0, 1, 1]), "two share one GPU, the third has another"
    for seat, job in zip(seats, ended, strict=True):
        assert job.result is not None
        assert job.result["gpus"] == ",".join(map(str, seat.gpus)), "what the process saw is what was claimed"


def test_a_preempted_job_saves_makes_room_and_goes_on_later(plane: Plane, tmp_path: Path) -> None:
    low = plane.submit(plane.agent("gangs:hold", gpu_milli=2000), priority=2, preemptible=True, spot="avoid")
    plane.wait_step(low, 1)
    quick = {"until": str(tmp_path)}
    high = plane.submit(plane.agent("gangs:hold", gpu_milli=1000), priority=9, hyperparameters=quick)
    assert plane.wait(high).state is JobState.SUCCEEDED
    ended = plane.wait(low)
    assert ended.result is not None
    assert (ended.state, ended.result["saved_for"]) == (JobState.SUCCEEDED, "preempted")
    assert [attempt.cause for attempt in plane.attempts(low)] == [EndCause.PREEMPTED, EndCause.SUCCESS]
    assert (ended.preemptions, ended.failures, ended.losses) == (1, 0, 0)
    events = plane.store.read(job_service.events, low.id, by=ANN, after=0, limit=100)
    (told,) = [event for event in events if event.event is JobEvent.PREEMPT]
    assert told.data["for_job"] == high.id
    assert f"Makes room for job {high.id} of ann (priority 9)" in told.message


def test_the_quota_ledger_answers_from_inside_the_cluster(plane: Plane) -> None:
    ledger = plane.actors.quota_ledger
    request = Request(Resources(cpu_milli=1000, memory_bytes=GIB))
    assert ray.get(ledger.may_hold.remote("ann", request)) is None
    assert ray.get(ledger.usage.remote("ann")).held == Amounts()
    assert ray.get(ledger.limits.remote("ann")).name == "ann"


def test_the_launchers_own_what_the_store_says_they_own(plane: Plane) -> None:
    job = plane.submit(plane.agent("gangs:hold"))
    plane.wait(job, JobState.RUNNING)
    (launcher,) = plane.actors.launchers.values()
    assert ray.get(launcher.owned.remote()) == {plane.attempts(job)[0].id}
    plane.cancel(job)
    plane.wait(job)
    eventually(lambda: ray.get(launcher.owned.remote()) == frozenset())


def test_the_scheduler_says_why_a_job_waits_and_what_would_become_of_another(plane: Plane) -> None:
    agent = plane.agent("gangs:hold", gpu_milli=2000)
    holder = plane.submit(agent, spot="avoid")
    plane.wait(holder, JobState.RUNNING)
    waiting = plane.submit(agent, spot="avoid")
    eventually(lambda: plane.job(waiting).wait_code)
    scheduler = plane.actors.scheduler
    why = ray.get(scheduler.why.remote(waiting.id))
    assert (why.code, why.position, why.queued) == (WaitCode.WAITING_FOR_CAPACITY, 1, 1)
    new = NewJob(agent_id=agent.id, name="job", spot=Spot.PREFER)
    drafted = plane.store.read(submissions.draft, new, by=ANN, now=utc_now(), defaults=plane.defaults).job
    dry = ray.get(scheduler.dry_run.remote(drafted))
    assert (dry.code, [placed.node_id for placed in dry.placement]) == (None, [node_of(plane, spot=True)])
    assert plane.job(waiting).state is JobState.QUEUED
    report = ray.get(scheduler.queue_report.remote(10))
    assert (report.waiting, [head.job_id for head in report.heads]) == (1, [waiting.id])
    for job in (waiting, holder):
        plane.cancel(job)
        plane.wait(job)
    assert ray.get(scheduler.why.remote(waiting.id)) is None


def test_attempts_leave_a_node_that_is_taken_back_before_it_goes(plane: Plane) -> None:
    job = plane.submit(plane.agent("gangs:hold"), spot="prefer", preemptible=True)
    plane.wait_step(job, 1)
    spot = node_of(plane, spot=True)
    assert plane.attempts(job)[0].node_id == spot
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline_ms = int((time.time() + 60) * 1000)
    gcs = GcsClient(address=ray.get_runtime_context().gcs_address)
    gcs.drain_node(spot, reason, "its owner takes it back", deadline_ms)
    ended = plane.wait(job)
    first, second = plane.attempts(job)
    assert (first.cause, second.cause) == (EndCause.PREEMPTED, EndCause.SUCCESS)
    assert second.node_id == node_of(plane, spot=False)
    assert ended.result is not None
    assert ended.result["saved_for"] == "preempted"
    assert (ended.failures, ended.losses) == (0, 0)
