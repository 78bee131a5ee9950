"""Who sees what of roles, switches, approvals, violations, platforms and the audit."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.approvals import NewApproval, Purpose
from gaelp_ray.domain.errors import Forbidden, NotFound
from gaelp_ray.domain.platforms import DeliveryReport
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.switches import EVERYTHING, SwitchScope, Target
from gaelp_ray.services import approvals, audit, compliance, platforms, reviews, roles, switches
from gaelp_ray.store.engine import Store
from tests.builders import ADMIN, ANN, BOB, T0, World

DAY = timedelta(days=1)
PERIOD = {"since": T0 - DAY, "until": T0 + DAY}
HOLDERS = {role: Principal(str(role)) for role in Role}


@pytest.fixture
def staffed(store: Store) -> Store:
    """One person for each role."""
    for role, person in HOLDERS.items():
        store.transact(roles.grant, person.user, role, by=ADMIN, now=T0)
    return store


def test_an_admin_sees_every_role_and_others_their_own(staffed: Store) -> None:
    everybody = staffed.read(roles.grants, by=ADMIN)
    assert [(each.user, each.role, each.by) for each in everybody] == [
        ("approver", Role.APPROVER, "root"),
        ("auditor", Role.AUDITOR, "root"),
        ("operator", Role.OPERATOR, "root"),
    ]
    assert staffed.read(roles.grants, by=HOLDERS[Role.AUDITOR]) == [everybody[1]]
    assert staffed.read(roles.grants, by=ANN) == []


def test_everybody_sees_the_switches_that_stop_him(staffed: Store) -> None:
    world = World(staffed)
    mine, other = world.agent(by=ANN), world.agent(by=BOB)
    targets = [
        Target(SwitchScope.AGENT, str(mine.id)),
        Target(SwitchScope.AGENT, str(other.id)),
        Target(SwitchScope.CAMPAIGN, "spring"),
        EVERYTHING,
        Target(SwitchScope.USER, "ann"),
        Target(SwitchScope.USER, "bob"),
    ]
    for target in targets:
        staffed.transact(switches.engage, target, reason="r", by=ADMIN, now=T0)

    def seen(by: Principal) -> list[Target]:
        return [switch.target for switch in staffed.read(switches.visible, by=by)]

    assert seen(ANN) == [targets[0], *targets[2:5]]
    assert seen(BOB) == [targets[1], *targets[2:4], targets[5]]
    assert seen(HOLDERS[Role.APPROVER]) == targets[2:4]
    for by in (ADMIN, HOLDERS[Role.OPERATOR], HOLDERS[Role.AUDITOR]):
        assert seen(by) == targets


def test_approvals_are_seen_by_who_asked_and_by_who_has_a_role(staffed: Store) -> None:
    ids = {}
    for by in (ANN, BOB):
        new = NewApproval(purpose=Purpose.PROMOTION, subject="version 7", reason=f"of {by.user}", ttl=DAY)
        ids[by] = staffed.transact(approvals.request, new, by=by, now=T0).id

    def seen(by: Principal) -> list[int]:
        return [each.id for each in staffed.read(approvals.page, by=by, now=T0, limit=9)]

    assert (seen(ANN), seen(BOB)) == ([ids[ANN]], [ids[BOB]])
    assert all(seen(by) == [ids[ANN], ids[BOB]] for by in (ADMIN, *HOLDERS.values()))
    assert staffed.read(approvals.get, ids[ANN], by=ANN, now=T0).reason == "of ann"
    assert staffed.read(approvals.get, ids[ANN], by=HOLDERS[Role.APPROVER], now=T0).id == ids[ANN]
    with pytest.raises(NotFound):
        staffed.read(approvals.get, ids[ANN], by=BOB, now=T0)


Ask = Callable[[Store, Principal], Any]
AUDITORS = {Role.AUDITOR}
OPERATORS = {Role.OPERATOR}


def a_report() -> DeliveryReport:
    facts: dict[str, Any] = {"platform": "p", "order_key": "o", "campaign": "c", "currency": "EUR"}
    return DeliveryReport(**facts, number=1, cost_micros=5, final=True, reported_at=T0)


FOR_SOME: dict[str, tuple[set[Role], Ask]] = {
    "all violations": (AUDITORS, lambda store, by: store.read(reviews.violations, by=by, limit=9)),
    "counts of violations": (
        AUDITORS,
        lambda store, by: store.read(reviews.violation_counts, since=T0, by=by),
    ),
    "the audit": (AUDITORS, lambda store, by: store.read(audit.page, by=by, limit=9)),
    "the proof of the audit": (AUDITORS, lambda store, by: store.transact(audit.verify, by=by)),
    "the compliance report": (
        AUDITORS,
        lambda store, by: store.read(compliance.report, **PERIOD, by=by, now=T0),
    ),
    "reports of platforms": (
        OPERATORS,
        lambda store, by: store.transact(platforms.receive, [a_report()], by=by, now=T0),
    ),
    "differences with platforms": (
        OPERATORS | AUDITORS,
        lambda store, by: store.read(platforms.differences, "p", **PERIOD, now=T0, by=by),
    ),
    "bookings of what platforms report": (
        OPERATORS,
        lambda store, by: store.transact(platforms.book, "p", **PERIOD, now=T0, by=by),
    ),
}


@pytest.mark.parametrize("what", FOR_SOME)
def test_are_for_these_roles_only(staffed: Store, what: str) -> None:
    allowed, ask = FOR_SOME[what]
    ask(staffed, ADMIN)
    for role, person in HOLDERS.items():
        if role in allowed:
            ask(staffed, person)
        else:
            with pytest.raises(Forbidden):
                ask(staffed, person)
    with pytest.raises(Forbidden):
        ask(staffed, ANN)


def test_the_audit_is_filtered_by_who_did_it(staffed: Store) -> None:
    for by in (ANN, BOB):
        staffed.transact(audit.record, "test.change", "thing", by=by, now=T0)
    found = staffed.read(audit.page, by=ADMIN, actor="bob", limit=9)
    assert [(each.record.actor, each.record.action) for each in found] == [("bob", "test.change")]
    assert staffed.read(audit.page, by=ADMIN, actor="bob", subject="other", limit=9) == []


def test_a_report_is_the_same_as_csv(staffed: Store) -> None:
    staffed.transact(audit.record, "test.change", 'a "thing",\nin two lines', by=ANN, now=T0)
    found = staffed.read(compliance.report, **PERIOD, by=ADMIN, now=T0)
    read = list(csv.DictReader(io.StringIO(compliance.to_csv(found))))
    rows = [row for rows in found.values() for row in rows]
    assert [(row["section"], row["subject"]) for row in read] == [
        (row["section"], row["subject"]) for row in rows
    ]
    assert read[-1]["subject"] == 'a "thing",\nin two lines'
