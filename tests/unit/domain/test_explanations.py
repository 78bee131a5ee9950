"""Why a job waits, where it stands, when it may begin, and what would let it start."""

from __future__ import annotations

from datetime import timedelta

from gaelp_ray.domain.quotas import EVERYTHING, Quota, QuotaBook, QuotaKind
from gaelp_ray.domain.scheduling import Claim, QueuedJob, Snapshot, WaitCode, plan
from gaelp_ray.domain.scheduling.explain import Explanation, explain, report
from tests.builders import T0, a_claim, a_job, a_node, a_snapshot, at


def explained(snapshot: Snapshot, job_id: int) -> Explanation:
    found = explain(snapshot, plan(snapshot, T0), job_id, T0)
    assert found is not None
    return found


def running(job: int, *, cpu: float = 4, ends_s: float | None = 600) -> Claim:
    end = None if ends_s is None else at(ends_s)
    return a_claim(cpu=cpu, job=job, owner="eve", expected_end=end, started_at=at(-60))


def test_a_job_that_fits_starts_now_and_is_told_where() -> None:
    found = explained(a_snapshot(a_job(1)), 1)
    assert (found.code, found.message, found.position) == (None, "It starts now.", 1)
    assert found.placement is not None
    assert found.placement[0].node_id == "node-1"
    assert found.eta is not None
    assert found.eta.starts_at == T0


def test_a_job_that_does_not_wait_has_no_explanation() -> None:
    assert explain(a_snapshot(), plan(a_snapshot(), T0), 7, T0) is None


def test_places_in_line_follow_the_order_in_which_jobs_are_looked_at() -> None:
    queue = [
        a_job(1, cpu=4, priority=3),
        a_job(2, cpu=4, priority=8, owner="bob"),
        a_job(3, cpu=4, priority=3, submitted_s=-60),
        a_job(4, cpu=2, priority=3, submitted_s=-30),
    ]
    snapshot = a_snapshot(*queue, claims=[running(9)])
    assert {job: explained(snapshot, job).position for job in (1, 2, 3, 4)} == {2: 1, 3: 2, 4: 3, 1: 4}
    assert explained(snapshot, 1).ahead_in_lane == 1
    assert explained(snapshot, 1).queued == 4


def test_the_eta_of_the_next_is_the_end_of_who_runs() -> None:
    snapshot = a_snapshot(a_job(1, cpu=4), claims=[running(9, ends_s=600)])
    eta = explained(snapshot, 1).eta
    assert eta is not None
    assert eta.starts_at == at(600)
    assert eta.earliest < eta.starts_at < eta.latest


def test_everybody_ahead_is_played_forward() -> None:
    queue = [a_job(n, cpu=4, expected_s=100, expected_p90_s=300, submitted_s=n) for n in (1, 2, 3)]
    snapshot = a_snapshot(*queue, claims=[running(9, ends_s=600)])
    found = [explained(snapshot, n).eta for n in (1, 2, 3)]
    assert [eta.starts_at for eta in found if eta] == [at(600), at(700), at(800)]
    last = found[-1]
    assert last is not None
    assert last.latest - last.starts_at >= timedelta(seconds=400), "two jobs ahead may each run 200 s longer"


def test_what_ran_past_its_time_is_expected_to_run_as_long_again() -> None:
    late = a_claim(cpu=4, job=9, owner="eve", started_at=at(-500), expected_end=at(-100))
    eta = explained(a_snapshot(a_job(1, cpu=4), claims=[late]), 1).eta
    assert eta is not None
    assert eta.starts_at == at(500)


def test_a_job_that_waits_for_a_decision_has_no_eta() -> None:
    quotas = QuotaBook.of([Quota(QuotaKind.USER, "ann", limit=EVERYTHING.all(0))])
    found = explained(a_snapshot(a_job(1), quotas=quotas), 1)
    assert (found.code, found.eta) == (WaitCode.EXCEEDS_MAX_QUOTA, None)
    assert found.unblock == ("Ask for less.", "An admin raises the quota.")


def test_what_would_unblock_names_who_ends_when_and_what_that_frees() -> None:
    snapshot = a_snapshot(a_job(1, cpu=2), claims=[running(9, cpu=3, ends_s=600)])
    assert explained(snapshot, 1).unblock == (
        "It needs 2 CPU, 1 GiB memory and 0 GPU; the freest node that suits has 1 CPU, 15 GiB memory and "
        "0 GPU.",
        "Job 9 ends at about 2025-03-01 12:10 UTC and frees 3 CPU, 1 GiB memory and 0 GPU.",
    )


def test_victims_and_the_room_they_leave_are_named() -> None:
    victim = a_claim(cpu=4, job=9, owner="eve", preemptible=True)
    found = explained(a_snapshot(a_job(1, cpu=2, priority=8), claims=[victim]), 1)
    assert (found.code, found.victims) == (WaitCode.WAITING_FOR_PREEMPTION, (9,))
    assert found.placement is not None


def test_behind_one_that_others_make_room_for_a_job_waits_for_capacity() -> None:
    victim = a_claim(cpu=4, job=9, owner="eve", preemptible=True)
    queue: list[QueuedJob] = [a_job(1, cpu=4, priority=8), a_job(2, cpu=4, priority=8, submitted_s=1)]
    found = explained(a_snapshot(*queue, claims=[victim]), 2)
    assert (found.code, found.message) == (WaitCode.WAITING_FOR_CAPACITY, "Waits behind job 1.")


def test_the_report_counts_every_waiting_job_once() -> None:
    queue = [a_job(n, cpu=4, submitted_s=n, team="ads") for n in range(1, 6)]
    snapshot = a_snapshot(*queue, a_job(9, cpu=99, owner="bob"), nodes=[a_node(cpu=4)])
    found = report(snapshot, plan(snapshot, T0), T0, limit=10)
    assert found.by_code == {WaitCode.WAITING_FOR_CAPACITY: 4, WaitCode.NO_MATCHING_SHAPE: 1}
    assert (found.waiting, found.by_user, found.by_team) == (6, {"ann": 5, "bob": 1}, {"ads": 5})
    assert found.oldest == T0
    assert [head.job_id for head in found.heads] == [9, 2]
    assert found.starting == (1,)
