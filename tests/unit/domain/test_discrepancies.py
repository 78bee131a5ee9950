"""What does not agree is found, and nothing else."""

from __future__ import annotations

import pytest

from gaelp_ray.domain.jobs import LIVE, JobState
from gaelp_ray.domain.reconcile import (
    Discrepancy,
    Finding,
    LiveAttempt,
    Records,
    compare,
    confirmed,
    counted,
)


def an_attempt(
    attempt_id: int = 1, job: int = 7, state: JobState = JobState.RUNNING, *, launched: bool = True
) -> LiveAttempt:
    return LiveAttempt(attempt_id, job, state, "a", launched)


@pytest.mark.parametrize("state", sorted(LIVE))
def test_an_attempt_that_its_launcher_owns_is_as_it_should_be(state: JobState) -> None:
    assert compare(Records((an_attempt(state=state),)), {"a": {1}}) == ()


def test_an_attempt_that_its_launcher_does_not_own_is_found() -> None:
    expected = Finding(Discrepancy.UNOWNED_ATTEMPT, 7, 1, "a")
    assert compare(Records((an_attempt(),)), {"a": set()}) == (expected,)


def test_an_attempt_whose_order_still_waits_is_nobodys_yet() -> None:
    assert compare(Records((an_attempt(launched=False),)), {"a": set()}) == ()


def test_attempts_of_a_launcher_that_gave_no_answer_are_not_judged() -> None:
    assert compare(Records((an_attempt(),)), {"b": set()}) == ()


def test_a_task_without_a_live_attempt_is_found() -> None:
    found = compare(Records((an_attempt(),)), {"a": {1, 2}, "b": {3}})
    assert [(f.kind, f.attempt_id, f.launcher) for f in found] == [
        (Discrepancy.STRAY_TASK, 2, "a"),
        (Discrepancy.STRAY_TASK, 3, "b"),
    ]


@pytest.mark.parametrize("state", sorted(set(JobState) - LIVE))
def test_an_attempt_whose_job_holds_nothing_is_found(state: JobState) -> None:
    [finding] = compare(Records((an_attempt(state=state),)), {"a": {1}})
    assert finding.kind is Discrepancy.ATTEMPT_WITHOUT_JOB


def test_two_live_attempts_of_one_job_are_both_found() -> None:
    found = compare(Records((an_attempt(1), an_attempt(2), an_attempt(3, job=8))), {"a": {1, 2, 3}})
    assert [(f.kind, f.attempt_id) for f in found] == [
        (Discrepancy.DOUBLE_ATTEMPT, 1),
        (Discrepancy.DOUBLE_ATTEMPT, 2),
    ]


def test_jobs_without_attempts_and_room_for_nobody_are_found() -> None:
    found = compare(Records(jobs_without_attempt=(5,), orphan_reservations=(6,)), {})
    assert [(f.kind, f.job_id) for f in found] == [
        (Discrepancy.JOB_WITHOUT_ATTEMPT, 5),
        (Discrepancy.ORPHAN_RESERVATION, 6),
    ]


def test_only_what_is_found_twice_in_a_row_is_true() -> None:
    first = compare(Records((an_attempt(1), an_attempt(2, job=8))), {"a": set()})
    second = compare(Records((an_attempt(2, job=8), an_attempt(3, job=9))), {"a": set()})
    assert [f.attempt_id for f in confirmed(first, second)] == [2]


def test_every_kind_is_counted_those_without_findings_too() -> None:
    counts = counted([Finding(Discrepancy.STRAY_TASK, 0, 1), Finding(Discrepancy.STRAY_TASK, 0, 2)])
    assert counts == dict.fromkeys(Discrepancy, 0) | {Discrepancy.STRAY_TASK: 2}
