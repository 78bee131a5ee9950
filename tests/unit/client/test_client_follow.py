from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gaelp_ray.client import Hello, Job, LiveMessage, LiveMetrics, LiveState
from gaelp_ray.client.follow import advanced, updates
from gaelp_ray.client.models import Progress
from gaelp_ray.domain.errors import Unavailable

START = datetime(2026, 1, 2, tzinfo=UTC)
QUEUED = Job(id=1, agent_id=7, name="j", status="queued", phase="queued")
RUNNING = replace(QUEUED, status="running", phase="running", attempt=1, started_at=START)
DONE = replace(RUNNING, status="completed", phase="succeeded")


def metrics(step: int, *, job_id: int = 1, attempt: int = 1, **values: float) -> LiveMetrics:
    at = START + timedelta(seconds=step)
    return LiveMetrics(7, at, job_id, attempt=attempt, step=step, total_steps=10, metrics=values)


def state(to: str, *, job_id: int = 1) -> LiveState:
    return LiveState(agent_id=7, job_id=job_id, event="e", to_state=to)


def follow(
    start: Job, looks: list[Job], messages: Iterator[LiveMessage | None] | list[LiveMessage]
) -> list[Job]:
    """All views, where every further look shows what the last one did."""
    left = iter(looks)
    last = [start]

    def look() -> Job:
        last[0] = next(left, last[0])
        return last[0]

    return list(itertools.islice(updates(start, look, iter(messages)), 50))


def test_metrics_advance_the_job_without_a_look() -> None:
    views = follow(RUNNING, [DONE], [metrics(1, reward=0.5), metrics(2, reward=0.7), state("succeeded")])

    assert [view.progress.step for view in views] == [None, 1, 2, None]
    assert views[2].progress.metrics == {"reward": 0.7}
    assert views[2].progress.fraction == pytest.approx(0.2)
    assert views[2].progress.eta_seconds == pytest.approx(8.0)
    assert views[-1] is DONE


def test_a_change_of_state_is_looked_at_at_once() -> None:
    assert follow(QUEUED, [RUNNING, DONE], [state("running"), state("succeeded")]) == [QUEUED, RUNNING, DONE]


def test_metrics_of_a_job_thought_to_wait_show_that_it_runs() -> None:
    assert follow(QUEUED, [RUNNING, DONE], [metrics(1), state("succeeded")])[1] is RUNNING


def test_other_jobs_of_the_agent_are_not_looked_at() -> None:
    messages = [metrics(1, job_id=2), state("failed", job_id=2), state("succeeded")]

    assert follow(RUNNING, [DONE], messages) == [RUNNING, DONE]


def test_every_new_connection_is_a_reason_to_look() -> None:
    assert follow(RUNNING, [DONE], [Hello(7)]) == [RUNNING, DONE]


def test_a_job_that_has_ended_is_shown_once() -> None:
    assert follow(DONE, [], [metrics(1)]) == [DONE]


def refused() -> Iterator[LiveMessage | None]:
    yield metrics(1)
    raise Unavailable("No WebSocket here.")


def test_without_a_websocket_looking_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaelp_ray.client.follow.POLL_S", 0.001)

    assert follow(RUNNING, [RUNNING, DONE], refused())[-1] is DONE


def test_messages_that_never_tell_the_end_do_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaelp_ray.client.follow.POLL_S", 0.0)

    assert follow(RUNNING, [DONE], itertools.repeat(None))[-1] is DONE


@pytest.mark.parametrize(
    "late", [metrics(3, attempt=2), metrics(9, attempt=1)], ids=["earlier step", "earlier attempt"]
)
def test_late_metrics_do_not_turn_progress_back(late: LiveMetrics) -> None:
    job = replace(RUNNING, attempt=2, progress=Progress(step=5, total_steps=10))

    assert advanced(job, late) is job


def test_a_new_attempt_may_start_from_an_earlier_step() -> None:
    job = replace(RUNNING, progress=Progress(step=5, total_steps=10))

    resumed = advanced(job, metrics(3, attempt=2))

    assert (resumed.attempt, resumed.progress.step) == (2, 3)
