"""The table of job states: complete, without dead ends, and drawn as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaelp_ray.domain import jobs_chart
from gaelp_ray.domain.errors import IllegalTransition, InvalidInput
from gaelp_ray.domain.jobs import (
    LIVE,
    TERMINAL,
    TRANSITIONS,
    JobEvent,
    JobState,
    JobStatus,
    check_deadline,
    check_priority,
    check_seconds,
    next_state,
    public_status,
    states_of,
)
from tests.builders import T0, at

DOCUMENT = Path(__file__).parents[3] / "docs" / "job-states.md"


def after(state: JobState) -> set[JobState]:
    return {to for (before, _), to in TRANSITIONS.items() if before is state}


def reachable(state: JobState) -> set[JobState]:
    found = {state}
    while more := {each for known in found for each in after(known)} - found:
        found |= more
    return found


@pytest.mark.parametrize("state", JobState)
def test_every_state_can_reach_an_end(state: JobState) -> None:
    assert reachable(state) & TERMINAL


@pytest.mark.parametrize("state", JobState)
def test_every_state_can_be_reached_from_the_queue(state: JobState) -> None:
    assert state in reachable(JobState.QUEUED)


@pytest.mark.parametrize("event", JobEvent)
@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_an_end_takes_nothing_more(state: JobState, event: JobEvent) -> None:
    with pytest.raises(IllegalTransition, match="takes nothing more"):
        next_state(state, event)


@pytest.mark.parametrize("state", sorted(set(JobState) - TERMINAL))
def test_every_job_that_has_not_ended_can_be_cancelled(state: JobState) -> None:
    by_its_owner = {
        to for (s, event), to in TRANSITIONS.items() if s is state and event in ("cancel", "stop")
    }
    assert by_its_owner or state is JobState.STOPPING


def test_every_transition_is_where_the_table_says() -> None:
    for (before, event), to in TRANSITIONS.items():
        assert next_state(before, event) is to


def test_a_refusal_names_what_the_state_takes() -> None:
    with pytest.raises(
        IllegalTransition, match=r"is backoff does not take 'succeed'; it takes cancel, edit, expire, wake"
    ):
        next_state(JobState.BACKOFF, JobEvent.SUCCEED)


def test_resources_are_held_from_admission_until_the_attempt_ends() -> None:
    entering = {event for (before, event), to in TRANSITIONS.items() if before not in LIVE and to in LIVE}
    assert entering == {JobEvent.ADMIT}
    assert LIVE.isdisjoint(TERMINAL)
    assert JobState.QUEUED not in LIVE
    assert JobState.BACKOFF not in LIVE


STATUSES = {
    JobState.QUEUED: JobStatus.QUEUED,
    JobState.ADMITTED: JobStatus.QUEUED,
    JobState.STARTING: JobStatus.QUEUED,
    JobState.RUNNING: JobStatus.RUNNING,
    JobState.PREEMPTING: JobStatus.RUNNING,
    JobState.STOPPING: JobStatus.RUNNING,
    JobState.BACKOFF: JobStatus.QUEUED,
    JobState.SUCCEEDED: JobStatus.COMPLETED,
    JobState.FAILED: JobStatus.FAILED,
    JobState.CANCELLED: JobStatus.CANCELLED,
}


@pytest.mark.parametrize("state", JobState)
def test_the_api_says_one_of_five_words(state: JobState) -> None:
    assert public_status(state) is STATUSES[state]


def test_a_filter_by_word_finds_each_state_once() -> None:
    assert sorted(state for status in JobStatus for state in states_of(status)) == sorted(JobState)


@pytest.mark.parametrize("priority", [1, 5, 10])
def test_priorities_from_1_to_10_are_taken(priority: int) -> None:
    assert check_priority(priority) == priority


@pytest.mark.parametrize("priority", [-1, 0, 11])
def test_other_priorities_are_refused(priority: int) -> None:
    with pytest.raises(InvalidInput, match=rf"1 \(lowest\) to 10 \(highest\); got {priority}"):
        check_priority(priority)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.BACKOFF])
def test_a_waiting_job_is_changed_where_it_is(state: JobState) -> None:
    assert next_state(state, JobEvent.EDIT) is state
    assert next_state(state, JobEvent.EXPIRE) is JobState.FAILED


@pytest.mark.parametrize("state", sorted(LIVE - {JobState.PREEMPTING, JobState.STOPPING}))
def test_what_holds_resources_can_be_told_to_make_room(state: JobState) -> None:
    assert next_state(state, JobEvent.PREEMPT) is JobState.PREEMPTING


def test_a_deadline_lies_ahead_and_has_a_time_zone() -> None:
    assert check_deadline(at(1), T0) == at(1)
    with pytest.raises(InvalidInput, match="must be in the future"):
        check_deadline(T0, T0)
    with pytest.raises(InvalidInput, match="needs a time zone"):
        check_deadline(at(1).replace(tzinfo=None), T0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_is_a_number_above_nought(seconds: float) -> None:
    with pytest.raises(InvalidInput, match="`x` must be a number of seconds above 0"):
        check_seconds(seconds, field_name="x")
    assert check_seconds(0.5, field_name="x") == 0.5


def test_the_chart_draws_every_transition() -> None:
    drawn = jobs_chart.chart().splitlines()
    for (before, event), to in TRANSITIONS.items():
        assert f"    {before} --> {to}: {event}" in drawn
    # And one line for the title, one for the beginning, one for each end.
    assert len(drawn) == len(TRANSITIONS) + 2 + len(TERMINAL)


def test_the_document_is_the_one_that_the_code_makes() -> None:
    assert DOCUMENT.read_text() == jobs_chart.document(), f"run `{jobs_chart.__doc__}`"
