"""Compute is paid for before it runs: admission takes the money, the launcher renews, the end settles."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from gaelp_ray.domain.attempts import Attempt
from gaelp_ray.domain.costs import Terms
from gaelp_ray.domain.errors import BudgetExceeded, GaelpError, Halted, InvalidInput
from gaelp_ray.domain.forecast import Forecast
from gaelp_ray.domain.jobs import EndCause, Job, JobState, NewJob
from gaelp_ray.domain.ledger import Money, NewAccount, Scope
from gaelp_ray.domain.prices import PriceTable
from gaelp_ray.domain.quotas import QuotaKind
from gaelp_ray.domain.scheduling import WaitCode, plan
from gaelp_ray.domain.switches import EVERYTHING
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import accounts, costs, launching, ledger, statements, submissions, switches
from gaelp_ray.services import attempts as attempt_service
from gaelp_ray.store import attempts as attempt_store
from gaelp_ray.store.engine import Store
from tests.builders import ADMIN, ANN, LAUNCHER, World

#: A core costs 36 an hour, a second 0.01; a slice of 50 s with its notice of 10 s 0.6.
TERMS = Terms(
    PriceTable("USD", 36_000_000, 0, {"*": 0}), slice=timedelta(seconds=50), notice=timedelta(seconds=10)
)
CENT = 10_000


@pytest.fixture
def world(store: Store) -> World:
    world = World(store)
    world.register()
    world.terms = TERMS
    world.defaults = replace(world.defaults, terms=TERMS)
    return world


def payer(world: World, scope: Scope = Scope.USER, subject: str = "ann") -> int:
    new = NewAccount(scope, subject, "USD", Money.REAL)
    return world.store.transact(accounts.open_account, new, now=world.now).id


def limit(world: World, account: int, micros: int | None, period: Period = Period.TOTAL) -> None:
    world.store.transact(accounts.set_limit, account, period, micros, now=world.now)


def used(world: World, account: int) -> tuple[int, int]:
    usage = next(
        u for u in world.store.read(accounts.usages, account, now=world.now) if u.period is Period.TOTAL
    )
    return usage.pending_micros, usage.posted_micros


def renew(world: World, *attempts: Attempt) -> dict[int, datetime | GaelpError]:
    ids = [attempt.id for attempt in attempts]
    return world.store.transact(costs.renew, ids, terms=TERMS, now=world.now)


def running(world: World, job: Job | None = None) -> Attempt:
    job = job or world.submit()
    world.tick()
    world.carry_out()
    [attempt] = world.attempts(job)
    assert world.claim(attempt)
    return attempt


def proven(world: World) -> list[object]:
    return list(world.store.read(statements.reconcile, now=world.now))


def test_admission_holds_the_first_slice_and_the_end_books_what_ran(world: World) -> None:
    job = world.submit()
    account = payer(world)
    attempt = running(world, job)
    assert used(world, account) == (60 * CENT, 0)
    world.wait(7.5)
    world.finish(attempt, EndCause.SUCCESS)
    assert used(world, account) == (0, 75_000)
    assert world.job(job).cost_micros == 75_000
    assert [each.cost_micros for each in world.attempts(job)] == [75_000]
    assert proven(world) == []


def test_an_attempt_that_never_ran_costs_nothing(world: World) -> None:
    job = world.submit()
    account = payer(world)
    world.tick()
    [attempt] = world.attempts(job)
    world.wait(30)
    world.finish(attempt, EndCause.NODE_LOST)
    assert used(world, account) == (0, 0)


def test_a_launcher_learns_until_when_an_attempt_is_paid_for(world: World) -> None:
    world.submit()
    world.tick()
    [order] = world.store.read(launching.take_orders, LAUNCHER, stop_grace_s=5.0, now=world.now).launches
    assert order.paid_until == world.now + timedelta(seconds=60)


def test_slices_follow_each_other_and_add_up(world: World) -> None:
    attempt = running(world)
    account = payer(world)
    for _ in range(3):
        world.wait(45)
        assert renew(world, attempt) == {attempt.id: world.now + timedelta(seconds=60)}
        assert used(world, account)[0] == 60 * CENT
    assert used(world, account)[1] == 135 * CENT
    world.wait(10)
    world.finish(attempt, EndCause.SUCCESS)
    assert used(world, account) == (0, 145 * CENT)
    assert world.job(attempt.job_id).cost_micros == 145 * CENT
    assert proven(world) == []


def test_a_renewal_that_is_refused_changes_nothing_and_may_be_asked_again(world: World) -> None:
    attempt = running(world)
    account = payer(world)
    limit(world, account, 60 * CENT)
    world.wait(45)
    refused = renew(world, attempt)[attempt.id]
    assert isinstance(refused, BudgetExceeded)
    assert used(world, account) == (60 * CENT, 0), "it may still take its notice"
    limit(world, account, 200 * CENT)
    assert isinstance(renew(world, attempt)[attempt.id], datetime)
    world.wait(5)
    world.finish(attempt, EndCause.BUDGET)
    assert used(world, account) == (0, 50 * CENT)


def test_the_last_slice_is_as_long_as_there_is_money_for(world: World) -> None:
    attempt = running(world)
    account = payer(world)
    world.wait(45)
    limit(world, account, 45 * CENT + 35 * CENT)
    assert renew(world, attempt) == {attempt.id: world.now + timedelta(seconds=35)}, "half of one"
    assert used(world, account) == (35 * CENT, 45 * CENT)


def test_a_job_whose_budget_is_used_up_waits_and_starts_when_it_is_raised(world: World) -> None:
    job = world.submit()
    account = payer(world)
    limit(world, account, 5 * CENT)
    assert world.tick().started == frozenset()
    waits = world.job(job)
    assert waits.wait_code == WaitCode.BUDGET_EXCEEDED
    assert "budget of user ann has 0.05 of 0.05 in all left" in (waits.wait_message or "")
    limit(world, account, 500 * CENT)
    assert world.tick().started == {job.id}


def test_money_that_was_taken_since_the_plan_was_made_drops_the_start(world: World) -> None:
    job = world.submit()
    account = payer(world)
    limit(world, account, 60 * CENT)
    lease = world.lead()
    seen = world.look()
    decided = plan(seen, world.now)
    limit(world, account, 59 * CENT)
    applied = world.apply(decided, seen, lease)
    assert (applied.started, applied.dropped) == (frozenset(), {job.id})
    assert world.job(job).state is JobState.QUEUED
    assert used(world, account) == (0, 0)


def test_a_job_that_changed_since_the_plan_gives_its_money_back(world: World) -> None:
    job = world.submit()
    account = payer(world)
    lease = world.lead()
    seen = world.look()
    decided = plan(seen, world.now)
    world.cancel(job)
    applied = world.apply(decided, seen, lease)
    assert (applied.started, applied.dropped) == (frozenset(), {job.id})
    assert used(world, account) == (0, 0)
    assert proven(world) == []


def test_the_team_and_everything_pay_too(world: World) -> None:
    world.quota("ads", kind=QuotaKind.TEAM)
    world.quota("ann", team="ads")
    agent = world.agent()
    mine, team, all_of_it = payer(world), payer(world, Scope.TEAM, "ads"), payer(world, Scope.GLOBAL, "")
    attempt = running(world, world.submit(agent))
    assert [used(world, each) for each in (mine, team, all_of_it)] == [(60 * CENT, 0)] * 3
    world.wait(2)
    world.finish(attempt, EndCause.SUCCESS)
    assert [used(world, each) for each in (mine, team, all_of_it)] == [(0, 2 * CENT)] * 3


def test_a_kill_switch_stops_starts_and_renewals_until_it_is_released(world: World) -> None:
    attempt = running(world)
    waits = world.submit()
    world.store.transact(switches.engage, EVERYTHING, reason="stop", by=ADMIN, now=world.now)
    assert world.tick().started == frozenset()
    assert world.job(waits).wait_code == WaitCode.DEACTIVATED
    assert isinstance(renew(world, attempt)[attempt.id], Halted)
    world.store.transact(switches.release, EVERYTHING, reason="go", by=ADMIN, now=world.now)
    assert world.tick().started == {waits.id}
    assert isinstance(renew(world, attempt)[attempt.id], datetime)


def test_a_slice_that_ran_out_counts_as_spent_until_the_end_is_known(world: World) -> None:
    attempt = running(world)
    account = payer(world)
    world.wait(61)
    assert world.store.transact(ledger.expire_due, now=world.now) == 1
    assert used(world, account) == (0, 60 * CENT)
    world.wait(3600)
    world.store.transact(
        attempt_service.lose, [attempt.id], why="its launcher died", policy=world.policy, now=world.now
    )
    assert used(world, account)[0] == 0
    assert proven(world) == []


def test_an_attempt_ends_once_and_is_booked_once(world: World) -> None:
    attempt = running(world)
    account = payer(world)
    world.wait(10)
    assert world.finish(attempt, EndCause.SUCCESS) is JobState.SUCCEEDED
    world.wait(10)
    assert world.finish(attempt, EndCause.NODE_LOST) is None
    assert used(world, account) == (0, 10 * CENT)
    assert renew(world, attempt) == {}, "what has ended is not renewed"


def test_a_forecast_is_kept_with_the_job_and_told_where_it_may_be_too_much(world: World) -> None:
    agent = world.agent()
    limit(world, payer(world), 3_000 * CENT)
    cheap = world.submit(agent, expected_duration_s=60.0, timeout_s=120.0)
    assert (cheap.expected_cost_micros, cheap.expected_p90_cost_micros) == (60 * CENT, 120 * CENT)
    assert cheap.notices == ()
    dear = world.submit(agent, timeout_s=3600.0)
    assert dear.expected_cost_micros is None
    [notice] = dear.notices
    assert notice == (
        "It may cost 36 USD (90th percentile), and the budget of user ann has 30 of 30 in all left."
    )


def test_where_it_is_so_ordered_a_dear_job_is_refused_and_nothing_is_stored(world: World) -> None:
    world.defaults = replace(world.defaults, refuses_dear_jobs=True)
    agent = world.agent()
    limit(world, payer(world), 100 * CENT)
    with pytest.raises(BudgetExceeded, match=r"It may cost 1\.2 USD"):
        world.submit(agent, timeout_s=120.0)
    assert world.submit(agent, timeout_s=100.0).state is JobState.QUEUED


def test_an_edit_makes_the_whole_forecast_anew(world: World) -> None:
    agent = world.agent()
    limit(world, payer(world), 3_000 * CENT)
    job = world.submit(agent, expected_duration_s=60.0)
    assert (job.expected_cost_micros, job.expected_p90_cost_micros, job.notices) == (60 * CENT, None, ())
    dear = world.edit(job, expected_duration_s=36_000.0)
    assert (dear.expected_s, dear.expected_cost_micros) == (36_000.0, 36_000 * CENT)
    assert dear.notices == (
        "It may cost 360 USD (expected), and the budget of user ann has 30 of 30 in all left.",
    )
    bounded = world.edit(job, timeout_s=120.0)
    assert (bounded.expected_cost_micros, bounded.expected_p90_cost_micros) == (120 * CENT, 120 * CENT)
    assert bounded.notices == (), "what is no longer true is no longer said"
    assert world.edit(job, cleared=frozenset({"timeout_s"})).notices == dear.notices
    nothing = world.edit(job, cleared=frozenset({"expected_duration_s"}))
    assert (nothing.expected_s, nothing.expected_cost_micros, nothing.notices) == (None, None, ())


def test_submit_edit_and_dry_run_make_one_forecast(world: World) -> None:
    agent = world.agent()
    for seconds in (100, 300, 200):
        attempt = running(world, world.submit(agent))
        world.wait(seconds)
        world.finish(attempt, EndCause.SUCCESS)
    job = world.submit(agent)
    for guess in (50.0, 250.0, 9_000.0):
        new = NewJob(agent.id, "job", expected_duration_s=guess)
        drafted = world.store.read(
            submissions.draft, new, by=ANN, now=world.now, defaults=world.defaults
        ).forecast
        fresh, edited = (
            world.submit(agent, expected_duration_s=guess),
            world.edit(job, expected_duration_s=guess),
        )
        for made in (fresh, edited):
            assert drafted == Forecast(
                made.expected_s,
                made.expected_p90_s,
                made.expected_cost_micros,
                made.expected_p90_cost_micros,
            )
        assert drafted.expected_p90_s == max(guess, 280)
    cleared = world.edit(job, cleared=frozenset({"expected_duration_s"}))
    assert (cleared.expected_s, cleared.expected_p90_s) == (200, 280)


def test_where_dear_jobs_are_refused_so_is_an_edit_that_makes_one(world: World) -> None:
    world.defaults = replace(world.defaults, refuses_dear_jobs=True)
    limit(world, payer(world), 100 * CENT)
    job = world.submit(expected_duration_s=90.0)
    for change in ({"expected_duration_s": 101.0}, {"expected_duration_s": 1e8, "timeout_s": 101.0}):
        with pytest.raises(BudgetExceeded, match="It may cost"):
            world.edit(job, **change)
        assert world.job(job) == job, "a refusal changes nothing"
    assert world.edit(job, expected_duration_s=100.0).expected_s == 100.0
    assert world.edit(job, priority=9).priority == 9
    limit(world, payer(world), 10 * CENT)
    assert world.edit(job, expected_duration_s=50.0).expected_s == 50.0, "it becomes cheaper"


def test_a_gpu_without_a_price_is_refused_at_submit(world: World) -> None:
    world.defaults = replace(world.defaults, terms=Terms(PriceTable("USD", 1, 1, {"A100": 1})))
    selector = {"ray.io/accelerator-type": "B300"}
    with pytest.raises(InvalidInput, match="no price; priced are A100"):
        world.submit(resources={"gpu": 1}, label_selector=selector)


def test_a_live_attempt_without_its_money_is_found(world: World) -> None:
    attempt = running(world)

    def rob(tx: Connection) -> None:
        attempt_store.book_cost(tx, attempt.id, 0, slices=7)

    world.store.transact(rob)
    [difference] = world.store.read(statements.reconcile, now=world.now)
    assert (difference.kind, difference.subject) == ("attempt", str(attempt.id))
