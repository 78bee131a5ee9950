"""Holds keep jobs from starting, and belong to whom they bind."""

from __future__ import annotations

from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden, InvalidInput, NotFound
from gaelp_ray.domain.holds import Hold, HoldMode, HoldScope
from gaelp_ray.domain.scheduling import WaitCode, plan
from gaelp_ray.services import holds as service
from tests.builders import ADMIN, ANN, BOB, World

HOLD = HoldMode.HOLD


def place(
    world: World, scope: HoldScope, name: str = "", mode: HoldMode = HOLD, *, by: Principal = ADMIN
) -> Hold:
    return world.store.transact(service.place, scope, name, mode, reason="why", by=by, now=world.now)


def lift(world: World, scope: HoldScope, name: str = "", *, by: Principal = ADMIN) -> None:
    world.store.transact(service.lift, scope, name, by=by, now=world.now)


def in_force(world: World, by: Principal) -> list[tuple[HoldScope, str]]:
    return [(hold.scope, hold.name) for hold in world.store.read(service.in_force, by=by)]


@pytest.mark.parametrize("scope", HoldScope)
def test_what_is_held_does_not_start_until_it_is_let_go(world: World, scope: HoldScope) -> None:
    world.register()
    world.quota("ann", team="ads")
    agent = world.agent()
    job, others = world.submit(agent), world.submit(by=BOB)
    names = {"global": "", "team": "ads", "user": "ann", "agent": str(agent.id)}
    place(world, scope, names[scope])
    assert world.tick().started == (set() if scope is HoldScope.GLOBAL else {others.id})
    assert world.job(job).wait_code == WaitCode.ON_HOLD
    lift(world, scope, names[scope])
    assert job.id in world.tick().started


def test_a_plan_made_before_a_hold_is_void(world: World) -> None:
    world.register()
    job = world.submit()
    seen, lease = world.look(), world.lead()
    decided = plan(seen, world.now)
    place(world, HoldScope.USER, "ann")
    assert world.apply(decided, seen, lease).dropped == {job.id}


def test_a_second_hold_on_the_same_thing_replaces_the_first(world: World) -> None:
    place(world, HoldScope.USER, "ann")
    hold = place(world, HoldScope.USER, "ann", HoldMode.HOLD_AND_DRAIN)
    assert world.store.read(service.in_force, by=ADMIN) == [hold]


def test_users_hold_themselves_and_their_agents(world: World) -> None:
    agent = world.agent()
    place(world, HoldScope.USER, "ann", by=ANN)
    place(world, HoldScope.AGENT, str(agent.id), by=ANN)
    lift(world, HoldScope.USER, "ann", by=ANN)
    assert in_force(world, ANN) == [(HoldScope.AGENT, str(agent.id))]


REFUSED: dict[str, tuple[HoldScope, str, type[Exception]]] = {
    "everything": (HoldScope.GLOBAL, "", Forbidden),
    "a team": (HoldScope.TEAM, "ads", Forbidden),
    "another user": (HoldScope.USER, "ann", Forbidden),
    "another's agent": (HoldScope.AGENT, "1", NotFound),
    "an agent that is not there": (HoldScope.AGENT, "999", NotFound),
    "an agent without an id": (HoldScope.AGENT, "bidder", InvalidInput),
    "a global hold with a name": (HoldScope.GLOBAL, "x", InvalidInput),
    "a user without a name": (HoldScope.USER, "", InvalidInput),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_user_may_not_hold(world: World, case: str) -> None:
    world.agent(by=ANN)
    scope, name, error = REFUSED[case]
    with pytest.raises(error):
        place(world, scope, name, by=BOB)
    assert in_force(world, ADMIN) == []


def test_what_an_admin_holds_its_owner_cannot_let_go(world: World) -> None:
    place(world, HoldScope.USER, "ann", by=ADMIN)
    refused: list[Any] = [lift, place]
    for attempt in refused:
        with pytest.raises(Forbidden, match="root placed this hold"):
            attempt(world, HoldScope.USER, "ann", by=ANN)
    assert in_force(world, ANN) == [(HoldScope.USER, "ann")]


def test_a_user_sees_the_holds_that_bind_his_jobs(world: World) -> None:
    world.quota("ann", team="ads")
    mine, hers = world.agent(by=BOB), world.agent(by=ANN)
    for scope, name in (
        (HoldScope.GLOBAL, ""),
        (HoldScope.TEAM, "ads"),
        (HoldScope.USER, "ann"),
        (HoldScope.AGENT, str(mine.id)),
        (HoldScope.AGENT, str(hers.id)),
    ):
        place(world, scope, name)
    assert len(in_force(world, ADMIN)) == 5
    assert set(in_force(world, BOB)) == {(HoldScope.GLOBAL, ""), (HoldScope.AGENT, str(mine.id))}
    assert set(in_force(world, ANN)) == {
        (HoldScope.GLOBAL, ""),
        (HoldScope.TEAM, "ads"),
        (HoldScope.USER, "ann"),
        (HoldScope.AGENT, str(hers.id)),
    }


def test_lifting_what_is_not_held_is_an_error(world: World) -> None:
    with pytest.raises(NotFound, match="There is no hold on global"):
        lift(world, HoldScope.GLOBAL)
