"""Approvals are given by other people, in time, for one thing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.approvals import Approval, ApprovalState, NewApproval, Purpose, use, vote, withdraw
from gaelp_ray.domain.errors import Conflict, Forbidden, GaelpError, InvalidInput, NotEligible
from gaelp_ray.domain.roles import Role
from tests.builders import ADMIN, ANN, BOB, T0

CAT = Principal("cat")
DAY = timedelta(days=1)


def an_approval(**fields: Any) -> Approval:
    given: dict[str, Any] = {
        "id": 1,
        "purpose": Purpose.SPEND,
        "subject": "agent 7",
        "amount_micros": 100,
        "currency": "EUR",
        "reason": "spring",
        "needed": 2,
        "state": ApprovalState.REQUESTED,
        "requested_by": "ann",
        "requested_at": T0,
        "expires_at": T0 + DAY,
    }
    return Approval(**given | fields)


def voted(
    approval: Approval, by: Principal, *, approves: bool = True, later: timedelta = DAY / 2
) -> Approval:
    roles = {Role.APPROVER}
    return vote(approval, approves=approves, reason="checked", by=by, roles=roles, now=T0 + later)


def test_two_other_people_approve() -> None:
    once = voted(an_approval(), BOB)
    assert (once.state, once.decided_at) == (ApprovalState.REQUESTED, None)
    twice = voted(once, CAT)
    assert (twice.state, twice.decided_at) == (ApprovalState.APPROVED, T0 + DAY / 2)
    assert [each.voter for each in twice.votes] == ["bob", "cat"]


def test_one_rejection_is_enough() -> None:
    rejected = voted(voted(an_approval(), BOB), CAT, approves=False)
    assert rejected.state is ApprovalState.REJECTED
    with pytest.raises(Conflict, match="rejected"):
        voted(rejected, ADMIN)


def test_nobody_approves_alone() -> None:
    with pytest.raises(Forbidden, match="another person"):
        voted(an_approval(), ANN)
    with pytest.raises(Forbidden, match="another person"):
        voted(an_approval(requested_by="root"), ADMIN)
    with pytest.raises(Conflict, match="a vote is not changed"):
        voted(voted(an_approval(), BOB), BOB)


def test_only_approvers_vote() -> None:
    for roles in (set(), {Role.OPERATOR, Role.AUDITOR}):
        with pytest.raises(Forbidden, match="approver"):
            vote(an_approval(), approves=True, reason="checked", by=BOB, roles=roles, now=T0)
    by_admin = vote(an_approval(needed=1), approves=True, reason="checked", by=ADMIN, roles=(), now=T0)
    assert by_admin.state is ApprovalState.APPROVED


def test_a_vote_has_a_reason() -> None:
    with pytest.raises(InvalidInput, match="reason"):
        vote(an_approval(), approves=True, reason="", by=BOB, roles={Role.APPROVER}, now=T0)


def test_time_runs_out_on_requests_and_on_approvals() -> None:
    assert voted(an_approval(), BOB, later=DAY - timedelta(microseconds=1)).votes
    with pytest.raises(Conflict, match="expired"):
        voted(an_approval(), BOB, later=DAY)
    approved = an_approval(state=ApprovalState.APPROVED)
    assert approved.at(T0 + DAY).state is ApprovalState.EXPIRED
    assert an_approval(state=ApprovalState.USED).at(T0 + DAY).state is ApprovalState.USED


def test_who_asked_may_withdraw() -> None:
    assert withdraw(an_approval(), by=ANN, now=T0).state is ApprovalState.WITHDRAWN
    with pytest.raises(Forbidden):
        withdraw(an_approval(), by=BOB, now=T0)
    with pytest.raises(Conflict):
        withdraw(an_approval(state=ApprovalState.APPROVED), by=ANN, now=T0)


USES: dict[str, tuple[dict[str, Any], dict[str, Any], type[GaelpError] | None]] = {
    "as approved": ({}, {}, None),
    "for less": ({}, {"amount_micros": 99}, None),
    "for more": ({}, {"amount_micros": 101}, NotEligible),
    "in another currency": ({}, {"currency": "USD"}, NotEligible),
    "for another agent": ({}, {"subject": "agent 77"}, NotEligible),
    "for another purpose": ({}, {"purpose": Purpose.LIMIT}, NotEligible),
    "before it is approved": ({"state": ApprovalState.REQUESTED}, {}, NotEligible),
    "twice": ({"state": ApprovalState.USED}, {}, NotEligible),
    "too late": ({"expires_at": T0}, {}, NotEligible),
    "an amount where none was approved": ({"amount_micros": None, "currency": None}, {}, NotEligible),
    "no amount": ({}, {"amount_micros": None, "currency": None}, None),
}


@pytest.mark.parametrize("case", USES)
def test_an_approval_is_good_for_what_was_approved_once(case: str) -> None:
    fields, asked, error = USES[case]
    approval = an_approval(**{"state": ApprovalState.APPROVED} | fields)
    given: dict[str, Any] = {"purpose": Purpose.SPEND, "subject": "agent 7", "amount_micros": 100}
    given |= {"currency": "EUR", "used_for": "order 1", "now": T0} | asked
    if error is None:
        used = use(approval, **given)
        assert (used.state, used.used_for) == (ApprovalState.USED, "order 1")
        return
    with pytest.raises(error):
        use(approval, **given)


@pytest.mark.parametrize(
    "fields",
    [
        {"ttl": timedelta(0)}, {"ttl": timedelta(days=31)}, {"reason": ""}, {"subject": "a\nb"},
        {"needed": 0}, {"needed": True}, {"amount_micros": 5}, {"currency": "EUR"},
        {"amount_micros": 0, "currency": "EUR"},
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    given: dict[str, Any] = {"purpose": Purpose.SPEND, "subject": "agent 7", "reason": "spring", "ttl": DAY}
    with pytest.raises(InvalidInput):
        NewApproval(**given | fields)
