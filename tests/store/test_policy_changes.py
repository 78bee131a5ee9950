"""Who may make real money less safe, and with whose agreement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.agents import AgentType
from gaelp_ray.domain.approvals import Approval, NewApproval, Purpose
from gaelp_ray.domain.errors import NotEligible, NotFound
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.safety.policies import Attach, Attachment, Policy
from gaelp_ray.services import agents, approvals, audit, policies, roles
from gaelp_ray.store.engine import Store
from tests.bank import Bank
from tests.builders import ADMIN, ANN, BOB, T0, an_agent

OLIVE, ROOT2 = Principal("olive"), Principal("root2", admin=True)
GLOBAL = Attachment(Attach.GLOBAL)
REAL = Attachment(Attach.TYPE, "real_deployment")
PLAY = Attachment(Attach.TYPE, "simulation")


class Office(Bank):
    """Where olive, an operator and no admin, looks after policies."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        store.transact(roles.grant, OLIVE.user, Role.OPERATOR, by=ADMIN, now=self.now)
        self.caps = iter(range(1, 99))

    def agent(self, kind: AgentType) -> Attachment:
        new = replace(an_agent(str(kind)), type=kind)
        return Attachment(
            Attach.AGENT, str(self.store.transact(agents.register, new, currency="EUR", by=ANN, now=T0).id)
        )

    def write(self, name: str = "safe") -> Policy:
        """Another version, unlike those before."""
        document = {"currency": "EUR", "rules": [{"rule": "action_cap", "max_micros": next(self.caps)}]}
        return self.store.transact(policies.write, name, document, by=OLIVE, now=self.now)

    def attach(
        self, to: Attachment, *, version: int | None = None, by: Principal = OLIVE, name: str = "safe"
    ) -> None:
        self.store.transact(policies.attach, name, version, to, by=by, now=self.now)

    def detach(self, to: Attachment, *, by: Principal = OLIVE) -> None:
        self.store.transact(policies.detach, "safe", to, by=by, now=self.now)

    def approve(
        self, change: str = "detach from global", *, subject: str = "policy safe", needed: int = 2
    ) -> Approval:
        new = NewApproval(
            purpose=Purpose.POLICY, subject=subject, change=change, reason="r", ttl=timedelta(days=1),
            needed=needed,
        )  # fmt: skip
        asked = self.store.transact(approvals.request, new, by=OLIVE, now=self.now)
        for by in (ADMIN, ROOT2)[:needed]:
            given: dict[str, Any] = {"reason": "ok", "by": by, "now": self.now}
            asked = self.store.transact(approvals.vote, asked.id, approves=True, **given)
        return asked

    def used_for(self, approval: Approval) -> str | None:
        return self.store.read(approvals.get, approval.id, now=self.now).used_for

    def places(self, version: int) -> list[Attachment]:
        policy = self.store.read(policies.get, "safe", version)
        return self.store.read(policies.places, [policy])[policy.id]


@pytest.fixture
def office(store: Store) -> Office:
    return Office(store)


BINDING: dict[str, Callable[[Office], Attachment]] = {
    "everybody": lambda _: GLOBAL,
    "every real deployment": lambda _: REAL,
    "one real deployment": lambda office: office.agent(AgentType.REAL_DEPLOYMENT),
}
PLAYING: dict[str, Callable[[Office], Attachment]] = {
    "every simulation": lambda _: PLAY,
    "one simulation": lambda office: office.agent(AgentType.SIMULATION),
    "one evaluation": lambda office: office.agent(AgentType.EVALUATION),
}


@pytest.mark.parametrize("whom", BINDING)
def test_what_binds_real_money_is_replaced_with_an_approval(office: Office, whom: str) -> None:
    place = BINDING[whom](office)
    office.write()
    office.attach(place)
    office.write()
    there = f"{place.scope} {place.subject}".rstrip()
    with pytest.raises(NotEligible, match="policy of policy safe") as refused:
        office.attach(place)
    assert refused.value.details["change"] == f"attach 2 to {there}", "it says what to ask for"
    office.approve(f"detach from {there}")
    office.approve(f"attach 1 to {there}")
    with pytest.raises(NotEligible):
        office.attach(place)
    assert office.places(1) == [place], "a refused change changes nothing"
    approval = office.approve(f"attach 2 to {there}")
    office.attach(place)
    assert (office.places(1), office.places(2)) == ([], [place])
    assert office.used_for(approval) == f"attach 2 to {there}"
    office.detach(place)
    assert office.places(2) == [], "what was approved before, and not used"
    office.attach(place)
    with pytest.raises(NotEligible):
        office.detach(place)


@pytest.mark.parametrize("whom", PLAYING)
def test_what_binds_no_real_money_is_changed_without_one(office: Office, whom: str) -> None:
    place = PLAYING[whom](office)
    office.write()
    office.attach(place)
    office.write()
    office.attach(place)
    office.detach(place)
    assert office.places(2) == []


def test_a_policy_that_was_not_there_only_makes_it_stricter(office: Office) -> None:
    office.write()
    office.write("other")
    office.attach(GLOBAL)
    office.attach(GLOBAL, name="other")
    office.attach(REAL)
    assert office.places(1) == [GLOBAL, REAL]


def test_the_same_version_again_needs_nobody(office: Office) -> None:
    office.write()
    office.attach(GLOBAL)
    office.attach(GLOBAL)
    assert office.places(1) == [GLOBAL]


def test_an_admin_decides_alone_and_is_audited(office: Office) -> None:
    office.write()
    office.attach(GLOBAL)
    office.write()
    unused = office.approve()
    office.attach(GLOBAL, by=ADMIN)
    office.detach(GLOBAL, by=ADMIN)
    assert office.used_for(unused) is None
    found = [each.record for each in office.store.read(audit.page, by=ADMIN, subject="global", limit=9)]
    assert [(record.actor, record.action) for record in found] == [
        ("olive", "policy.attach"),
        ("root", "policy.attach"),
        ("root", "policy.detach"),
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"subject": "policy other"},
        {"needed": 1},
        {"change": "detach from type real_deployment"},
        {"change": "attach 1 to global"},
    ],
    ids=["of another policy", "of one person", "of another place", "of another change"],
)
def test_an_approval_does_not_do(office: Office, given: dict[str, Any]) -> None:
    office.write()
    office.attach(GLOBAL)
    office.approve(**given)
    with pytest.raises(NotEligible):
        office.detach(GLOBAL)
    assert office.places(1) == [GLOBAL]


def test_what_binds_an_agent_is_shown_to_those_who_may_see_it(office: Office) -> None:
    place = office.agent(AgentType.REAL_DEPLOYMENT)
    for number, to in enumerate((place, REAL, GLOBAL, PLAY)):
        office.write(f"policy {number}")
        office.attach(to, name=f"policy {number}")
    found = office.store.read(policies.binding, int(place.subject), by=ANN)
    assert [policy.name for policy in found] == ["policy 0", "policy 1", "policy 2"]
    with pytest.raises(NotFound):
        office.store.read(policies.binding, int(place.subject), by=BOB)
