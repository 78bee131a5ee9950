"""Whatever lets more real money be spent passes one gate, by whichever door it comes."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from gaelp_ray import services
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import Agent, AgentType
from gaelp_ray.domain.approvals import Approval, ApprovalState, NewApproval, Purpose
from gaelp_ray.domain.errors import Conflict, Forbidden, GaelpError, NotEligible
from gaelp_ray.domain.ledger import Account, Money, NewAccount, Scope
from gaelp_ray.domain.ramps import Bar, Stage, Watch
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach, Attachment
from gaelp_ray.domain.switches import SwitchScope, Target
from gaelp_ray.domain.windows import Period
from gaelp_ray.services import (
    accounts,
    agents,
    approvals,
    budgets,
    policies,
    promotions,
    ramps,
    roles,
    switches,
)
from gaelp_ray.store.engine import Store
from serve_app.app import create_app
from tests import evidence
from tests.bank import Bank
from tests.builders import ADMIN, ANN, T0, an_agent, at_once

OLGA = Principal("olga")
DAY = timedelta(days=1)
GLOBAL = Attachment(Attach.GLOBAL)
STAGES = (Stage(10, timedelta(hours=1)), Stage(100, timedelta(hours=1)))
WATCH = Watch("profit", Bar(min_samples=1, min_value=0.0))
WEAK_GATE = {"rules": [{"rule": "required_evidence", "min_seeds": 2, "approvals": 0}]}


class House(Bank):
    """Ann's agent may spend real money, 100 a day; Olga operates and is no admin."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        store.transact(roles.grant, "olga", Role.OPERATOR, by=ADMIN, now=self.now)
        self.agent = self.deployed("bidder")
        self.account = self.agent.account_id
        self.set(self.account, Period.DAY, 100)

    def deployed(self, name: str, *, limit: int | None = 1000) -> Agent:
        """An agent with a promoted version."""
        new = replace(an_agent(name, limit_micros=limit), type=AgentType.REAL_DEPLOYMENT)
        agent = self.store.transact(agents.register, new, currency="EUR", by=ANN, now=self.now)
        version = agent.current.id
        evidence.record(self.store, agent.id, version, now=self.now)
        self.approve(purpose=Purpose.PROMOTION, subject=f"version {version}")
        self.store.transact(promotions.promote, version, by=ANN, now=self.now)
        return agent

    def set(self, account_id: int, period: Period, limit: int | None, *, by: Principal = ADMIN) -> None:
        self.store.transact(budgets.set_limit, account_id, period, limit, by=by, now=self.now)

    def another(self, by: Principal) -> Account:
        new = NewAccount(Scope.AGENT, str(self.agent.id), "USD", Money.REAL)
        return self.store.transact(budgets.open_account, new, {Period.DAY: 150}, by=by, now=self.now)

    def approve(self, **fields: Any) -> Approval:
        asks = fields.pop("asks", ANN)
        new = NewApproval(**{"reason": "spring", "ttl": DAY} | fields)
        return evidence.approved(self.store, new, now=self.now, asks=asks)

    def ramp(self, full_day: int, *, by: Principal) -> int:
        version = self.agent.current.id
        started = self.store.transact(
            ramps.start, version, self.account, full_day, watch=WATCH, stages=STAGES, by=by, now=self.now
        )
        return started.id

    def roll_back(self, ramp_id: int) -> None:
        self.store.transact(ramps.roll_back, ramp_id, reason="r", by=ADMIN, now=self.now)

    def write(self, document: dict[str, Any], name: str = "caps") -> None:
        self.store.transact(policies.write, name, document, by=ADMIN, now=self.now)

    def attach(self, version: int | None = None, *, by: Principal = ADMIN, name: str = "caps") -> None:
        self.store.transact(policies.attach, name, version, GLOBAL, by=by, now=self.now)

    def detach(self, *, by: Principal = ADMIN, name: str = "caps") -> None:
        self.store.transact(policies.detach, name, GLOBAL, by=by, now=self.now)

    def everything(self) -> dict[str, list[Any]]:
        """All that a change of limits, policies, ramps and switches could have left."""
        tables = (
            "accounts", "account_limits", "policy_attachments", "ramps", "kill_switches", "agents",
            "approvals", "audit_records", "promotions",
        )  # fmt: skip
        with self.store.engine.connect() as connection:
            return {
                table: sorted(map(str, connection.execute(text(f"SELECT * FROM {table}"))))
                for table in tables
            }


@pytest.fixture
def house(store: Store) -> House:
    return House(store)


def caps(most: int) -> dict[str, Any]:
    return {"currency": "EUR", "rules": [{"rule": "action_cap", "max_micros": most}]}


def nothing(_: House) -> None: ...


@dataclass(frozen=True)
class Door:
    """A way to let more real money be spent."""

    act: Callable[[House, Principal], Any]
    #: What has to be approved for it.
    needs: Callable[[House], dict[str, Any]]
    before: Callable[[House], Any] = nothing
    #: Back to what it was, by an admin.
    undo: Callable[[House], Any] = nothing


def of_limit(micros: int, period: Period = Period.DAY) -> Callable[[House], dict[str, Any]]:
    return lambda house: {
        "purpose": Purpose.LIMIT, "subject": f"account {house.account}", "period": period,
        "amount_micros": micros, "currency": "EUR",
    }  # fmt: skip


def of_policy(change: str, name: str = "caps") -> Callable[[House], dict[str, Any]]:
    return lambda _: {"purpose": Purpose.POLICY, "subject": f"policy {name}", "change": change}


def two_versions(house: House) -> None:
    house.write(caps(10))
    house.attach()
    house.write(caps(20))


def unlimited(house: House) -> None:
    house.set(house.account, Period.DAY, None)
    house.set(house.account, Period.TOTAL, None)


def rolled_back(house: House) -> None:
    house.roll_back(house.ramp(50, by=ADMIN))


def end_ramp(house: House) -> None:
    house.roll_back(house.store.read(ramps.live)[0].id)
    house.set(house.account, Period.DAY, 100)


def open_again(house: House, by: Principal) -> Account:
    new = NewAccount(Scope.AGENT, str(house.agent.id), "EUR", Money.REAL)
    return house.store.transact(budgets.open_account, new, {Period.DAY: 150}, by=by, now=house.now)


DOORS: dict[str, Door] = {
    "a higher limit": Door(
        lambda house, by: house.set(house.account, Period.DAY, 150, by=by),
        of_limit(150),
        undo=lambda house: house.set(house.account, Period.DAY, 100),
    ),
    "a budget opened again with a higher limit": Door(
        open_again, of_limit(150), undo=lambda house: house.set(house.account, Period.DAY, 100)
    ),
    "a higher budget_limit of an agent": Door(
        lambda house, by: house.store.transact(
            agents.change, house.agent.id, fields={"budget_limit_micros": 2000},
            by=Principal("ann") if by is OLGA else by, now=house.now,
        ),
        of_limit(2000, Period.TOTAL),
        undo=lambda house: house.set(house.account, Period.TOTAL, 1000),
    ),
    "the first limit of an agent that may spend": Door(
        lambda house, by: house.set(house.account, Period.DAY, 150, by=by),
        of_limit(150),
        before=unlimited,
        undo=unlimited,
    ),
    "a budget in another currency": Door(
        House.another,
        lambda house: {
            "purpose": Purpose.LIMIT, "subject": f"agent {house.agent.id}", "amount_micros": 150,
            "currency": "USD",
        },
    ),
    "a ramp that ends above the limit": Door(
        lambda house, by: house.ramp(150, by=by), of_limit(150), undo=end_ramp
    ),
    "a ramp after a rollback": Door(
        lambda house, by: house.ramp(50, by=by), of_limit(50), before=rolled_back,
        undo=lambda house: house.roll_back(house.store.read(ramps.live)[0].id),
    ),
    "a ramp on a budget without a limit": Door(
        lambda house, by: house.ramp(150, by=by), of_limit(150), before=unlimited,
        undo=lambda house: (house.roll_back(house.store.read(ramps.live)[0].id), unlimited(house)),
    ),
    "a policy that is detached": Door(
        lambda house, by: house.detach(by=by), of_policy("detach from global"), before=two_versions,
        undo=lambda house: house.attach(1),
    ),
    "another version of a policy": Door(
        lambda house, by: house.attach(2, by=by), of_policy("attach 2 to global"), before=two_versions,
        undo=lambda house: house.attach(1),
    ),
    "a gate that asks for less than none": Door(
        lambda house, by: house.attach(by=by, name="gate"), of_policy("attach 1 to global", "gate"),
        before=lambda house: house.write(WEAK_GATE, "gate"),
        undo=lambda house: house.detach(name="gate"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOORS)
def test_without_an_approval_it_is_refused_and_changes_nothing(house: House, name: str) -> None:
    door = DOORS[name]
    door.before(house)
    before = house.everything()

    with pytest.raises(NotEligible) as refused:
        door.act(house, OLGA)

    assert house.everything() == before
    needs = door.needs(house)
    told = {key: refused.value.details[key] for key in needs}
    assert told == {key: str(value) if isinstance(value, str) else value for key, value in needs.items()}


@pytest.mark.parametrize("name", DOORS)
def test_with_an_approval_it_works_once(house: House, name: str) -> None:
    door = DOORS[name]
    door.before(house)
    approval = house.approve(**door.needs(house))

    door.act(house, OLGA)

    found = house.store.read(approvals.get, approval.id, now=house.now)
    assert (found.state, bool(found.used_for)) == (ApprovalState.USED, True)
    if door.undo is not nothing:
        door.undo(house)
        with pytest.raises(NotEligible):
            door.act(house, OLGA)


@pytest.mark.parametrize("name", DOORS)
def test_an_admin_decides_alone_and_uses_up_nobodys_approval(house: House, name: str) -> None:
    door = DOORS[name]
    door.before(house)
    approval = house.approve(**door.needs(house))

    door.act(house, ADMIN)

    assert house.store.read(approvals.get, approval.id, now=house.now).state is ApprovalState.APPROVED


@pytest.mark.parametrize("name", DOORS)
def test_an_approval_of_something_else_does_not_do(house: House, name: str) -> None:
    door = DOORS[name]
    door.before(house)
    needs = door.needs(house)
    others: list[dict[str, Any]] = []
    if needs["purpose"] is Purpose.LIMIT:
        others = [{"amount_micros": needs["amount_micros"] - 1}, {"currency": "XAU"}]
        if "period" in needs:
            others += [{"period": Period.WEEK}, {"subject": f"account {house.account + 999}"}]
    else:
        others = [{"change": "detach from type real_deployment"}, {"subject": "policy other"}]
    for other in [*others, {"needed": 1}]:
        given = needs | other
        votes = (evidence.APPROVERS[0],) if other == {"needed": 1} else evidence.APPROVERS
        new = NewApproval(**{"reason": "r", "ttl": DAY} | given)
        evidence.approved(house.store, new, now=house.now, voters=votes)

    with pytest.raises(NotEligible):
        door.act(house, OLGA)


@pytest.mark.parametrize("name", DOORS)
def test_votes_count_only_while_their_voters_have_the_role(house: House, name: str) -> None:
    door = DOORS[name]
    door.before(house)
    house.approve(**door.needs(house))
    voter = evidence.APPROVERS[0].user
    house.store.transact(roles.revoke, voter, Role.APPROVER, by=ADMIN, now=house.now)

    with pytest.raises(NotEligible, match="1 votes that count now"):
        door.act(house, OLGA)
    house.store.transact(roles.grant, voter, Role.APPROVER, by=ADMIN, now=house.now)
    door.act(house, OLGA)


def test_what_was_approved_of_one_limit_is_not_used_on_another_value_of_it(house: House) -> None:
    house.approve(**of_limit(150)(house))
    house.wait(timedelta(minutes=1))
    house.set(house.account, Period.DAY, 10, by=ANN)

    with pytest.raises(NotEligible, match="before the limit was last changed"):
        house.set(house.account, Period.DAY, 150, by=OLGA)
    house.approve(**of_limit(150)(house))
    house.set(house.account, Period.DAY, 150, by=OLGA)


def test_an_approval_that_expired_or_was_rejected_opens_nothing(house: House) -> None:
    house.approve(**of_limit(150)(house))
    house.wait(DAY)
    with pytest.raises(NotEligible):
        house.set(house.account, Period.DAY, 150, by=OLGA)


def test_an_owner_does_not_vote_on_what_concerns_their_agent(house: House) -> None:
    house.store.transact(roles.grant, "ann", Role.APPROVER, by=ADMIN, now=house.now)
    subjects: list[dict[str, Any]] = [
        of_limit(150)(house),
        {
            "purpose": Purpose.LIMIT,
            "subject": f"agent {house.agent.id}",
            "amount_micros": 1,
            "currency": "USD",
        },
        {
            "purpose": Purpose.SPEND,
            "subject": f"agent {house.agent.id}",
            "amount_micros": 1,
            "currency": "EUR",
        },
        {"purpose": Purpose.PROMOTION, "subject": f"version {house.agent.current.id}"},
        of_policy(f"detach from agent {house.agent.id}")(house),
    ]
    for fields in subjects:
        new = NewApproval(**{"reason": "r", "ttl": DAY} | fields)
        asked = house.store.transact(approvals.request, new, by=OLGA, now=house.now)
        vote: dict[str, Any] = {"approves": True, "reason": "ok", "now": house.now}
        with pytest.raises(Forbidden, match="You own agent"):
            house.store.transact(approvals.vote, asked.id, by=ANN, **vote)


def test_who_approved_a_change_does_not_make_it_alone_with_one_other(house: House) -> None:
    dan = evidence.APPROVERS[0]
    house.store.transact(roles.grant, dan.user, Role.OPERATOR, by=ADMIN, now=house.now)
    house.approve(**of_limit(150)(house))
    with pytest.raises(NotEligible, match="1 votes that count now"):
        house.set(house.account, Period.DAY, 150, by=dan)
    house.set(house.account, Period.DAY, 150, by=OLGA)


def test_a_limit_of_real_money_is_taken_away_by_an_admin_only(house: House) -> None:
    before = house.everything()
    with pytest.raises(Forbidden, match="admin"):
        house.set(house.account, Period.DAY, None, by=OLGA)
    assert house.everything() == before
    house.set(house.account, Period.DAY, None)


TIGHTER: dict[str, Callable[[House], Any]] = {
    "a lower limit": lambda house: house.set(house.account, Period.DAY, 50, by=OLGA),
    "the same limit": lambda house: house.set(house.account, Period.DAY, 100, by=OLGA),
    "a limit of another period": lambda house: house.set(house.account, Period.WEEK, 10**9, by=OLGA),
    "a ramp below the limit": lambda house: house.ramp(100, by=OLGA),
    "a ramp where only the total is limited": lambda house: (
        house.set(house.account, Period.DAY, None), house.ramp(10**6, by=OLGA),
    ),
    "a team's budget": lambda house: house.store.transact(
        budgets.open_account, NewAccount(Scope.TEAM, "ads", "USD", Money.REAL), {Period.DAY: 10**9},
        by=OLGA, now=house.now,
    ),
    "a policy that was not there": lambda house: (house.write(caps(10)), house.attach(by=OLGA)),
    "a gate that asks for more": lambda house: (
        house.write({"rules": [{"rule": "required_evidence", "min_seeds": 50, "approvals": 3}]}, "gate"),
        house.attach(by=OLGA, name="gate"),
    ),
    "a weaker gate beside a stronger one": lambda house: (
        house.write({"rules": [{"rule": "required_evidence", "min_seeds": 50}]}, "strong"),
        house.attach(by=OLGA, name="strong"),
        house.write(WEAK_GATE, "gate"),
        house.attach(by=OLGA, name="gate"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TIGHTER)
def test_what_loosens_nothing_needs_nobody(house: House, case: str) -> None:
    TIGHTER[case](house)


def test_limits_are_free_until_a_version_is_promoted(store: Store) -> None:
    new = replace(an_agent(), type=AgentType.REAL_DEPLOYMENT)
    agent = store.transact(agents.register, new, currency="EUR", by=ANN, now=T0)
    store.transact(budgets.set_limit, agent.account_id, Period.DAY, 10**9, by=ANN, now=T0)
    with pytest.raises(NotEligible):
        store.transact(budgets.set_limit, agent.account_id, Period.DAY, 10**9 + 1, by=ANN, now=T0)


def test_an_account_keeps_its_time_zone_and_its_end(house: House) -> None:
    known = house.store.read(accounts.account, house.account)
    for fields in ({"timezone": "Pacific/Kiritimati"}, {"closes_at": T0 + DAY}):
        new = NewAccount(
            **{"scope": known.scope, "subject": known.subject, "currency": "EUR", "money": known.money}
            | fields
        )  # type: ignore[arg-type]
        with pytest.raises(Conflict, match="cannot change"):
            house.store.transact(budgets.open_account, new, {}, by=ADMIN, now=house.now)


def test_who_is_stopped_does_not_release_their_own_switch(house: House) -> None:
    house.store.transact(roles.grant, "ann", Role.OPERATOR, by=ADMIN, now=house.now)
    given: dict[str, Any] = {"reason": "r", "now": house.now}
    for target in (Target(SwitchScope.AGENT, str(house.agent.id)), Target(SwitchScope.USER, "ann")):
        house.store.transact(switches.engage, target, by=ANN, **given)
        before = house.everything()
        with pytest.raises(Forbidden, match="another operator"):
            house.store.transact(switches.release, target, by=ANN, **given)
        assert house.everything() == before
        assert not house.store.transact(switches.release, target, by=OLGA, **given).engaged


def test_two_at_once_do_not_share_an_approval(house: House) -> None:
    house.approve(**of_limit(150)(house))

    def raise_it(number: int) -> Any:
        return house.set(house.account, Period.DAY, 150 - number, by=OLGA)

    refused = [each for each in at_once(4, raise_it) if isinstance(each, GaelpError)]
    used = house.store.read(approvals.page, purpose=Purpose.LIMIT, now=house.now, limit=9)
    assert [each.state for each in used] == [ApprovalState.USED]
    assert all(isinstance(each, NotEligible) for each in refused)


#: Every route that changes something: by which doors it loosens, or why it cannot.
ROUTES: dict[str, set[str] | str] = {
    "POST /agents": "a new agent has no promoted version, so its first limit lets nothing be spent yet",
    "PATCH /agents/{agent_id}": {"a higher budget_limit of an agent"},
    "DELETE /agents/{agent_id}": "an archived agent spends nothing",
    "POST /agents/{agent_id}/versions": "a new version was not promoted, so it spends no real money",
    "POST /agents/{agent_id}/rollback": "the version must have been promoted; limits stay, a live ramp ends",
    "POST /jobs": "jobs spend within limits, through the gate of reviews",
    "PATCH /jobs/{job_id}": "it changes no limit",
    "POST /jobs:cancel": "it ends what spends",
    "POST /jobs/{job_id}/cancel": "it ends what spends",
    "POST /agents/{agent_id}/metrics": "a ramp goes no further than what was permitted when it began",
    "POST /jobs:plan": "it stores nothing",
    "PUT /quotas/{members}/{name}": "admins only, who decide alone",
    "DELETE /quotas/{members}/{name}": "admins only, who decide alone",
    "PUT /holds/{scope}": "it keeps jobs from starting",
    "PUT /holds/{scope}/{name}": "it keeps jobs from starting",
    "DELETE /holds/{scope}": "jobs that start spend within limits",
    "DELETE /holds/{scope}/{name}": "jobs that start spend within limits",
    "POST /budgets": {"a budget opened again with a higher limit", "a budget in another currency"},
    "PUT /budgets/{budget_id}/limits/{period}": {
        "a higher limit",
        "the first limit of an agent that may spend",
    },
    "POST /budgets/{budget_id}/holds": "it takes from what is left",
    "POST /budgets/{budget_id}/holds/{key:path}/post": "no more than was held",
    "POST /budgets/{budget_id}/holds/{key:path}/void": "it gives back what was held and not spent",
    "POST /budgets/{budget_id}/holds/{key:path}/settle": "what was held and not spent returns",
    "POST /budgets/{budget_id}/holds/{key:path}/renew": "it holds no real money of agents",
    "POST /budgets/{budget_id}/spends": "it takes from what is left",
    "POST /budgets/{budget_id}/corrections": "admins only, who decide alone",
    "POST /budgets/{budget_id}/operations": "what it does is done by the routes above as well",
    "PUT /budgets/{budget_id}/members/{user}": "limits bind a new member as everybody",
    "DELETE /budgets/{budget_id}/members/{user}": "it takes a right away",
    "POST /policies:dry-run": "it stores nothing",
    "POST /policies/{name}": "what is attached stays attached in its own version",
    "PUT /policies/{name}/attachments": {
        "another version of a policy",
        "a gate that asks for less than none",
    },
    "DELETE /policies/{name}/attachments": {"a policy that is detached"},
    "POST /kill-switches": "it stops what spends",
    "POST /kill-switches/release": "an operator whom it does not stop decides: the second person",
    "POST /approvals": "nothing is permitted until others agree",
    "POST /approvals/{approval_id}/approve": "votes count if their voters have the right when it is used",
    "POST /approvals/{approval_id}/reject": "it permits nothing",
    "POST /approvals/{approval_id}/withdraw": "it permits nothing",
    "PUT /roles/{user}/{role}": "admins only, who decide alone",
    "DELETE /roles/{user}/{role}": "admins only; votes of who lost the role count no more",
    "POST /agents/{agent_id}/versions/{version}/evidence": "people still approve the promotion",
    "POST /agents/{agent_id}/versions/{version}/promotion": "it uses up an approval of its own",
    "POST /ramps": {
        "a ramp that ends above the limit",
        "a ramp after a rollback",
        "a ramp on a budget without a limit",
    },
    "POST /ramps/{ramp_id}/rollback": "it lets nothing be spent",
    "POST /platforms/{name}/reports": "it says what was spent",
    "POST /platforms/{name}/reconcile": "it books what was spent",
}


def test_every_route_that_changes_something_is_judged() -> None:
    app = create_app(body_limit_bytes=1)
    found = {
        f"{method} {route.path.removeprefix('/api/v1')}"  # type: ignore[attr-defined]
        for route in app.routes
        for method in (getattr(route, "methods", None) or set()) - {"GET", "HEAD"}
    }
    assert found == set(ROUTES), "a route that changes something is judged here"
    named = {door for doors in ROUTES.values() if isinstance(doors, set) for door in doors}
    assert named == set(DOORS), "each door is tried above"


#: Public functions of services that write, in the modules that move limits, policies, ramps and switches.
FUNCTIONS: dict[str, str] = {
    "accounts.change_limit": "through the gate",
    "accounts.of_agent": "it opens an account without a limit, which holds nothing",
    "accounts.of_user": "it opens an account for compute, which is booked in any case",
    "accounts.open_account": "it opens an account without a limit, which holds nothing",
    "accounts.set_limit": "for the service itself: by the gate, at a registration, for a ramp",
    "agents.add_version": "the version was not promoted",
    "agents.change": "through the gate",
    "agents.delete": "an archived agent spends nothing",
    "agents.register": "nothing is promoted yet",
    "agents.roll_back": "limits stay",
    "approvals.expire_due": "it permits nothing",
    "approvals.find": "the gate itself",
    "approvals.request": "nothing is permitted until others agree",
    "approvals.use": "the gate itself",
    "approvals.vote": "votes count if their voters have the right when it is used",
    "approvals.withdraw": "it permits nothing",
    "budgets.open_account": "through the gate",
    "budgets.set_limit": "through the gate",
    "currencies.keep": "a setting, by whoever runs the service; refused while limits would bind nobody",
    "loosening.permit": "the gate itself",
    "members.add": "limits bind a new member as everybody",
    "members.remove": "it takes a right away",
    "policies.attach": "through the gate",
    "policies.detach": "through the gate",
    "policies.write": "what is attached stays attached in its own version",
    "promotions.promote": "it uses up an approval of its own",
    "promotions.record_evidence": "people still approve the promotion",
    "promotions.record_runs": "people still approve the promotion",
    "quotas.delete": "admins only",
    "quotas.put": "admins only",
    "ramps.advance": "no further than what was permitted when it began, nor past a limit set by hand",
    "ramps.roll_back": "it lets nothing be spent",
    "ramps.start": "through the gate",
    "roles.grant": "admins only",
    "roles.revoke": "admins only",
    "spending.account_for": "it opens an account without a limit, which holds nothing",
    "switches.engage": "it stops what spends",
    "switches.release": "an operator whom it does not stop decides: the second person",
}
#: Modules that move none of these.
OTHERS = {
    "attempts", "audit", "compliance", "costs", "duties", "holds", "jobs", "launching", "ledger", "logs",
    "metrics", "mirror", "platforms", "reconcile", "reviews", "savings", "scheduling", "stakes", "statements",
    "status", "submissions", "tokens", "transitions",
}  # fmt: skip


def test_every_use_case_that_moves_a_bound_on_money_is_judged() -> None:
    found = set()
    for module in pkgutil.iter_modules(services.__path__):
        if module.name in OTHERS:
            continue
        loaded = importlib.import_module(f"{services.__name__}.{module.name}")
        found |= {
            f"{module.name}.{name}"
            for name, each in vars(loaded).items()
            if inspect.isfunction(each)
            and each.__module__ == loaded.__name__
            and not name.startswith("_")
            and next(iter(inspect.signature(each).parameters), "") == "tx"
        }
    assert found == set(FUNCTIONS)
