"""The scheduler's decision, on snapshots small enough to decide by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gaelp_ray.domain.holds import Hold, HoldMode, Holds, HoldScope
from gaelp_ray.domain.quotas import EVERYTHING, Amounts, Quota, QuotaBook, QuotaKind
from gaelp_ray.domain.requests import Spot
from gaelp_ray.domain.scheduling import (
    Blocked,
    Claim,
    Node,
    NodeShape,
    Part,
    Plan,
    PreemptionMode,
    PreemptionReason,
    QueuedJob,
    Reservation,
    SchedulingPolicy,
    Snapshot,
    WaitCode,
    plan,
)
from tests.builders import T0, a_claim, a_job, a_node, a_snapshot, a_spot_node, at, resources


def planned(*queue: QueuedJob, **fields: object) -> Plan:
    return plan(a_snapshot(*queue, **fields), T0)  # type: ignore[arg-type]


def started(made: Plan) -> list[tuple[int, str]]:
    return [(start.job.id, start.placement[0].node_id) for start in made.starts]


def waiting(made: Plan) -> dict[int, WaitCode]:
    return {wait.job.id: wait.code for wait in made.waits}


def limit(**amounts: int) -> Amounts:
    """A limit on some things and none on others; CPUs and GPUs in whole ones."""
    scaled = {name: value * 1000 if name in ("cpu", "gpu") else value for name, value in amounts.items()}
    return replace(EVERYTHING, **scaled)


def a_quota(name: str, team: str | None = None, **fields: object) -> Quota:
    return Quota(QuotaKind.USER, name, team=team, **fields)  # type: ignore[arg-type]


class TestOrder:
    def test_an_empty_queue_needs_no_plan(self) -> None:
        assert planned() == Plan()

    def test_the_highest_priority_goes_first(self) -> None:
        queue = (a_job(1, priority=1), a_job(2, priority=10), a_job(3, priority=5))
        made = planned(*queue, nodes=[a_node(cpu=2)])
        assert [job for job, _ in started(made)] == [2, 3]
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}

    def test_of_equal_priority_the_earlier_submitted_goes_first(self) -> None:
        made = planned(a_job(1, submitted_s=2), a_job(2, submitted_s=1), nodes=[a_node(cpu=1)])
        assert [job for job, _ in started(made)] == [2]

    def test_waiting_raises_a_job_above_one_of_higher_priority(self) -> None:
        old, new = a_job(1, priority=4, submitted_s=-2 * 21_600), a_job(2, priority=5)
        assert started(planned(old, new, nodes=[a_node(cpu=1)])) == [(1, "node-1")]

    def test_aging_never_lifts_a_job_above_the_highest_priority(self) -> None:
        old, new = a_job(1, priority=9, submitted_s=-360_000, owner="bob"), a_job(2, priority=10)
        made = planned(old, new, nodes=[a_node(cpu=1)], claims=[a_claim(None, owner="bob")])
        assert started(made) == [(2, "node-1")], "at the same effective priority the smaller share goes first"

    def test_who_uses_less_of_the_cluster_goes_first(self) -> None:
        queue = (a_job(1, owner="bob", submitted_s=-10), a_job(2, owner="ann"))
        made = planned(*queue, nodes=[a_node(cpu=2)], claims=[a_claim(cpu=1, owner="bob")])
        assert started(made) == [(2, "node-1")]

    def test_a_burst_of_one_user_cannot_all_pass_another(self) -> None:
        burst = [a_job(n, owner="bob", submitted_s=-100) for n in range(1, 5)]
        others = [a_job(n, owner="ann") for n in range(5, 9)]
        made = planned(*burst, *others, nodes=[a_node(cpu=4)])
        assert sorted(start.job.owner for start in made.starts) == ["ann", "ann", "bob", "bob"]

    def test_twice_the_weight_is_due_twice_the_share(self) -> None:
        queue = [a_job(n, owner=owner) for n, owner in enumerate(["ann", "bob"] * 6, 1)]
        quotas = QuotaBook.of([a_quota("ann", weight=2.0), a_quota("bob")])
        made = planned(*queue, nodes=[a_node(cpu=6)], quotas=quotas)
        assert sorted(start.job.owner for start in made.starts) == ["ann"] * 4 + ["bob"] * 2

    def test_usage_of_the_past_counts(self) -> None:
        queue = (a_job(1, owner="bob"), a_job(2, owner="ann", submitted_s=5))
        made = planned(*queue, nodes=[a_node(cpu=1)], history={"bob": resources(1)})
        assert started(made) == [(2, "node-1")]

    def test_of_one_user_the_job_with_the_shorter_prediction_goes_first(self) -> None:
        queue = (a_job(1, expected_s=36_000), a_job(2, expected_s=60, submitted_s=5))
        assert started(planned(*queue, nodes=[a_node(cpu=1)])) == [(2, "node-1")]

    def test_a_long_job_that_has_waited_is_not_passed_by_short_ones_for_ever(self) -> None:
        policy = SchedulingPolicy(aging_step=timedelta(minutes=1), aging_most=0)
        queue = (a_job(1, expected_s=36_000, submitted_s=-3600), a_job(2, expected_s=15))
        made = planned(*queue, nodes=[a_node(cpu=1)], policy=policy)
        assert started(made) == [(1, "node-1")]


class TestCapacity:
    def test_a_job_that_does_not_fit_lets_later_ones_pass(self) -> None:
        queue = (a_job(1, priority=10, cpu=3), a_job(2))
        made = planned(*queue, nodes=[a_node(cpu=4)], claims=[a_claim(cpu=2)])
        assert [job for job, _ in started(made)] == [2]
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}

    def test_a_gpu_job_goes_to_the_node_with_a_gpu(self) -> None:
        nodes = [a_node("cpu", cpu=64), a_node("gpu", cpu=4, gpu=1)]
        assert started(planned(a_job(1, gpu=1), nodes=nodes)) == [(1, "gpu")]

    def test_a_job_without_a_gpu_leaves_the_gpu_node_free(self) -> None:
        nodes = [a_node("gpu", cpu=4, gpu=1), a_node("cpu", cpu=64)]
        assert started(planned(a_job(1), nodes=nodes)) == [(1, "cpu")]

    def test_two_halves_share_one_gpu_and_a_third_waits(self) -> None:
        made = planned(*[a_job(n, gpu=0.5) for n in (1, 2, 3)], nodes=[a_node(gpu=1)])
        assert [job for job, _ in started(made)] == [1, 2]
        assert waiting(made) == {3: WaitCode.WAITING_FOR_CAPACITY}

    def test_a_share_never_spans_two_gpus(self) -> None:
        claims = [a_claim(gpu=0.6, job=98), a_claim(gpu=0.6, job=99)]
        made = planned(a_job(1, gpu=0.7), nodes=[a_node(gpu=2)], claims=claims)
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}, "0.8 GPU are free, but on two of them"

    def test_shares_gather_so_that_whole_gpus_stay_free(self) -> None:
        queue = [a_job(1, gpu=0.4), a_job(2, gpu=0.4), a_job(3, gpu=1, submitted_s=1)]
        made = planned(*queue, nodes=[a_node(cpu=8, gpu=2)])
        assert [job for job, _ in started(made)] == [1, 2, 3]

    def test_small_jobs_gather_so_that_large_ones_still_fit(self) -> None:
        nodes = [a_node("large", cpu=8), a_node("small", cpu=2)]
        made = planned(a_job(1, cpu=2), a_job(2, cpu=8, submitted_s=1), nodes=nodes)
        assert started(made) == [(1, "small"), (2, "large")]

    def test_what_is_planned_is_not_given_twice(self) -> None:
        made = planned(*(a_job(n, cpu=3) for n in (1, 2, 3)), nodes=[a_node("a"), a_node("b")])
        assert started(made) == [(1, "a"), (2, "b")]

    @pytest.mark.parametrize("node", [None, "gone"])
    def test_a_claim_on_a_node_that_has_gone_takes_nothing_from_the_others(self, node: str | None) -> None:
        made = planned(a_job(1, cpu=4), nodes=[a_node(cpu=4)], claims=[a_claim(node, cpu=4)])
        assert started(made) == [(1, "node-1")]

    def test_a_node_that_shrank_below_its_claims_takes_nothing(self) -> None:
        made = planned(a_job(1), nodes=[a_node(cpu=1)], claims=[a_claim(cpu=3)])
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}

    def test_a_cordoned_node_takes_nothing_new(self) -> None:
        nodes = [replace(a_node("leaving", cpu=8), cordoned=True), a_node("staying", cpu=1)]
        assert started(planned(a_job(1), nodes=nodes)) == [(1, "staying")]

    def test_every_worker_of_a_gang_is_placed_or_none_is(self) -> None:
        nodes = [a_node("a", cpu=4), a_node("b", cpu=4)]
        made = planned(a_job(1, cpu=2, workers=4), nodes=nodes)
        assert sorted(p.node_id for p in made.starts[0].placement) == ["a", "a", "b", "b"]
        made = planned(a_job(1, cpu=2, workers=4), a_job(2, cpu=2), nodes=nodes, claims=[a_claim("a")])
        assert [job for job, _ in started(made)] == [2]

    def test_only_nodes_that_meet_every_condition_are_taken(self) -> None:
        nodes = [
            replace(a_node("a"), labels={"zone": "eu-1", "gpu-model": "A100"}),
            replace(a_node("b"), labels={"zone": "eu-2", "gpu-model": "H100"}),
        ]
        selector = (("gpu-model", "in(A100, H100)"), ("zone", "!eu-1"))
        assert started(planned(a_job(1, selector=selector), nodes=nodes)) == [(1, "b")]

    def test_a_job_no_node_could_ever_hold_is_told_what_the_most_is(self) -> None:
        nodes = [a_node("a", cpu=4), a_node("b", cpu=8, memory_gib=2)]
        made = planned(a_job(1, cpu=16, memory_gib=1), nodes=nodes)
        assert made.waits[0].code is WaitCode.NO_MATCHING_SHAPE
        assert made.waits[0].message == (
            "No node that there is or may be can hold 16 CPU, 1 GiB memory and 0 GPU; the most any node has "
            "is 8 CPU, 16 GiB memory and 0 GPU. Ask for less or add a larger node."
        )

    def test_a_gang_larger_than_the_whole_cluster_matches_none(self) -> None:
        made = planned(a_job(1, cpu=2, workers=5), nodes=[a_node("a"), a_node("b")])
        assert waiting(made) == {1: WaitCode.NO_MATCHING_SHAPE}


class TestSpot:
    def test_a_job_that_avoids_spot_nodes_waits_for_another(self) -> None:
        made = planned(a_job(1), nodes=[a_spot_node(), a_node(cpu=1)], claims=[a_claim(cpu=1)])
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}

    def test_a_job_that_prefers_spot_goes_there_even_where_it_fits_less_tightly(self) -> None:
        nodes = [a_node("on-demand", cpu=1), a_spot_node("spot", cpu=8)]
        assert started(planned(a_job(1, spot=Spot.PREFER), nodes=nodes)) == [(1, "spot")]

    def test_it_falls_back_after_its_wait_and_not_before(self) -> None:
        nodes, claims = [a_node("on-demand"), a_spot_node("spot", cpu=1)], [a_claim("spot")]
        job = a_job(1, spot=Spot.PREFER)
        assert started(plan(a_snapshot(job, nodes=nodes, claims=claims), at(299))) == []
        assert started(plan(a_snapshot(job, nodes=nodes, claims=claims), at(300))) == [(1, "on-demand")]

    def test_where_there_are_no_spot_nodes_it_waits_for_none(self) -> None:
        assert started(planned(a_job(1, spot=Spot.PREFER))) == [(1, "node-1")]

    def test_a_job_that_takes_only_spot_never_takes_another(self) -> None:
        job = a_job(1, spot=Spot.ONLY, submitted_s=-9999)
        assert waiting(planned(job)) == {1: WaitCode.NO_MATCHING_SHAPE}


class TestAutoscaling:
    SHAPE = NodeShape("gpu", resources(8, 32, 4), room=2)

    def test_what_no_live_node_holds_is_asked_of_the_autoscaler(self) -> None:
        made = planned(*[a_job(n, gpu=2) for n in range(1, 4)], nodes=[], shapes=[self.SHAPE])
        assert waiting(made) == {1: WaitCode.AUTOSCALER_WAITING}
        assert [(demand.count, demand.request.resources.gpu_milli) for demand in made.demands] == [(3, 2000)]

    def test_no_more_is_asked_than_the_bounds_allow(self) -> None:
        made = planned(*[a_job(n, gpu=2) for n in range(1, 10)], nodes=[], shapes=[self.SHAPE])
        assert [demand.count for demand in made.demands] == [4]

    def test_at_the_bounds_a_job_waits_for_capacity(self) -> None:
        full = replace(self.SHAPE, room=0)
        made = planned(a_job(1, gpu=1), nodes=[a_node(gpu=1)], claims=[a_claim(gpu=1)], shapes=[full])
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}
        assert made.demands == ()

    def test_a_gang_is_asked_for_all_or_not_at_all(self) -> None:
        gang, nodes = a_job(1, gpu=4, workers=3), [a_node(cpu=8, gpu=4)]
        made = planned(gang, nodes=nodes, shapes=[self.SHAPE])
        assert [demand.count for demand in made.demands] == [3], "one here and two to come"
        made = planned(gang, nodes=nodes, claims=[a_claim(gpu=1)], shapes=[self.SHAPE])
        assert made.demands == (), "two more nodes would not be enough"


class TestHoldsAndGates:
    def hold(self, scope: HoldScope, name: str, mode: HoldMode = HoldMode.HOLD) -> Holds:
        return Holds([Hold(scope, name, mode, "maintenance", "root", T0)])

    @pytest.mark.parametrize(
        ("scope", "name"),
        [
            (HoldScope.GLOBAL, ""),
            (HoldScope.TEAM, "ads"),
            (HoldScope.USER, "ann"),
            (HoldScope.AGENT, "1"),
        ],
    )
    def test_what_is_on_hold_does_not_start_and_is_told_who_holds_it(
        self, scope: HoldScope, name: str
    ) -> None:
        made = planned(a_job(1, team="ads"), holds=self.hold(scope, name))
        assert waiting(made) == {1: WaitCode.ON_HOLD}
        assert "root put" in made.waits[0].message
        assert "maintenance" in made.waits[0].message

    def test_a_hold_on_others_holds_nobody_else(self) -> None:
        made = planned(a_job(1), holds=self.hold(HoldScope.USER, "bob"))
        assert started(made) == [(1, "node-1")]

    def test_a_hold_leaves_running_jobs_alone_unless_it_drains(self) -> None:
        claims = [a_claim(job=7)]
        assert planned(claims=claims, holds=self.hold(HoldScope.USER, "ann")).preemptions == ()
        drained = planned(claims=claims, holds=self.hold(HoldScope.USER, "ann", HoldMode.HOLD_AND_DRAIN))
        assert [(p.job_id, p.reason) for p in drained.preemptions] == [(7, PreemptionReason.DRAINED)]

    @pytest.mark.parametrize(
        "code", [WaitCode.DEACTIVATED, WaitCode.APPROVAL_REQUIRED, WaitCode.BUDGET_EXCEEDED]
    )
    def test_another_gate_keeps_a_job_waiting_with_its_own_reason(self, code: WaitCode) -> None:
        made = planned(a_job(1), blocked={1: Blocked(code, "because")})
        assert [(w.code, w.message) for w in made.waits] == [(code, "because")]


class TestQuotas:
    def test_a_user_at_his_limit_waits_and_is_told_whose_limit_it_is(self) -> None:
        quotas = QuotaBook.of([a_quota("ann", limit=limit(gpu=1))])
        made = planned(a_job(1, gpu=1), nodes=[a_node(gpu=4)], claims=[a_claim(gpu=1, job=9)], quotas=quotas)
        assert waiting(made) == {1: WaitCode.WAITING_FOR_QUOTA}
        assert made.waits[0].message == (
            "The quota of user ann allows 1 gpu, of which 1 is in use; this needs 1 more."
        )

    def test_a_request_over_the_limit_can_never_fit(self) -> None:
        quotas = QuotaBook.of([a_quota("ann", limit=limit(gpu=1))])
        made = planned(a_job(1, gpu=2), nodes=[a_node(gpu=4)], quotas=quotas)
        assert waiting(made) == {1: WaitCode.EXCEEDS_MAX_QUOTA}

    def test_a_plan_counts_what_it_starts(self) -> None:
        quotas = QuotaBook.of([a_quota("ann", limit=limit(jobs=2))])
        made = planned(*[a_job(n, cpu=0.1) for n in range(1, 5)], quotas=quotas)
        assert [job for job, _ in started(made)] == [1, 2]
        assert waiting(made) == {3: WaitCode.WAITING_FOR_QUOTA}

    def test_a_member_borrows_what_teammates_leave_unused(self) -> None:
        quotas = QuotaBook.of(
            [a_quota("ann", "ads", limit=limit(gpu=1)), a_quota("bob", "ads", limit=limit(gpu=1))]
        )
        queue = [a_job(n, gpu=1, team="ads", cpu=0.1) for n in (1, 2, 3)]
        made = planned(*queue, nodes=[a_node(gpu=4)], quotas=quotas)
        assert [job for job, _ in started(made)] == [1, 2]
        assert waiting(made) == {3: WaitCode.WAITING_FOR_QUOTA}

    def test_an_owner_takes_back_what_was_borrowed_even_from_a_higher_priority(self) -> None:
        quotas = QuotaBook.of(
            [a_quota("ann", "ads", limit=limit(gpu=1)), a_quota("bob", "ads", limit=limit(gpu=1))]
        )
        claims = [a_claim(gpu=1, job=n, owner="ann", team="ads", priority=9, cpu=0.1) for n in (7, 8)]
        job = a_job(1, gpu=1, owner="bob", team="ads", priority=3)
        made = planned(job, nodes=[a_node(gpu=4)], claims=claims, quotas=quotas)
        assert [(p.reason, p.for_job_id) for p in made.preemptions] == [(PreemptionReason.RECLAIMED, 1)]
        assert waiting(made) == {1: WaitCode.WAITING_FOR_PREEMPTION}

    def test_nothing_is_taken_back_for_one_who_would_borrow_himself(self) -> None:
        quotas = QuotaBook.of(
            [a_quota("ann", "ads", limit=limit(gpu=1)), a_quota("bob", "ads", limit=limit(gpu=0))]
        )
        claims = [a_claim(gpu=1, job=7, owner="ann", team="ads", cpu=0.1)]
        job = a_job(1, gpu=1, owner="bob", team="ads", priority=9)
        made = planned(job, nodes=[a_node(gpu=4)], claims=claims, quotas=quotas)
        assert made.preemptions == ()
        assert waiting(made) == {1: WaitCode.WAITING_FOR_QUOTA}

    def test_at_his_own_limit_a_users_more_important_job_replaces_his_lesser_one(self) -> None:
        quotas = QuotaBook.of([a_quota("ann", limit=limit(gpu=1))])
        claims = [a_claim(gpu=1, job=7, priority=2, preemptible=True)]
        made = planned(a_job(1, gpu=1, priority=8), nodes=[a_node(gpu=4)], claims=claims, quotas=quotas)
        assert [(p.job_id, p.reason) for p in made.preemptions] == [(7, PreemptionReason.OWN_QUOTA)]


class TestPreemption:
    def test_a_preemptible_job_makes_room_for_one_of_higher_rank(self) -> None:
        claims = [a_claim(cpu=4, job=7, preemptible=True, owner="bob")]
        made = planned(a_job(1, cpu=2), claims=claims)
        assert [(p.job_id, p.for_job_id, p.reason) for p in made.preemptions] == [
            (7, 1, PreemptionReason.PRIORITY)
        ]
        assert made.preemptions[0].message == (
            "Makes room for job 1 of ann (priority 5): it has the higher rank."
        )
        assert [reserve.job.id for reserve in made.reserves] == [1]
        assert waiting(made) == {1: WaitCode.WAITING_FOR_PREEMPTION}

    def test_only_as_many_stop_as_are_needed_and_the_cheapest(self) -> None:
        claims = [
            a_claim(cpu=1, job=7, preemptible=True, saved_at=at(-1000)),
            a_claim(cpu=1, job=8, preemptible=True, saved_at=at(-10)),
            a_claim(cpu=2, job=9),
        ]
        made = planned(a_job(1, cpu=1, priority=6), claims=claims)
        assert [p.job_id for p in made.preemptions] == [8], "it has the least work to lose"

    def test_whoever_turns_out_not_to_be_needed_goes_on(self) -> None:
        claims = [
            a_claim(cpu=1, job=7, preemptible=True, saved_at=T0),
            a_claim(cpu=3, job=8, preemptible=True, saved_at=at(-1000)),
        ]
        made = planned(a_job(1, cpu=3, priority=6), claims=claims)
        assert [p.job_id for p in made.preemptions] == [8]

    @pytest.mark.parametrize(
        ("spared", "policy"),
        [
            (a_claim(cpu=4, job=7), SchedulingPolicy()),
            (a_claim(cpu=4, job=7, preemptible=True, priority=6), SchedulingPolicy()),
            (a_claim(cpu=4, job=7, preemptible=True, preemptions=50), SchedulingPolicy()),
            (a_claim(cpu=4, job=7, preemptible=True, started_at=at(-59)), SchedulingPolicy()),
            (a_claim(cpu=4, job=7, preemptible=True, started_at=at(-100), preemptions=1), SchedulingPolicy()),
            (a_claim(cpu=4, job=7, preemptible=True), SchedulingPolicy(preemption=PreemptionMode.NEVER)),
        ],
        ids=[
            "did not agree to it",
            "has the higher priority",
            "made room often enough",
            "has only just begun",
            "made room before and began not long ago",
            "lives where nobody makes room",
        ],
    )
    def test_a_job_is_left_alone_that(self, spared: Claim, policy: SchedulingPolicy) -> None:
        made = planned(a_job(1, cpu=2), claims=[spared], policy=policy)
        assert made.preemptions == ()
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY}

    def test_where_the_operator_says_so_any_lower_priority_makes_room(self) -> None:
        policy = SchedulingPolicy(preemption=PreemptionMode.LOWER_PRIORITY)
        made = planned(a_job(1, cpu=2, priority=6), claims=[a_claim(cpu=4, job=7)], policy=policy)
        assert [p.job_id for p in made.preemptions] == [7]

    def test_nobody_stops_where_it_would_not_help(self) -> None:
        claims = [a_claim(cpu=2, job=7, preemptible=True), a_claim(cpu=2, job=8)]
        assert planned(a_job(1, cpu=4, priority=9), claims=claims).preemptions == ()

    def test_nobody_more_stops_while_room_is_coming(self) -> None:
        claims = [
            a_claim(cpu=2, job=7, preemptible=True, ending=True),
            a_claim(cpu=2, job=8, preemptible=True),
        ]
        made = planned(a_job(1, cpu=2), claims=claims)
        assert made.preemptions == ()
        assert waiting(made) == {1: WaitCode.WAITING_FOR_PREEMPTION}

    def test_room_is_kept_for_the_job_it_was_made_for(self) -> None:
        kept = Reservation(1, (Part("node-1", resources(4)),), until=at(60))
        queue = (a_job(1, cpu=4, submitted_s=5), a_job(2, cpu=1, priority=9, submitted_s=-60))
        assert started(planned(*queue, reservations=[kept])) == [(1, "node-1")]

    def test_and_no_longer_than_was_said(self) -> None:
        kept = Reservation(1, (Part("node-1", resources(4)),), until=T0)
        queue = (a_job(1, cpu=4, submitted_s=5), a_job(2, cpu=1, priority=9))
        assert started(planned(*queue, reservations=[kept])) == [(2, "node-1")]

    def test_a_gang_finds_room_on_several_nodes_together(self) -> None:
        nodes = [a_node("a", cpu=2), a_node("b", cpu=2)]
        claims = [a_claim(node, cpu=2, job=job, preemptible=True) for node, job in (("a", 7), ("b", 8))]
        made = planned(a_job(1, cpu=2, workers=2), nodes=nodes, claims=claims)
        assert sorted(p.job_id for p in made.preemptions) == [7, 8]


class TestBackfill:
    """Node of 4 CPUs, 3 in use for another 1,000 s; the head wants all 4."""

    NOW = at(3600)

    def run(self, *behind: QueuedJob, waited_s: float = 3600) -> Plan:
        running = a_claim(cpu=3, job=99, owner="eve", started_at=T0, expected_end=at(3600 + 1000))
        head = a_job(1, cpu=4, priority=9, owner="eve", submitted_s=3600 - waited_s)
        return plan(a_snapshot(head, *behind, claims=[running]), self.NOW)

    def test_a_job_that_will_be_gone_in_time_passes(self) -> None:
        short = a_job(2, submitted_s=3600, expected_s=100, expected_p90_s=900)
        assert started(self.run(short)) == [(2, "node-1")]

    @pytest.mark.parametrize("p90_s", [None, 1100.0], ids=["of unknown length", "that may be late"])
    def test_a_job_waits_that_would_delay_the_head(self, p90_s: float | None) -> None:
        made = self.run(a_job(2, submitted_s=3600, expected_s=100, expected_p90_s=p90_s))
        assert waiting(made) == {1: WaitCode.WAITING_FOR_CAPACITY, 2: WaitCode.WAITING_FOR_CAPACITY}
        assert "would delay job 1" in {w.job.id: w.message for w in made.waits}[2]

    def test_a_job_that_can_be_asked_to_make_room_passes(self) -> None:
        assert started(self.run(a_job(2, submitted_s=3600, preemptible=True))) == [(2, "node-1")]

    def test_a_head_that_has_only_come_is_not_protected_yet(self) -> None:
        assert started(self.run(a_job(2, submitted_s=3600), waited_s=60)) == [(2, "node-1")]

    def test_a_job_passes_where_there_will_be_room_for_both(self) -> None:
        running = a_claim(cpu=3, job=99, owner="eve", started_at=T0, expected_end=at(4600))
        head = a_job(1, cpu=3, priority=9, owner="eve")
        snapshot = a_snapshot(head, a_job(2, submitted_s=3600), claims=[running])
        assert started(plan(snapshot, self.NOW)) == [(2, "node-1")]


def test_equal_jobs_are_judged_once() -> None:
    made = planned(*(a_job(n, cpu=4) for n in range(1, 100)), nodes=[a_node(cpu=4)])
    assert [job for job, _ in started(made)] == [1]
    assert len(made.waits) == 1


def test_a_plan_does_not_change_what_it_is_made_from() -> None:
    snapshot: Snapshot = a_snapshot(*(a_job(n, cpu=1.5) for n in range(1, 6)), nodes=[a_node("a")])
    assert plan(snapshot, T0) == plan(snapshot, T0)
    assert len(snapshot.queue) == 5


def test_nodes_are_taken_in_the_same_order_whatever_order_they_come_in() -> None:
    nodes: list[Node] = [a_node("b"), a_node("a")]
    assert started(planned(a_job(1), nodes=nodes)) == started(planned(a_job(1), nodes=nodes[::-1]))
