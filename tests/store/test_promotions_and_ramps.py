"""A version earns the right to spend real money, begins with a little of it, and loses it by itself."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.actors.budget_guard import BudgetGuard
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentStatus, AgentType
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.errors import Conflict, Forbidden, InvalidInput, NotEligible, NotFound
from gaelp_ray.domain.jobs import NewJob
from gaelp_ray.domain.ledger import Hold, Money, Scope
from gaelp_ray.domain.metrics import MetricPoint
from gaelp_ray.domain.promotion import Evidence, EvidenceSource
from gaelp_ray.domain.ramps import Bar, RampState, Stage, Watch
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.safety.verdicts import Action
from gaelp_ray.domain.switches import EVERYTHING, SwitchScope, Target
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import (
    agents,
    approvals,
    audit,
    budgets,
    metrics,
    policies,
    promotions,
    ramps,
    reviews,
    roles,
    submissions,
    switches,
)
from gaelp_ray.services.promotions import NamedRuns
from gaelp_ray.services.reviews import Reported
from gaelp_ray.store.engine import Store
from gaelp_ray.store.ramps import StoredRamp
from tests import evidence
from tests.bank import Bank, a_hold
from tests.builders import ADMIN, ANN, BOB, T0, a_version, an_agent, at_once

SECOND, HOUR, DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
STAGES = (Stage(10, HOUR), Stage(50, HOUR), Stage(100, HOUR))
WATCH = Watch("profit", Bar(min_samples=2, min_value=1.0))
ROOT2 = Principal("root2", admin=True)


class Launch(Bank):
    def __init__(self, store: Store) -> None:
        super().__init__(store)
        new = replace(an_agent(), type=AgentType.REAL_DEPLOYMENT)
        self.agent = store.transact(agents.register, new, currency="USD", by=ANN, now=T0)
        self.old = self.agent.current.id
        self.new = store.transact(agents.add_version, self.agent.id, a_version("2.0.0"), by=ANN, now=T0).id
        store.transact(agents.roll_back, self.agent.id, "1.0.0", by=ANN, now=T0)
        self.account = self.open(scope=Scope.AGENT, subject=str(self.agent.id), money=Money.REAL)

    def record(self, *, recorder: Principal | None = None, **result: Any) -> Evidence:
        return evidence.record(self.store, self.agent.id, self.new, now=self.now, recorder=recorder, **result)

    def approve(self, *voters: Principal, asks: Principal = ANN) -> int:
        new = NewApproval(purpose=Purpose.PROMOTION, subject=f"version {self.new}", reason="good", ttl=DAY)
        given = voters or (ADMIN, ROOT2)
        return evidence.approved(self.store, new, now=self.now, asks=asks, voters=given).id

    def promote(self, *, by: Principal = ANN) -> Any:
        return self.store.transact(promotions.promote, self.new, by=by, now=self.now)

    def start(self, *, by: Principal = ADMIN, **fields: Any) -> StoredRamp:
        given = {"version_id": self.new, "account_id": self.account, "full_day_micros": 1000} | fields
        return self.store.transact(ramps.start, **given, stages=STAGES, watch=WATCH, by=by, now=self.now)

    def report(self, *values: float, metric: str = "profit") -> None:
        """Values after the moment at which a stage may have begun."""
        self.wait(timedelta(seconds=1))
        for value in values:
            given: dict[str, Any] = {"by": ANN, "now": self.now}
            self.store.transact(metrics.record_external, self.agent.id, {metric: value}, **given)

    def advance(self, ramp: StoredRamp, *values: float) -> tuple[str, int | None]:
        self.report(*values)
        moved = self.store.transact(ramps.advance, ramp.id, now=self.now)
        return str(moved.ramp.state), self.usage(self.account, Period.DAY).limit_micros

    def current(self) -> int:
        return self.store.read(agents.get, self.agent.id, by=ANN).current.id


@pytest.fixture
def launch(store: Store) -> Launch:
    return Launch(store)


@pytest.fixture
def promoted(launch: Launch) -> Launch:
    launch.record()
    launch.approve()
    launch.promote()
    return launch


def test_the_gate_is_shut_until_evidence_and_approvals_are_there(launch: Launch) -> None:
    def missing() -> list[str]:
        return launch.store.read(promotions.missing, launch.new, by=ANN, now=launch.now)

    assert missing() == ["There is no evidence of it."]
    with pytest.raises(NotEligible, match="no evidence"):
        launch.promote()
    launch.record(days=3, lower=-1.0)
    assert len(missing()) == 2
    with pytest.raises(NotEligible, match="3 seeds") as refused:
        launch.promote()
    assert len(refused.value.details["missing"]) == 2
    best = launch.record(days=10)
    launch.record(days=4)
    assert missing() == []
    with pytest.raises(NotEligible, match="approval of 2 people"):
        launch.promote()
    approval = launch.approve()
    assert launch.promote().id == approval
    assert launch.promote() is None, "once is enough"
    launch.store.read(promotions.require_promoted, launch.new)
    record = launch.store.read(audit.page, by=ADMIN, action="version.promote", limit=9)[0].record
    assert (record.actor, record.after) == ("ann", f'{{"approval_id":{approval},"evidence_id":{best.id}}}')
    assert [each.seeds for each in launch.store.read(promotions.evidence, launch.new, by=ANN)] == [4, 10, 3]


def test_a_version_says_where_it_stands(launch: Launch) -> None:
    def standing() -> tuple[bool, int, int, bool]:
        found = launch.store.read(promotions.standing, launch.new, by=ANN, now=launch.now)
        return found.promoted, len(found.missing), found.people, found.approved

    assert standing() == (False, 1, 2, False)
    launch.record()
    assert standing() == (False, 0, 2, False)
    launch.approve()
    assert standing() == (False, 0, 2, True)
    launch.promote()
    assert standing() == (True, 0, 2, False), "the approval is used up"
    with pytest.raises(NotFound):
        launch.store.read(promotions.standing, launch.new, by=BOB, now=launch.now)


def test_a_policy_may_ask_for_more_or_for_nobody(launch: Launch) -> None:
    document = {"rules": [{"rule": "required_evidence", "min_seeds": 50, "approvals": 0}]}
    launch.store.transact(policies.write, "gate", document, by=ADMIN, now=launch.now)
    place = Attachment(Attach.TYPE, "real_deployment")
    launch.store.transact(policies.attach, "gate", None, place, by=ADMIN, now=launch.now)
    launch.record()
    with pytest.raises(NotEligible, match="50 are needed"):
        launch.promote()
    launch.record(days=50)
    assert launch.promote() is None
    launch.store.read(promotions.require_promoted, launch.new)


def test_evidence_is_for_those_who_may_see_the_agent(launch: Launch) -> None:
    with pytest.raises(NotFound):
        launch.promote(by=BOB)
    with pytest.raises(NotFound):
        launch.record(recorder=BOB)


def test_a_ramp_needs_a_promoted_version_an_operator_and_the_agents_account(launch: Launch) -> None:
    with pytest.raises(NotEligible, match="not promoted"):
        launch.start()
    launch.record()
    launch.approve()
    launch.promote()
    with pytest.raises(Forbidden, match="operator"):
        launch.start(by=ANN)
    with pytest.raises(InvalidInput, match="not an account of real money"):
        launch.start(account_id=launch.open(money=Money.REAL))
    with pytest.raises(InvalidInput, match="full_day_micros"):
        launch.start(full_day_micros=0)
    assert launch.current() == launch.old
    launch.start()
    assert launch.current() == launch.new
    with pytest.raises(Conflict):
        launch.start()


def test_spend_goes_up_stage_by_stage(promoted: Launch) -> None:
    ramp = promoted.start()
    assert promoted.usage(promoted.account, Period.DAY).limit_micros == 100
    steps = []
    for values in ((9, 9), (9,), (9, 9), (9, 9)):
        promoted.wait(HOUR)
        steps.append(promoted.advance(ramp, *values))
    assert steps == [("ramping", 500), ("ramping", 500), ("ramping", 1000), ("full", 1000)]
    assert promoted.store.read(ramps.live) == []
    actions = [e.record.action for e in promoted.store.read(audit.page, by=ADMIN, limit=99)]
    assert [a for a in actions if a.startswith("ramp")] == [
        "ramp.start", "ramp.ramping", "ramp.ramping", "ramp.full",
    ]  # fmt: skip


def test_bad_values_roll_it_back_at_once(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)
    assert promoted.advance(ramp, 0, 0) == ("rolled_back", 0)
    assert promoted.current() == promoted.old
    assert "median" in promoted.store.read(ramps.get, ramp.id).ramp.reason
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)
    assert promoted.start().ramp.state is RampState.CANARY, "and another may begin"


def test_a_halt_by_a_policy_rolls_it_back(promoted: Launch) -> None:
    ramp = promoted.start()
    document = {"currency": "EUR", "rules": [{"rule": "drawdown", "max_micros": 5}]}
    promoted.store.transact(policies.write, "stop", document, by=ADMIN, now=promoted.now)
    place = Attachment(Attach.GLOBAL)
    promoted.store.transact(policies.attach, "stop", None, place, by=ADMIN, now=promoted.now)
    action = Action(agent_id=promoted.agent.id, currency="EUR", amount_micros=10)
    hold: Hold = a_hold("h", promoted.account)
    facts = Reported(profit_micros=0, peak_profit_micros=9)
    promoted.store.transact(reviews.admit, action, hold, reported=facts, now=promoted.now)
    target = Target(SwitchScope.AGENT, str(promoted.agent.id))
    promoted.store.transact(switches.release, target, reason="r", by=ADMIN, now=promoted.now)
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)


def test_an_engaged_switch_rolls_back_its_agent_and_pauses_the_others(promoted: Launch) -> None:
    ramp = promoted.start()
    move = {"reason": "r", "by": ADMIN, "now": promoted.now}
    promoted.store.transact(switches.engage, EVERYTHING, **move)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("canary", 100)
    assert promoted.advance(ramp, 0, 0) == ("canary", 100)
    promoted.store.transact(switches.release, EVERYTHING, **move)
    target = Target(SwitchScope.AGENT, str(promoted.agent.id))
    promoted.store.transact(switches.engage, target, **move)
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)


def test_an_operator_rolls_it_back_by_hand(promoted: Launch) -> None:
    ramp = promoted.start()
    given: dict[str, Any] = {"reason": "I saw it", "now": promoted.now}
    with pytest.raises(Forbidden):
        promoted.store.transact(ramps.roll_back, ramp.id, by=ANN, **given)
    promoted.store.transact(ramps.roll_back, ramp.id, by=ADMIN, **given)
    assert (promoted.current(), promoted.usage(promoted.account, Period.DAY).limit_micros) == (
        promoted.old,
        0,
    )
    with pytest.raises(Conflict, match="only a live one"):
        promoted.store.transact(ramps.roll_back, ramp.id, by=ADMIN, **given)
    with pytest.raises(NotFound):
        promoted.store.transact(ramps.roll_back, 99, by=ADMIN, **given)


def test_only_values_of_the_watched_metric_since_the_stage_began_count(promoted: Launch) -> None:
    promoted.report(0, 0, 0)
    ramp = promoted.start()
    promoted.report(0, 0, metric="loss")
    stale: dict[str, Any] = {"by": ANN, "now": promoted.now, "at": promoted.now - HOUR}
    promoted.store.transact(metrics.record_external, promoted.agent.id, {"profit": 0.0}, **stale)
    assert promoted.advance(ramp) == ("canary", 100)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)
    assert promoted.advance(ramp, 0) == ("ramping", 500), "one value of two, those of the canary are gone"


def test_values_that_jobs_report_count_too(promoted: Launch) -> None:
    ramp = promoted.start()
    points = [
        MetricPoint(promoted.agent.id, promoted.now + SECOND, {"profit": 0.0, "step": 1.0}, job_id=1, step=n)
        for n in range(2)
    ]
    promoted.store.transact(metrics.store, points)
    assert promoted.advance(ramp) == ("rolled_back", 0)


def test_a_ramp_remembers_what_watches_over_it(promoted: Launch) -> None:
    ramp = promoted.start()
    assert promoted.store.read(ramps.get, ramp.id, by=ADMIN).watch == WATCH
    for bad in ((0, 1.0), (2, math.nan), (2, math.inf), (True, 1.0), (10**9, 1.0)):
        with pytest.raises(InvalidInput):
            Bar(*bad)
    with pytest.raises(InvalidInput, match="metric name"):
        Watch("no name", Bar(1, 0.0))


def test_ramps_are_seen_by_owners_and_by_who_has_a_role(promoted: Launch) -> None:
    first = promoted.start()
    promoted.advance(first, 0, 0)
    second = promoted.start()
    for by in (ANN, ADMIN):
        assert [each.id for each in promoted.store.read(ramps.live, by=by)] == [second.id]
        found = promoted.store.read(ramps.of_agent, promoted.agent.id, by=by, limit=9)
        assert [each.id for each in found] == [second.id, first.id]
    assert promoted.store.read(ramps.live, by=BOB) == []
    with pytest.raises(NotFound):
        promoted.store.read(ramps.get, first.id, by=BOB)
    older = promoted.store.read(ramps.of_agent, promoted.agent.id, by=ANN, before=second.id, limit=9)
    assert [each.id for each in older] == [first.id]


def test_the_first_guard_rolls_a_sick_ramp_back_by_itself(promoted: Launch, database_url: str) -> None:
    ramp = promoted.start()
    promoted.report(0, 0)

    def state() -> str:
        return str(promoted.store.read(ramps.get, ramp.id).ramp.state)

    async def watch() -> None:
        guard = BudgetGuard.__new__(BudgetGuard)
        await guard.__init__(Settings(database_url=database_url), shard=0)  # type: ignore[misc]
        try:
            async with asyncio.timeout(30):
                while await asyncio.to_thread(state) != "rolled_back":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            for loop in guard._loops:
                loop.cancel()
            await asyncio.gather(*guard._loops, return_exceptions=True)
            guard._runtime.store.close()

    asyncio.run(watch())
    assert promoted.current() == promoted.old
    assert promoted.usage(promoted.account, Period.DAY).limit_micros == 0
    record = promoted.store.read(audit.page, by=ADMIN, action="ramp.rolled_back", limit=9)[0].record
    assert (record.actor, record.subject) == ("system", f"ramp {ramp.id}")


def test_a_limit_set_by_hand_caps_the_ramp(promoted: Launch) -> None:
    ramp = promoted.start()

    def by_hand(limit: int | None, *, by: Principal = ANN) -> None:
        promoted.store.transact(
            budgets.set_limit, promoted.account, Period.DAY, limit, by=by, now=promoted.now
        )

    by_hand(30)
    steps = []
    for _ in range(2):
        promoted.wait(HOUR)
        steps.append(promoted.advance(ramp, 9, 9))
    assert steps == [("ramping", 30), ("ramping", 30)], "no stage goes past it"
    stored = promoted.store.read(ramps.get, ramp.id)
    assert (stored.ramp.cap_micros, stored.ramp.day_micros) == (30, 30)
    with pytest.raises(NotEligible):
        by_hand(31)
    by_hand(10)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("full", 10)


def test_a_hand_that_sets_what_the_ramp_had_set_caps_it_too(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.store.transact(budgets.set_limit, promoted.account, Period.DAY, 100, by=ANN, now=promoted.now)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 100)


def test_a_rollback_goes_below_a_limit_set_by_hand(promoted: Launch) -> None:
    ramp = promoted.start()
    given: dict[str, Any] = {"by": ADMIN, "now": promoted.now}
    promoted.store.transact(budgets.set_limit, promoted.account, Period.DAY, 5000, **given)
    assert promoted.advance(ramp, 0, 0) == ("rolled_back", 0)


def test_limits_of_other_periods_and_accounts_do_not_move_a_ramp(promoted: Launch) -> None:
    ramp = promoted.start()
    other = promoted.open(money=Money.REAL)
    given: dict[str, Any] = {"by": ADMIN, "now": promoted.now}
    promoted.store.transact(budgets.set_limit, promoted.account, Period.WEEK, 1, **given)
    promoted.store.transact(budgets.set_limit, other, Period.DAY, 1, **given)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)


@pytest.mark.parametrize("ahead", [timedelta(minutes=6), timedelta(days=30)], ids=str)
def test_values_of_the_future_are_refused(promoted: Launch, ahead: timedelta) -> None:
    given: dict[str, Any] = {"by": ANN, "now": promoted.now, "at": promoted.now + ahead}
    with pytest.raises(InvalidInput, match="lies in the future"):
        promoted.store.transact(metrics.record_external, promoted.agent.id, {"profit": 9.0}, **given)
    assert (
        promoted.store.read(
            metrics.page, promoted.agent.id, by=ANN, job_id=None, since=None, before=None, limit=9
        )
        == []
    )


def test_a_value_that_is_dated_a_moment_ahead_counts_once_it_is_measured(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.wait(SECOND)
    given: dict[str, Any] = {"by": ANN, "now": promoted.now, "at": promoted.now + timedelta(minutes=4)}
    for _ in range(2):
        promoted.store.transact(metrics.record_external, promoted.agent.id, {"profit": 0.0}, **given)
    assert promoted.advance(ramp) == ("canary", 100)
    promoted.wait(timedelta(minutes=4))
    assert promoted.advance(ramp) == ("rolled_back", 0)


def test_a_value_counts_in_the_stage_in_which_it_was_measured_and_received(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.wait(HOUR)
    ahead: dict[str, Any] = {"by": ANN, "now": promoted.now, "at": promoted.now + timedelta(minutes=4)}
    for _ in range(2):
        promoted.store.transact(metrics.record_external, promoted.agent.id, {"profit": 0.0}, **ahead)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)
    promoted.wait(timedelta(minutes=5))
    assert promoted.advance(ramp) == ("ramping", 500), "it was received in the stage before"
    late: dict[str, Any] = {"by": ANN, "now": promoted.now, "at": promoted.now - timedelta(minutes=10)}
    for _ in range(2):
        promoted.store.transact(metrics.record_external, promoted.agent.id, {"profit": 0.0}, **late)
    assert promoted.advance(ramp) == ("ramping", 500), "it was measured in the stage before"


def test_a_switch_that_was_released_between_two_looks_rolls_its_agent_back(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.wait(SECOND)
    target = Target(SwitchScope.AGENT, str(promoted.agent.id))
    for move in (switches.engage, switches.release):
        promoted.store.transact(move, target, reason="it bids on itself", by=ADMIN, now=promoted.now)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)
    assert "was engaged" in promoted.store.read(ramps.get, ramp.id).ramp.reason


def test_a_switch_that_was_released_before_the_ramp_began_does_not(promoted: Launch) -> None:
    target = Target(SwitchScope.AGENT, str(promoted.agent.id))
    for move in (switches.engage, switches.release):
        promoted.store.transact(move, target, reason="r", by=ADMIN, now=promoted.now)
    promoted.wait(SECOND)
    ramp = promoted.start()
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)


@pytest.mark.parametrize("target", [EVERYTHING, Target(SwitchScope.USER, "ann")], ids=str)
def test_a_stop_of_more_than_the_agent_begins_the_stage_anew(promoted: Launch, target: Target) -> None:
    ramp = promoted.start()
    promoted.wait(HOUR - timedelta(minutes=1))
    promoted.report(9, 9)
    for move in (switches.engage, switches.release):
        promoted.store.transact(move, target, reason="r", by=ADMIN, now=promoted.now)
    promoted.wait(timedelta(minutes=2))
    assert promoted.advance(ramp) == ("canary", 100), "an hour has passed, and none of it counts"
    promoted.wait(HOUR - timedelta(minutes=1))
    assert promoted.advance(ramp, 9, 9) == ("canary", 100)
    promoted.wait(timedelta(minutes=2))
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)
    actions = [e.record.action for e in promoted.store.read(audit.page, by=ADMIN, limit=99)]
    assert actions.count("ramp.stage_anew") == 1


def test_a_ramp_ends_when_another_version_is_made_current(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.store.transact(agents.roll_back, promoted.agent.id, "1.0.0", by=ANN, now=promoted.now)
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)
    assert promoted.current() == promoted.old


@pytest.mark.parametrize("who", ["owner", "recorder"])
def test_who_has_a_stake_in_a_promotion_has_no_vote_on_it(launch: Launch, who: str) -> None:
    """Not even one that was cast before the evidence was recorded."""
    launch.record()
    given: dict[str, Any] = {"by": ADMIN, "now": launch.now}
    launch.store.transact(roles.grant, "ann", Role.APPROVER, **given)
    if who == "owner":
        with pytest.raises(Forbidden, match="You own agent"):
            launch.approve(ADMIN, ANN, asks=BOB)
        return
    launch.approve(ADMIN, ROOT2)
    launch.record(recorder=ROOT2)
    with pytest.raises(NotEligible, match="1 votes that count now"):
        launch.promote()
    with pytest.raises(Forbidden, match="You recorded evidence"):
        launch.approve(ROOT2)


def test_numbers_that_were_typed_in_are_never_enough(launch: Launch) -> None:
    typed = Evidence(
        version_id=launch.new, baseline="b", seeds=99, effect=9.0, low=8.0, high=10.0, confidence=0.99,
        source=EvidenceSource.RUNS, jobs=(1,),
    )  # fmt: skip
    stored = launch.store.transact(promotions.record_evidence, typed, by=ANN, now=launch.now)
    assert (stored.source, stored.jobs) == (EvidenceSource.EXTERNAL, ()), "whatever it calls itself"
    launch.approve()
    with pytest.raises(NotEligible, match="It was typed in"):
        launch.promote()
    launch.record()
    assert launch.promote() is not None


def named(launch: Launch, jobs: Sequence[int], **fields: Any) -> Evidence:
    runs = NamedRuns(jobs=jobs, baseline="b", **fields)
    return launch.store.transact(promotions.record_runs, launch.new, runs, by=ANN, now=launch.now)


def a_job(launch: Launch, version: int, *, by: Principal = ANN, **result: Any) -> int:
    return launch.store.transact(
        evidence.a_completed_job, launch.agent.id, version, result, by=by, now=launch.now
    )


def test_evidence_is_read_from_runs_of_the_version_and_of_another(launch: Launch) -> None:
    ours = [a_job(launch, launch.new, seed=n, profit=10 + n % 3, loss=0.1) for n in range(10)]
    theirs = [a_job(launch, launch.old, seed=n, profit=n % 3) for n in range(10)]
    found = named(launch, ours, baseline_jobs=theirs, metric="profit", safety=["loss"])
    assert (found.effect, found.seeds, found.jobs) == (10.0, 10, tuple(ours))
    assert (found.baseline_jobs, found.measured_at) == (tuple(theirs), launch.now)
    assert found.safety == {"loss": pytest.approx(0.1)}
    assert launch.store.read(promotions.missing, launch.new, by=ANN, now=launch.now) == []
    launch.wait(timedelta(days=31))
    named(launch, ours, baseline_jobs=theirs, metric="profit")
    assert (
        "older than 30 days" in launch.store.read(promotions.missing, launch.new, by=ANN, now=launch.now)[0]
    ), "old runs are old evidence, whenever they are named"


def test_runs_that_are_none_are_refused(launch: Launch) -> None:
    good = a_job(launch, launch.new, **evidence.WELL_DONE)
    queued = launch.store.transact(
        submissions.submit, NewJob(agent_id=launch.agent.id, name="waits"), by=ANN, now=launch.now,
        defaults=evidence.DEFAULTS,
    ).id  # fmt: skip
    for jobs, words in (
        ([], "at least one job"),
        ([good, good], "each once"),
        ([a_job(launch, launch.old, **evidence.WELL_DONE)], "not of version"),
        ([a_job(launch, launch.new, profit=1)], "no finite number 'days'"),
        ([queued], "completed jobs"),
        ([good, a_job(launch, launch.new, **evidence.WELL_DONE)], "in `metric`"),
    ):
        with pytest.raises(InvalidInput, match=words):
            named(launch, jobs)
    with pytest.raises(InvalidInput, match="the baseline is another version"):
        named(launch, [good], baseline_jobs=[a_job(launch, launch.new, seed=1)], metric="days")
    with pytest.raises(NotFound):
        named(launch, [10**6])
    with pytest.raises(NotFound):
        launch.store.transact(
            promotions.record_runs, launch.new, NamedRuns(jobs=[good], baseline="b"), by=BOB, now=launch.now
        )
    assert launch.store.read(promotions.evidence, launch.new, by=ANN) == []


def test_two_who_promote_at_once_use_up_one_approval(launch: Launch) -> None:
    launch.record()
    first, second = launch.approve(), launch.approve()
    at_once(3, lambda _: launch.promote())
    states = [str(launch.store.read(approvals.get, each, now=launch.now).state) for each in (first, second)]
    assert states == ["used", "approved"]


def test_who_approves_sees_the_evidence(launch: Launch) -> None:
    launch.record()
    dan = evidence.APPROVERS[0]

    def seen(by: Principal) -> int:
        version = launch.store.read(promotions.version, launch.agent.id, "2.0.0", by=by)
        launch.store.read(promotions.standing, version.id, by=by, now=launch.now)
        return len(launch.store.read(promotions.evidence, version.id, by=by))

    with pytest.raises(NotFound):
        seen(dan)
    launch.store.transact(roles.grant, dan.user, Role.APPROVER, by=ADMIN, now=launch.now)
    assert seen(dan) == seen(ANN) == 1
    with pytest.raises(NotFound):
        launch.promote(by=dan)


def test_a_version_that_was_current_in_between_ends_the_ramp(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.wait(HOUR)
    for version in ("1.0.0", "2.0.0"):
        promoted.store.transact(agents.roll_back, promoted.agent.id, version, by=ANN, now=promoted.now)
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)
    assert "was made current" in promoted.store.read(ramps.get, ramp.id).ramp.reason
    assert promoted.current() == promoted.old


def test_a_new_version_that_was_taken_back_ends_the_ramp(promoted: Launch) -> None:
    ramp = promoted.start()
    given: dict[str, Any] = {"by": ANN, "now": promoted.now}
    promoted.store.transact(agents.add_version, promoted.agent.id, a_version("3.0.0"), **given)
    promoted.store.transact(agents.roll_back, promoted.agent.id, "2.0.0", **given)
    assert promoted.advance(ramp, 9, 9) == ("rolled_back", 0)


def test_the_ramps_own_version_made_current_again_changes_nothing(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.store.transact(agents.roll_back, promoted.agent.id, "2.0.0", by=ANN, now=promoted.now)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)


def test_a_ramp_of_a_paused_agent_does_not_go_up(promoted: Launch) -> None:
    def status(wanted: AgentStatus) -> None:
        promoted.store.transact(agents.change, promoted.agent.id, by=ANN, now=promoted.now, status=wanted)

    ramp = promoted.start()
    status(AgentStatus.PAUSED)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("canary", 100)
    status(AgentStatus.ACTIVE)
    assert promoted.advance(ramp, 9, 9) == ("canary", 100), "its stage begins anew"
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500)
    status(AgentStatus.PAUSED)
    status(AgentStatus.ACTIVE)
    promoted.wait(HOUR)
    assert promoted.advance(ramp, 9, 9) == ("ramping", 500), "a pause between two looks counts too"
    status(AgentStatus.PAUSED)
    assert promoted.advance(ramp, 0, 0) == ("rolled_back", 0), "bad values end it all the same"


def test_the_end_of_its_agent_ends_a_ramp(promoted: Launch) -> None:
    ramp = promoted.start()
    promoted.store.transact(agents.delete, promoted.agent.id, by=ANN, now=promoted.now)
    assert promoted.advance(ramp) == ("rolled_back", 0)
