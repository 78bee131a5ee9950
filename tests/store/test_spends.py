"""An agent never spends past its limit, nor twice under one key."""

from __future__ import annotations

from typing import Any

import pytest

from gaelp_ray.domain.errors import BudgetExceeded, IdempotencyConflict, InvalidInput, NotFound
from gaelp_ray.domain.money import MAX_MICROS
from gaelp_ray.services import budgets
from gaelp_ray.store import agents as agent_store
from tests.builders import World, at_once
from tests.conftest import Sql


def spend(world: World, agent_id: int, amount: Any, key: str, *, job: int | None = None) -> int:
    return world.store.transact(
        budgets.spend, agent_id, job_id=job, key=key, amount_micros=amount, now=world.now
    )


def spent(world: World, agent_id: int) -> int:
    agent = world.store.read(agent_store.get, agent_id)
    assert agent is not None
    return agent.budget_spent_micros


def booked(sql: Sql) -> list[tuple[object, ...]]:
    return sql("SELECT key, amount_micros, balance_micros FROM spends ORDER BY id")


def test_spends_add_up_to_the_limit_and_not_beyond(world: World, sql: Sql) -> None:
    agent = world.agent(limit_micros=10)
    assert spend(world, agent.id, 4, "a") == 4
    assert spend(world, agent.id, 6, "b") == 10
    with pytest.raises(
        BudgetExceeded, match=f"would take agent {agent.id} to 1.1e-05, over its limit of 1e-05"
    ):
        spend(world, agent.id, 1, "c")
    assert booked(sql) == [("a", 4, 4), ("b", 6, 10)]
    assert spent(world, agent.id) == 10


def test_a_spend_that_is_too_large_leaves_room_for_a_smaller_one(world: World) -> None:
    agent = world.agent(limit_micros=10)
    with pytest.raises(BudgetExceeded):
        spend(world, agent.id, 11, "large")
    assert spend(world, agent.id, 10, "large") == 10, "a refused key is free"


def test_the_same_key_and_amount_is_the_same_spend(world: World, sql: Sql) -> None:
    agent = world.agent(limit_micros=10)
    spend(world, agent.id, 4, "a")
    spend(world, agent.id, 5, "b")
    assert spend(world, agent.id, 4, "a") == 9
    assert len(booked(sql)) == 2


def test_the_same_key_with_another_amount_is_a_conflict(world: World, sql: Sql) -> None:
    agent = world.agent()
    spend(world, agent.id, 4, "a")
    with pytest.raises(IdempotencyConflict, match="'a' was 4 micros before, not 5"):
        spend(world, agent.id, 5, "a")
    assert booked(sql) == [("a", 4, 4)]


def test_a_key_belongs_to_its_agent(world: World) -> None:
    one, other = world.agent(limit_micros=10), world.agent(limit_micros=10)
    assert spend(world, one.id, 7, "a") == 7
    assert spend(world, other.id, 9, "a") == 9


def test_an_agent_without_a_limit_spends_what_it_likes(world: World) -> None:
    agent = world.agent(limit_micros=None)
    assert spend(world, agent.id, 10**15, "a") == 10**15


def test_a_limit_of_nothing_allows_nothing(world: World) -> None:
    with pytest.raises(BudgetExceeded):
        spend(world, world.agent(limit_micros=0).id, 1, "a")


def test_a_limit_lowered_below_what_was_spent_refuses_all_that_is_new(world: World) -> None:
    agent = world.agent(limit_micros=10)
    spend(world, agent.id, 8, "a")
    world.store.transact(agent_store.set_fields, agent.id, {"budget_limit_micros": 5}, now=world.now)
    assert spend(world, agent.id, 8, "a") == 8, "what was booked stays booked"
    with pytest.raises(BudgetExceeded):
        spend(world, agent.id, 1, "b")


REFUSED: dict[str, Any] = {
    "nothing": 0,
    "negative": -1,
    "a float": 1.0,
    "NaN": float("nan"),
    "true": True,
    "text": "5",
    "none": None,
    "too large": MAX_MICROS + 1,
}


@pytest.mark.parametrize("case", REFUSED)
def test_only_whole_micros_above_zero_can_be_spent(world: World, sql: Sql, case: str) -> None:
    agent = world.agent()
    with pytest.raises(InvalidInput, match="A spend "):
        spend(world, agent.id, REFUSED[case], "a")
    assert booked(sql) == []


def test_a_total_past_counting_is_refused(world: World, sql: Sql) -> None:
    agent = world.agent(limit_micros=None)
    spend(world, agent.id, MAX_MICROS, "a")
    with pytest.raises(InvalidInput, match="A number is too large"):
        spend(world, agent.id, 1, "b")
    assert len(booked(sql)) == 1


def test_nobody_spends_for_an_agent_that_never_was(world: World) -> None:
    with pytest.raises(NotFound, match="There is no agent 999999"):
        spend(world, 999_999, 1, "a")


def test_spenders_at_the_same_moment_never_pass_the_limit(world: World, sql: Sql) -> None:
    limit, each, spenders = 100, 7, 8
    agent = world.agent(limit_micros=limit)

    def spend_on(number: int) -> int:
        granted = 0
        for n in range(5):
            try:
                spend(world, agent.id, each, f"{number}/{n}")
            except BudgetExceeded:
                continue
            granted += 1
        return granted

    granted = at_once(spenders, spend_on)
    assert [g for g in granted if not isinstance(g, int)] == []
    assert sum(g for g in granted if isinstance(g, int)) == limit // each
    assert sql("SELECT sum(amount_micros), max(balance_micros), count(*) FROM spends") == [(98, 98, 14)]
    running = "SELECT sum(amount_micros) OVER (ORDER BY id) = balance_micros FROM spends"
    assert set(sql(running)) == {(True,)}, "every row carries the sum so far"
    assert spent(world, agent.id) == 98


def test_one_key_from_many_at_the_same_moment_is_one_spend(world: World, sql: Sql) -> None:
    agent = world.agent(limit_micros=10)
    assert at_once(8, lambda _: spend(world, agent.id, 6, "a")) == [6] * 8
    assert booked(sql) == [("a", 6, 6)]


def test_a_spend_knows_its_job(world: World, sql: Sql) -> None:
    job = world.submit()
    spend(world, job.agent_id, 1, "a", job=job.id)
    assert sql("SELECT job_id FROM spends") == [(job.id,)]
