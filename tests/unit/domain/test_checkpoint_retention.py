"""Which checkpoints of a job may go: never the newest, never the best."""

from __future__ import annotations

import pytest

from gaelp_ray.domain.checkpoints import CheckpointRecord, Retention, address_of, expendable
from tests.builders import a_checkpoint


def rewards(*values: float) -> list[CheckpointRecord]:
    """Checkpoints of steps 1, 2, 3, ... with these rewards."""
    return [a_checkpoint(step, reward=value) for step, value in enumerate(values, start=1)]


#: id: (rewards by step, retention, steps that may go)
CASES: dict[str, tuple[list[float], Retention, list[int]]] = {
    "none": ([], Retention(), []),
    "fewer than are kept": ([1, 2], Retention(), []),
    "the best is among the newest": ([1, 2, 3, 4], Retention(), [1, 2]),
    "the best is old": ([1, 9, 3, 4, 5], Retention(), [1, 3]),
    "of equally good ones the newer stays": ([5, 5, 1, 1], Retention(), [1]),
    "only the newest": ([9, 1, 2], Retention(latest=1, best=0), [1, 2]),
    "only the best": ([9, 1, 2], Retention(latest=0, best=1), [2, 3]),
    "no matter what": ([9, 1], Retention(latest=0, best=0), [1, 2]),
    "by another metric": ([1, 2, 3, 4], Retention(metric="roas"), [1, 2]),
}


@pytest.mark.parametrize("case", CASES)
def test_of_many_checkpoints_these_may_go(case: str) -> None:
    values, keep, expected = CASES[case]
    assert [c.step for c in expendable(rewards(*values), keep)] == expected


def test_the_order_in_which_they_come_does_not_matter() -> None:
    several = rewards(1, 9, 3, 4, 5)
    assert expendable(reversed(several), Retention()) == expendable(several, Retention())


def test_checkpoints_without_the_metric_are_kept_only_for_being_new() -> None:
    several = [a_checkpoint(1), a_checkpoint(2, reward=1.0), a_checkpoint(3), a_checkpoint(4)]
    assert [c.step for c in expendable(several, Retention(latest=1))] == [1, 3]


def test_the_newest_is_the_last_that_was_saved_whatever_its_step() -> None:
    steps = (10, 20, 30, 1, 2, 3, 4)
    several = [a_checkpoint(step, record_id=number) for number, step in enumerate(steps, start=1)]
    assert [c.step for c in expendable(several, Retention())] == [10, 20, 30, 1, 2]


def test_what_others_work_on_stays() -> None:
    several = rewards(1, 2, 3, 4)
    assert [c.step for c in expendable(several, Retention(), in_use={1})] == [2]


#: id: where it was saved
ADDRESSES = {
    "a path": "/srv/gaelp/storage/checkpoints/job-7/attempt-1/step-000000012",
    "a bucket": "s3://bucket/a/checkpoints/job-7/attempt-1/step-000000012-2",
    "a path with such a name": "/checkpoints/job-1/attempt-1/step-1/checkpoints/job-7/attempt-12/step-1",
    "a step below nothing": "/srv/checkpoints/job-7/attempt-1/step--00000005",
}


@pytest.mark.parametrize("case", ADDRESSES)
def test_an_address_is_what_is_below_the_root(case: str) -> None:
    uri = ADDRESSES[case]
    address = address_of(uri)
    assert uri.endswith(f"/{address}")
    assert address.startswith("checkpoints/job-7/attempt-1")


def test_what_is_laid_out_otherwise_has_no_address() -> None:
    assert address_of("memory://job-7/attempt-1/step-1") == ""


def test_of_two_checkpoints_of_one_step_the_later_is_the_newer() -> None:
    several = [a_checkpoint(5, record_id=2), a_checkpoint(5, record_id=1)]
    assert [c.id for c in expendable(several, Retention(latest=1, best=0))] == [1]
