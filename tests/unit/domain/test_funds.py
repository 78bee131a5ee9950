"""A plan starts nothing that cannot be paid for, and says whose budget is short."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.ledger import Scope
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.scheduling import Blocked, Plan, QueuedJob, WaitCode, plan
from gaelp_ray.domain.scheduling.funds import Fund, Funds, Payer
from gaelp_ray.domain.switches import EVERYTHING, Switch, SwitchScope, Target
from gaelp_ray.domain.windows import Period
from tests.builders import T0, a_job, a_node, a_snapshot

#: An hour of a core costs 36, a slice of 50 s with its notice of 10 s 0.6, an eighth of one 0.1625.
TERMS = Terms(PriceTable("EUR", 36_000_000, 0), slice=timedelta(seconds=50), notice=timedelta(seconds=10))


def funds(**left: float) -> Funds:
    limited: dict[Payer, Fund] = {}
    for name, units in left.items():
        scope, _, subject = name.partition("_")
        micros = round(units * 1_000_000)
        limited[Scope(scope.replace("everything", "global")), subject] = Fund(micros, micros, Period.DAY)
    return Funds(TERMS, limited)


def planned(*jobs: QueuedJob, given: Funds) -> Plan:
    return plan(a_snapshot(*jobs, nodes=[a_node(cpu=64, memory_gib=256)], funds=given), T0)


def started(made: Plan) -> list[tuple[int, int]]:
    return [(start.job.id, start.share) for start in made.starts]


def test_what_nothing_limits_starts_with_a_whole_slice() -> None:
    assert started(planned(a_job(1), a_job(2), given=funds())) == [(1, 1), (2, 1)]
    assert started(planned(a_job(1), given=Funds())) == [(1, 1)]


def test_a_budget_pays_for_as_many_starts_as_it_can_and_the_rest_waits() -> None:
    made = planned(*(a_job(i, submitted_s=i) for i in range(1, 6)), given=funds(user_ann=1.4))
    assert started(made) == [(1, 1), (2, 1), (3, 8)], "the third with what is left, a shorter slice"
    [wait] = made.waits
    assert (wait.job.id, wait.code) == (4, WaitCode.BUDGET_EXCEEDED)
    assert wait.message == (
        "The budget of user ann has 0.0375 of 1.4 of this day left, and the least that it takes to begin is "
        "0.1625."
    )


@pytest.mark.parametrize("short", ["user_ann", "team_ads", "everything"])
def test_every_budget_must_pay(short: str) -> None:
    made = planned(
        a_job(1, team="ads"),
        a_job(2, owner="bob", team="web"),
        given=funds(**{"user_ann": 9, "team_ads": 9, "everything": 9, "user_bob": 9} | {short: 0.1}),
    )
    expected = [] if short == "everything" else [(2, 1)]
    assert started(made) == expected
    assert {wait.code for wait in made.waits} == {WaitCode.BUDGET_EXCEEDED}


def test_a_gpu_without_a_price_waits_and_never_runs_for_free() -> None:
    made = plan(a_snapshot(a_job(1, gpu=1), nodes=[a_node(gpu=1)], funds=funds()), T0)
    assert [wait.code for wait in made.waits] == [WaitCode.BUDGET_UNVERIFIABLE]
    assert "no price" in made.waits[0].message


@pytest.mark.parametrize(
    ("target", "waits"),
    [
        (Target(SwitchScope.AGENT, "1"), [1]),
        (Target(SwitchScope.USER, "bob"), [2]),
        (Target(SwitchScope.CAMPAIGN, "spring"), []),
        (EVERYTHING, [1, 2]),
    ],
)
def test_a_kill_switch_keeps_jobs_from_starting(target: Target, waits: list[int]) -> None:
    switch = Switch(target, True, "it overspends", "root", T0)
    jobs = a_job(1), a_job(2, owner="bob", agent=2)
    made = plan(a_snapshot(*jobs, switches=(switch,)), T0)
    assert sorted(wait.job.id for wait in made.waits) == waits
    assert {wait.code for wait in made.waits} <= {WaitCode.DEACTIVATED}
    assert all("it overspends" in wait.message for wait in made.waits)


def test_a_version_that_may_not_spend_real_money_waits_for_approval() -> None:
    unready = {5: Blocked(WaitCode.APPROVAL_REQUIRED, "not promoted")}
    jobs = a_job(1, real_version=5), a_job(2, agent=2, real_version=6), a_job(3, agent=3)
    jobs = tuple(replace(job, lane=f"{job.id}") for job in jobs)  # type: ignore[assignment]
    made = plan(a_snapshot(*jobs, unready=unready), T0)
    assert sorted(start.job.id for start in made.starts) == [2, 3]
    assert [(wait.job.id, wait.code) for wait in made.waits] == [(1, WaitCode.APPROVAL_REQUIRED)]
