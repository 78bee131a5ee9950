"""Every change of agents, quotas and holds is in the audit, in the transaction that made it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gaelp_ray.domain.agents import AgentStatus
from gaelp_ray.domain.errors import Conflict, NotFound
from gaelp_ray.domain.holds import HoldMode, HoldScope
from gaelp_ray.domain.quotas import UNLIMITED, Amounts, Quota, QuotaKind
from gaelp_ray.services import agents, audit, holds, quotas
from gaelp_ray.store.engine import Store
from tests.builders import ADMIN, ANN, T0, World, a_version, an_agent

Change = tuple[str, str, Any, Any]


@pytest.fixture
def given() -> dict[str, Any]:
    return {"by": replace(ANN, request_id="r-1"), "now": T0}


def changes(store: Store, **wanted: Any) -> list[Change]:
    """Action, actor, before and after, oldest first."""
    found = [each.record for each in store.read(audit.page, by=ADMIN, limit=99, **wanted)]
    return [
        (each.action, each.actor, json.loads(each.before or "null"), json.loads(each.after or "null"))
        for each in found
        if each.action.split(".")[0] in {"agent", "quota", "hold"}
    ]


def test_the_life_of_an_agent(store: Store, given: dict[str, Any]) -> None:
    registered = store.transact(agents.register, an_agent(), currency="EUR", **given)
    agent, account = registered.id, registered.account_id
    store.transact(agents.change, agent, status=AgentStatus.PAUSED, fields={"description": "d"}, **given)
    store.transact(agents.add_version, agent, a_version("2.0.0"), **given)
    store.transact(agents.roll_back, agent, "1.0.0", **given)
    store.transact(agents.delete, agent, **given)
    assert changes(store, subject=f"agent {agent}") == [
        (
            "agent.register",
            "ann",
            None,
            {"account_id": account, "name": "bidder", "type": "simulation", "version": "1.0.0"},
        ),
        (
            "agent.change",
            "ann",
            {"description": "", "status": "active"},
            {"description": "d", "status": "paused"},
        ),
        ("agent.version", "ann", {"version": "1.0.0"}, {"version": "2.0.0"}),
        ("agent.rollback", "ann", {"version": "2.0.0"}, {"version": "1.0.0"}),
        ("agent.delete", "ann", {"name": "bidder", "status": "paused"}, None),
    ]
    records = store.read(audit.page, by=ADMIN, subject=f"agent {agent}", limit=9)
    assert {each.record.request_id for each in records} == {"r-1"}


def test_a_budget_limit_is_that_of_the_agents_account(store: Store, given: dict[str, Any]) -> None:
    agent = store.transact(agents.register, an_agent(limit_micros=5), currency="EUR", **given)
    store.transact(agents.change, agent.id, fields={"budget_limit_micros": 7}, **given)
    found = store.read(audit.page, by=ADMIN, subject=f"account {agent.account_id}", limit=9)
    limits = [each.record for each in found if each.record.action == "limit.set"]
    assert [(each.before, each.after) for each in limits] == [
        ('{"total":null}', '{"total":5}'),
        ('{"total":5}', '{"total":7}'),
    ]
    assert [action for action, *_ in changes(store)] == ["agent.register"], "nothing else was changed"


def test_what_changes_nothing_or_fails_leaves_no_record(store: Store, given: dict[str, Any]) -> None:
    agent = store.transact(agents.register, an_agent(), currency="EUR", **given).id
    before = changes(store)
    store.transact(agents.change, agent, **given)
    with pytest.raises(Conflict):
        store.transact(agents.register, an_agent(), currency="EUR", **given)
    with pytest.raises(NotFound):
        store.transact(quotas.delete, QuotaKind.USER, "ann", by=ADMIN, now=T0)
    with pytest.raises(NotFound):
        store.transact(holds.lift, HoldScope.USER, "ann", **given)
    assert changes(store) == before


def test_quotas_say_what_they_were(store: Store) -> None:
    given: dict[str, Any] = {"by": ADMIN, "now": T0}
    for gpu in (1000, 2000):
        limit = replace(Amounts(UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED, UNLIMITED), gpu=gpu)
        store.transact(quotas.put, Quota(QuotaKind.USER, "ann", limit=limit), **given)
    store.transact(quotas.delete, QuotaKind.USER, "ann", **given)
    found = changes(store, subject="quota of user ann", actor="root")
    gpus = [
        (action, before and before["limit"]["gpu"], after and after["limit"]["gpu"])
        for action, _, before, after in found
    ]
    assert gpus == [("quota.set", None, "1"), ("quota.set", "1", "2"), ("quota.delete", "2", None)]


def test_holds_say_who_held_and_why(store: Store, given: dict[str, Any]) -> None:
    agent = str(World(store).agent().id)
    for reason in ("first", "second"):
        placed = {"reason": reason, **given}
        store.transact(holds.place, HoldScope.AGENT, agent, HoldMode.HOLD, **placed)
    store.transact(holds.lift, HoldScope.AGENT, agent, **given)
    facts = [{"by": "ann", "mode": "hold", "reason": reason} for reason in ("first", "second")]
    assert changes(store, subject=f"hold on agent {agent}") == [
        ("hold.place", "ann", None, facts[0]),
        ("hold.place", "ann", facts[0], facts[1]),
        ("hold.lift", "ann", facts[1], None),
    ]
    assert store.transact(audit.verify).holds


def test_jobs_that_people_edit_and_cancel_are_recorded_many_at_once_as_one(world: World) -> None:
    agent = world.agent()
    jobs = [world.submit(agent) for _ in range(3)]
    world.edit(jobs[0], priority=9)
    world.cancel(jobs[0])
    world.cancel(jobs[0])
    world.store.transact(agents.delete, agent.id, by=ANN, now=world.now)
    found = world.store.read(audit.page, by=ADMIN, limit=99)
    told = [(e.record.action, e.record.subject, e.record.before, e.record.after) for e in found][-4:]
    assert [each[:2] for each in told] == [
        ("job.edit", f"job {jobs[0].id}"),
        ("job.cancel", f"job {jobs[0].id}"),
        ("job.cancel", "2 jobs"),
        ("agent.delete", f"agent {agent.id}"),
    ], "what changes nothing leaves no record"
    assert (told[0][2], told[0][3]) == ('{"priority":5}', '{"priority":9}')
    assert all(str(job.id) in (told[2][3] or "") for job in jobs[1:])
