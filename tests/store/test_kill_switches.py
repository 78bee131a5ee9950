"""A switch that was thrown stops every hold made after it, however many are being made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from gaelp_ray.actors.budget_guard import BudgetGuard
from gaelp_ray.actors.switch_watch import SwitchWatch
from gaelp_ray.config import Settings
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.errors import Forbidden, Halted, InvalidInput, NotFound
from gaelp_ray.domain.ledger import Money, Receipt, Scope
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.switches import EVERYTHING, SwitchScope, Target
from gaelp_ray.services import agents, audit, ledger, roles, switches
from gaelp_ray.store import ledger as ledger_store
from gaelp_ray.store.engine import Store
from tests.bank import Bank, a_hold, a_post, a_settlement, a_spend, name
from tests.builders import ADMIN, ANN, BOB, World, an_agent
from tests.service import eventually


@pytest.fixture
def bank(store: Store) -> Bank:
    return Bank(store)


def agent(agent_id: int) -> Target:
    return Target(SwitchScope.AGENT, str(agent_id))


def engage(bank: Bank, target: Target, *, by: Principal = ADMIN) -> Any:
    return bank.store.transact(switches.engage, target, reason="a test", by=by, now=bank.now)


def release(bank: Bank, target: Target, *, by: Principal = ADMIN) -> Any:
    return bank.store.transact(switches.release, target, reason="all is well", by=by, now=bank.now)


def holds(bank: Bank, key: str, *ids: int, **fields: Any) -> bool:
    outcome = bank.ask(a_hold(key, *ids, **fields))
    assert isinstance(outcome, Receipt | Halted)
    return isinstance(outcome, Receipt)


def test_a_switch_stops_what_it_covers_and_nothing_else(bank: Bank, store: Store) -> None:
    world = World(store)
    mine, other = world.agent().id, world.agent().id
    own = bank.open(scope=Scope.AGENT, subject=str(mine))
    theirs = bank.open(scope=Scope.AGENT, subject=str(other))
    bobs = bank.open(scope=Scope.USER, subject="bob")
    spring = bank.open(scope=Scope.CAMPAIGN, subject="spring")
    team = bank.open()
    every = {"own": own, "theirs": theirs, "bobs": bobs, "spring": spring, "team": team}
    stopped = {
        agent(mine): {"own"},
        Target(SwitchScope.USER, "ann"): {"own", "theirs"},
        Target(SwitchScope.USER, "bob"): {"bobs"},
        Target(SwitchScope.CAMPAIGN, "spring"): {"spring"},
        EVERYTHING: set(every),
    }
    for target, expected in stopped.items():
        engage(bank, target)
        assert {n for n, i in every.items() if not holds(bank, f"{target} {n}", i)} == expected
        release(bank, target)
        assert all(holds(bank, f"{target} {n} again", i) for n, i in every.items())


def test_a_hold_is_stopped_by_any_of_its_accounts(bank: Bank) -> None:
    team, spring = bank.open(), bank.open(scope=Scope.CAMPAIGN, subject="spring")
    engage(bank, Target(SwitchScope.CAMPAIGN, "spring"))
    assert not holds(bank, "both", team, spring)
    assert bank.used(team) == (0, 0)


def test_a_job_is_stopped_with_its_agent_and_its_owner(bank: Bank, store: Store) -> None:
    world = World(store)
    job = world.submit()
    team = bank.open()
    for target in (agent(job.agent_id), Target(SwitchScope.USER, job.owner)):
        engage(bank, target)
        assert not holds(bank, f"stopped by {target}", team, job_id=job.id)
        assert holds(bank, f"not for the job: {target}", team)
        release(bank, target)
    assert holds(bank, "released", team, job_id=job.id)


def test_what_was_held_before_is_still_accounted_for(bank: Bank) -> None:
    team = bank.open()
    assert holds(bank, "posted", team)
    assert holds(bank, "settled", team)
    engage(bank, EVERYTHING)
    outcomes = [a_post("posted"), a_settlement("settled", 12), a_spend("spent", team)]
    assert [name(bank.ask(each)) for each in outcomes] == ["post 10", "settle 12", "spend 10"]
    assert bank.used(team) == (0, 32)


def test_a_key_that_was_stopped_stays_refused(bank: Bank) -> None:
    team = bank.open()
    engage(bank, EVERYTHING)
    assert not holds(bank, "first", team)
    release(bank, EVERYTHING)
    refusal = bank.ask(a_hold("first", team))
    assert isinstance(refusal, Halted)
    assert (refusal.details["scope"], refusal.details["reason"]) == ("global", "a test")
    assert holds(bank, "second", team)


def test_owners_stop_their_own_and_operators_everything(bank: Bank, store: Store) -> None:
    mine = World(store).agent().id
    for target in (agent(mine), Target(SwitchScope.USER, "ann")):
        with pytest.raises(Forbidden, match="operator"):
            engage(bank, target, by=BOB)
        assert engage(bank, target, by=ANN).engaged
        with pytest.raises(Forbidden, match="operator"):
            release(bank, target, by=ANN)
    with pytest.raises(Forbidden):
        engage(bank, EVERYTHING, by=ANN)
    store.transact(roles.grant, "bob", Role.OPERATOR, by=ADMIN, now=bank.now)
    assert engage(bank, EVERYTHING, by=BOB).engaged
    assert not release(bank, EVERYTHING, by=BOB).engaged
    store.transact(roles.revoke, "bob", Role.OPERATOR, by=ADMIN, now=bank.now)
    with pytest.raises(Forbidden):
        engage(bank, EVERYTHING, by=BOB)


def test_engaging_twice_keeps_the_first_reason(bank: Bank) -> None:
    first = engage(bank, EVERYTHING)
    again = bank.store.transact(switches.engage, EVERYTHING, reason="other", by=ADMIN, now=bank.now)
    assert again == first
    assert bank.store.read(switches.engaged) == [first]
    actions = [each.record.action for each in bank.store.read(audit.page, by=ADMIN, limit=10)]
    assert actions == ["switch.engage"]


def test_every_move_of_a_switch_is_audited(bank: Bank) -> None:
    engage(bank, EVERYTHING)
    release(bank, EVERYTHING)
    found = [each.record for each in bank.store.read(audit.page, by=ADMIN, subject="global", limit=10)]
    assert [(r.actor, r.action, r.before, r.after) for r in found] == [
        ("root", "switch.engage", '{"engaged":false}', '{"engaged":true,"reason":"a test"}'),
        ("root", "switch.release", '{"engaged":true}', '{"engaged":false,"reason":"all is well"}'),
    ]


def test_what_is_not_there_cannot_be_switched(bank: Bank) -> None:
    for nobody in (agent(99), Target(SwitchScope.AGENT, "bidder")):
        with pytest.raises(NotFound, match="no agent"):
            engage(bank, nobody)
        with pytest.raises(Forbidden):
            engage(bank, nobody, by=ANN)
    with pytest.raises(NotFound, match="not engaged"):
        release(bank, EVERYTHING)
    for bad in ((SwitchScope.GLOBAL, "x"), (SwitchScope.USER, ""), (SwitchScope.USER, "a\nb")):
        with pytest.raises(InvalidInput):
            Target(*bad)
    with pytest.raises(InvalidInput, match="reason"):
        bank.store.transact(switches.engage, EVERYTHING, reason="", by=ADMIN, now=bank.now)


def test_no_hold_slips_through_while_a_switch_is_thrown(bank: Bank) -> None:
    accounts = [bank.open() for _ in range(4)]
    thrown, stop = Event(), Event()

    def spender(number: int) -> list[str]:
        """Holds for as long as it may; names those that were granted although asked for afterwards."""
        slipped, count = [], 0
        while not stop.is_set():
            late = thrown.is_set()
            granted = holds(bank, f"{number} {count}", accounts[number % 4])
            count += 1
            if granted and late:
                slipped.append(f"{number} {count}")
            if not granted and late:
                break
        return slipped

    with ThreadPoolExecutor(8) as pool:
        spenders = [pool.submit(spender, number) for number in range(8)]
        try:
            engage(bank, EVERYTHING)
            thrown.set()
            assert [spender.result(timeout=60) for spender in spenders] == [[]] * 8
        finally:
            stop.set()


def test_a_switch_waits_for_the_holds_that_are_being_made(bank: Bank, sql: Any) -> None:
    team = bank.open()
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(1) as pool:
        with bank.store.engine.begin() as tx:
            assert isinstance(ledger.apply(tx, [a_hold("first", team)], now=bank.now)[0], Receipt)
            engaging = pool.submit(engage, bank, EVERYTHING)
            eventually(lambda: sql(waiting) == [(1,)])
            assert not engaging.done()
        assert engaging.result(timeout=30).engaged
    assert not holds(bank, "second", team)


async def seen(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is watched has no event of its own
            await asyncio.sleep(0.001)


def watched(
    store: Store, *, poll_s: float, act: Callable[[], Any], until: Callable[[SwitchWatch], bool]
) -> float:
    """How long a guard's memory takes to learn of what ``act`` does."""

    async def watch() -> float:
        watch = SwitchWatch(store, poll_s=poll_s)
        running = asyncio.create_task(watch.run())
        await seen(lambda: watch._listener is not None)
        started = asyncio.get_running_loop().time()
        await asyncio.to_thread(act)
        await seen(lambda: until(watch))
        length = asyncio.get_running_loop().time() - started
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return length

    return asyncio.run(watch())


def test_a_guard_is_told_at_once(bank: Bank) -> None:
    team = bank.open()
    hold, post = a_hold("h", team), a_post("p")

    def stopped(watch: SwitchWatch) -> bool:
        asked, refusals = watch.split([hold, post])
        assert asked in ([hold, post], [post])
        return asked == [post] and isinstance(refusals[0], Halted) and refusals[1] is None

    assert watched(bank.store, poll_s=3600, act=lambda: engage(bank, EVERYTHING), until=stopped) < 1


def test_a_guard_answers_in_order_what_it_refuses_and_what_it_asks(bank: Bank, database_url: str) -> None:
    team = bank.open()

    async def ask() -> list[str]:
        guard = BudgetGuard.__new__(BudgetGuard)
        await guard.__init__(Settings(database_url=database_url), shard=1)  # type: ignore[misc]
        first = await guard.submit([a_hold("a", team), a_hold("b", team)])
        await asyncio.to_thread(engage, bank, EVERYTHING)
        await seen(lambda: guard._switches.board.everything is not None)
        then = await guard.submit([a_settlement("a", 3), a_hold("c", team), a_settlement("b", 4)])
        for loop in guard._loops:
            loop.cancel()
        await asyncio.gather(*guard._loops, return_exceptions=True)
        guard._runtime.store.close()
        return [name(outcome) for outcome in first + then]

    assert asyncio.run(ask()) == ["hold 10", "hold 10", "settle 3", "halted", "settle 4"]
    assert bank.store.read(ledger_store.get_hold, "c") is None, "it never reached the ledger"


def test_a_guard_that_was_not_told_looks(bank: Bank, sql: Any) -> None:
    engage(bank, EVERYTHING)

    def quietly() -> None:
        sql("UPDATE kill_switches SET engaged = false")

    def released(watch: SwitchWatch) -> bool:
        return watch.board.everything is None

    watched(bank.store, poll_s=0.01, act=quietly, until=released)


def test_a_guard_whose_connection_was_cut_listens_again(bank: Bank, sql: Any) -> None:
    team = bank.open(scope=Scope.CAMPAIGN, subject="spring")

    def cut_and_engage() -> None:
        sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        )
        engage(bank, Target(SwitchScope.CAMPAIGN, "spring"))

    def stopped(watch: SwitchWatch) -> bool:
        return team in watch.board.accounts and watch._listener is not None

    watched(bank.store, poll_s=0.05, act=cut_and_engage, until=stopped)


def test_real_money_of_an_agent_is_stopped_with_its_owner(bank: Bank, store: Store) -> None:
    new = replace(an_agent(), type=AgentType.REAL_DEPLOYMENT)
    agent = store.transact(agents.register, new, currency="USD", by=ANN, now=bank.now)
    deployed, opened = agent.id, agent.account_id
    own = bank.open(scope=Scope.AGENT, subject=str(deployed), money=Money.REAL)
    engage(bank, Target(SwitchScope.USER, "ann"))
    board = store.read(switches.board)
    assert board.everything is None
    assert {own, opened} <= set(board.accounts), "in every currency"
