"""Agents, their immutable versions, and who may see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentStatus, AgentType, AgentVersion
from gaelp_ray.domain.errors import Conflict, GaelpError, IllegalTransition, InvalidInput, NotFound
from gaelp_ray.domain.jobs import EndCause, JobState, NewJob
from gaelp_ray.domain.scheduling import WaitCode
from gaelp_ray.services import agents as service
from gaelp_ray.services import submissions
from gaelp_ray.store import agents as agent_store
from gaelp_ray.store.agents import AgentFilter
from tests.builders import ADMIN, ANN, BOB, LAUNCHER, World, a_version, an_agent, at_once, resources
from tests.conftest import Sql
from tests.service import eventually

EVERYTHING: dict[str, Any] = {
    "version": "2.0.0",
    "entrypoint": "python train.py",
    "docker_image": "gcr.io/gaelp/optimizer:v2.0",
    "working_dir": "s3://bucket/code.zip",
    "config": {"nested": {"a": [1, 2.5, None, "ü"]}},
    "requirements": ("numpy==2.0", "torch"),
    "resources": resources(4, 8, 1),
    "environment_vars": {"REGION": "eu"},
    "secrets": {"API_KEY": "ads-key"},
}


def get(world: World, agent: Agent, by: Principal = ANN) -> Agent:
    return world.store.read(service.get, agent.id, by=by)


def page(
    world: World, by: Principal = ANN, *, before: int | None = None, limit: int = 10, **wanted: Any
) -> list[str]:
    found = world.store.read(service.page, AgentFilter(**wanted), by=by, before=before, limit=limit)
    return [agent.name for agent in found]


def add_version(world: World, agent: Agent, version: str, **fields: Any) -> AgentVersion:
    spec = a_version(version, **fields)
    return world.store.transact(service.add_version, agent.id, spec, by=ANN, now=world.wait(1))


def change(world: World, agent: Agent, **changes: Any) -> Agent:
    return world.store.transact(service.change, agent.id, by=ANN, now=world.wait(1), **changes)


def delete(world: World, agent: Agent) -> list[str]:
    return world.store.transact(service.delete, agent.id, by=ANN, now=world.now)


def test_what_is_registered_is_what_is_read(world: World) -> None:
    new = replace(an_agent("optimizer", limit_micros=5_000_000, **EVERYTHING), description="for spring")
    registered = world.store.transact(service.register, new, currency="USD", by=ANN, now=world.now)
    assert (registered.name, registered.type, registered.owner) == ("optimizer", AgentType.SIMULATION, "ann")
    assert (registered.status, registered.description) == (AgentStatus.ACTIVE, "for spring")
    assert (registered.budget_limit_micros, registered.budget_spent_micros) == (5_000_000, 0)
    assert registered.current.spec == new.spec
    assert get(world, registered) == registered


def test_a_name_is_taken_once_per_owner_until_its_agent_is_deleted(world: World) -> None:
    first = world.agent(name="bidder")
    with pytest.raises(Conflict, match="You have an agent named 'bidder' already"):
        world.agent(name="bidder")
    world.agent(name="bidder", by=BOB)
    delete(world, first)
    assert world.agent(name="bidder").id != first.id


def test_of_registrations_of_one_name_at_once_one_wins(world: World) -> None:
    results = at_once(8, lambda _: world.agent(name="bidder"))
    assert [type(r) for r in results].count(Agent) == 1
    assert [type(r) for r in results].count(Conflict) == 7
    assert page(world) == ["bidder"]


@pytest.mark.parametrize(
    "fields", [{"name": "-"}, {"version": ""}, {"docker_image": "x; y"}], ids=["name", "version", "image"]
)
def test_a_bad_registration_stores_nothing(world: World, sql: Sql, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        world.agent(**fields)
    assert sql("SELECT count(*) FROM agents") == [(0,)]


def test_a_new_version_becomes_the_current_one(world: World) -> None:
    agent = world.agent(version="1.0.0")
    added = add_version(world, agent, "1.1.0", config={"a": 1})
    assert get(world, agent).current == added
    assert added.created_by == "ann"
    found = world.store.read(service.versions, agent.id, by=ANN)
    assert [v.spec.version for v in found] == ["1.1.0", "1.0.0"]


def test_a_version_cannot_change(world: World) -> None:
    agent = world.agent(version="1.0.0")
    with pytest.raises(Conflict, match=r"Version '1\.0\.0' exists and cannot change"):
        add_version(world, agent, "1.0.0", config={"other": 1})
    assert world.store.read(agent_store.versions, agent.id)[0].spec.config == {}


def test_rolling_back_moves_the_pointer_and_keeps_every_version(world: World) -> None:
    agent = world.agent(version="1.0.0")
    add_version(world, agent, "2.0.0")
    rolled = world.store.transact(service.roll_back, agent.id, "1.0.0", by=ANN, now=world.now)
    assert rolled.current == agent.current
    assert len(world.store.read(agent_store.versions, agent.id)) == 2
    forward = world.store.transact(service.roll_back, agent.id, "2.0.0", by=ANN, now=world.now)
    assert forward.current.spec.version == "2.0.0"


def test_there_is_no_rolling_back_to_what_never_was(world: World) -> None:
    agent = world.agent(version="1.0.0")
    other = world.agent(version="9.9.9")
    with pytest.raises(NotFound, match=r"has no version '9\.9\.9'"):
        world.store.transact(service.roll_back, agent.id, "9.9.9", by=ANN, now=world.now)
    assert get(world, other).current.spec.version == "9.9.9"


def test_what_a_stranger_asks_for_is_not_found(world: World) -> None:
    agent = world.agent()
    strangers: dict[str, Any] = {
        "get": lambda: get(world, agent, BOB),
        "versions": lambda: world.store.read(service.versions, agent.id, by=BOB),
        "change": lambda: world.store.transact(service.change, agent.id, by=BOB, now=world.now),
        "delete": lambda: world.store.transact(service.delete, agent.id, by=BOB, now=world.now),
        "submit": lambda: world.submit(agent, by=BOB),
    }
    words: dict[str, str] = {}
    for name, attempt in strangers.items():
        with pytest.raises(NotFound) as refused:
            attempt()
        words[name] = refused.value.message
    with pytest.raises(NotFound) as missing:
        world.store.read(service.get, 999_999, by=BOB)
    assert set(words.values()) == {missing.value.message.replace("999999", str(agent.id))}
    assert get(world, agent).status is AgentStatus.ACTIVE
    assert get(world, agent, ADMIN) == agent


def test_a_page_is_newest_first_and_goes_on_where_the_last_ended(world: World) -> None:
    agents = [world.agent(name=f"a{n}") for n in range(5)]
    assert page(world, limit=2) == ["a4", "a3"]
    assert page(world, limit=2, before=agents[3].id) == ["a2", "a1"]
    assert page(world, limit=2, before=agents[0].id) == []


def test_a_page_shows_what_was_asked_for(world: World) -> None:
    world.agent(name="active")
    change(world, world.agent(name="paused"), status=AgentStatus.PAUSED)
    delete(world, world.agent(name="deleted"))
    world.agent(name="bob's own".replace("'", ""), by=BOB)
    assert page(world) == ["paused", "active"]
    assert page(world, status=AgentStatus.PAUSED) == ["paused"]
    assert page(world, status=AgentStatus.ARCHIVED) == ["deleted"]
    assert page(world, name="active") == ["active"]
    assert page(world, type=AgentType.RESEARCH) == []
    assert page(world, ADMIN) == ["bobs own", "paused", "active"]
    assert page(world, BOB, owner="ann") == ["bobs own"], "another's agents cannot be asked for"
    assert world.store.read(agent_store.count_by_type) == {"simulation": 3}


def test_many_agents_are_read_at_once(world: World) -> None:
    agents = {a.id: a for a in (world.agent(), world.agent(by=BOB))}
    assert world.store.read(agent_store.get_many, [*agents, 999_999]) == agents


def test_a_change_touches_only_what_it_names(world: World) -> None:
    agent = world.agent(limit_micros=7)
    paused = change(world, agent, status=AgentStatus.PAUSED, fields={"description": "waits"})
    assert paused == replace(agent, status=AgentStatus.PAUSED, description="waits", updated_at=world.now)
    assert change(world, agent, fields={"budget_limit_micros": None}).budget_limit_micros is None
    assert change(world, agent).description == "waits"


def test_an_agent_is_not_archived_by_a_change(world: World) -> None:
    with pytest.raises(IllegalTransition, match="archived by DELETE"):
        change(world, world.agent(), status=AgentStatus.ARCHIVED)


def test_a_deleted_agent_is_gone_and_its_jobs_are_cancelled(world: World) -> None:
    agent = world.agent()
    waiting = world.submit(agent)
    over = world.submit(agent)
    world.cancel(over)
    running = world.submit(agent, priority=10)
    world.nodes = (replace(world.nodes[0], total=resources(1)),)
    attempt = world.running(running)
    assert delete(world, agent) == [LAUNCHER]
    assert world.job(waiting).state is JobState.CANCELLED
    assert world.job(waiting).message == "Its agent was deleted."
    assert world.job(over).message == "Cancelled by ann."
    assert world.job(running).state is JobState.STOPPING
    assert world.finish(attempt, EndCause.CANCELLED) is JobState.CANCELLED
    for gone in (lambda: get(world, agent), lambda: delete(world, agent), lambda: world.submit(agent)):
        with pytest.raises(NotFound):
            gone()
    assert agent.id in world.store.read(agent_store.get_many, [agent.id]), "its history is kept"


def waits_for_a_lock(sql: Sql) -> bool:
    return bool(sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND state = 'active'"))


def test_a_job_submitted_while_its_agent_is_deleted_is_not_left_behind(world: World, sql: Sql) -> None:
    agent = world.agent()
    results: list[object] = []

    def submit_late(number: int) -> None:
        if number == 0:
            with world.store.engine.begin() as deleting:
                service.delete(deleting, agent.id, by=ANN, now=world.now)
                results.append("deleting")
                eventually(lambda: waits_for_a_lock(sql), what="the submission waits for the deletion")
        else:
            eventually(lambda: results)
            try:
                results.append(world.submit(agent))
            except GaelpError as error:
                results.append(type(error))

    assert at_once(2, submit_late) == [None, None]
    assert results == ["deleting", NotFound]
    assert sql("SELECT count(*) FROM jobs WHERE state = 'queued'") == [(0,)]


def test_a_deletion_waits_for_a_submission_that_was_first(world: World, sql: Sql) -> None:
    agent = world.agent()
    submitted: list[int] = []

    def race(number: int) -> None:
        if number == 0:
            with world.store.engine.begin() as submitting:
                job = submissions.submit(
                    submitting, NewJob(agent.id, "job"), by=ANN, now=world.now, defaults=world.defaults
                )
                submitted.append(job.id)
                eventually(lambda: waits_for_a_lock(sql), what="the deletion waits for the submission")
        else:
            eventually(lambda: submitted)
            delete(world, agent)

    assert at_once(2, race) == [None, None]
    assert world.job(submitted[0]).state is JobState.CANCELLED


def test_a_paused_agents_job_is_told_so_and_runs_once_it_is_active(world: World) -> None:
    agent = world.agent()
    change(world, agent, status=AgentStatus.PAUSED)
    job = world.submit(agent)
    world.register()
    assert world.tick().started == frozenset()
    assert world.job(job).wait_code == WaitCode.DEACTIVATED
    change(world, agent, status=AgentStatus.ACTIVE)
    assert world.tick().started == {job.id}
    assert world.job(job).wait_code is None


def test_a_limit_below_zero_never_reaches_the_table(world: World) -> None:
    agent = world.agent(limit_micros=1)
    with pytest.raises(InvalidInput, match="A limit must be 0"):
        change(world, agent, fields={"budget_limit_micros": -1})
    assert get(world, agent).budget_limit_micros == 1
