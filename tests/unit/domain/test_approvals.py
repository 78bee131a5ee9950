"""Approvals are given by other people, in time, for one thing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.approvals import (
    Approval,
    ApprovalState,
    Electorate,
    Need,
    NewApproval,
    Purpose,
    Vote,
    lacking,
    use,
    vote,
    withdraw,
)
from gaelp_ray.domain.errors import Conflict, Forbidden, InvalidInput
from gaelp_ray.domain.roles import Role
from gaelp_ray.domain.windows import Period
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


YES = (Vote("bob", True, "ok", T0), Vote("cat", True, "ok", T0))
BOTH = Electorate(approvers={"bob", "cat"})

#: What the approval is, what is needed, and what is wrong.
USES: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "as approved": ({}, {}, None),
    "for less": ({}, {"amount_micros": 99}, None),
    "no amount": ({}, {"amount_micros": None, "currency": None}, None),
    "for more": ({}, {"amount_micros": 101}, "good for 100"),
    "in another currency": ({}, {"currency": "USD"}, "good for 100"),
    "for another agent": ({}, {"subject": "agent 77"}, "is for spend of agent 7"),
    "for another purpose": ({}, {"purpose": Purpose.LIMIT}, "is for spend"),
    "for another limit": ({"period": Period.TOTAL}, {"period": Period.DAY}, "the total limit"),
    "for a limit, where none was named": ({}, {"period": Period.DAY}, "is for"),
    "for another change": (
        {"change": "attach 2 to global"},
        {"change": "detach from global"},
        "is for attach 2 to global",
    ),
    "before it is approved": ({"state": ApprovalState.REQUESTED}, {}, "is requested"),
    "twice": ({"state": ApprovalState.USED}, {}, "is used"),
    "too late": ({"expires_at": T0}, {}, "is expired"),
    "an amount where none was approved": ({"amount_micros": None, "currency": None}, {}, "good for None"),
    "of fewer people": ({"needed": 1}, {}, "asks 1 people"),
    "after the limit was changed": ({}, {"since": T0 + DAY / 2}, "before the limit was last changed"),
    "of the limit as it is": ({}, {"since": T0}, None),
}


@pytest.mark.parametrize("case", USES)
def test_an_approval_is_good_for_what_was_approved_once(case: str) -> None:
    fields, asked, wrong = USES[case]
    approval = an_approval(**{"state": ApprovalState.APPROVED, "votes": YES} | fields)
    given: dict[str, Any] = {"purpose": Purpose.SPEND, "subject": "agent 7", "amount_micros": 100}
    need = Need(**given | {"currency": "EUR"} | asked)
    found = lacking(approval, need, BOTH, T0)
    if wrong is not None:
        assert found is not None
        assert wrong in found
        return
    assert found is None
    used = use(approval, used_for="order 1")
    assert (used.state, used.used_for) == (ApprovalState.USED, "order 1")
    assert "is used" in (lacking(used, need, BOTH, T0) or "")


def by_admin(name: str, until: timedelta | None = None) -> Vote:
    return Vote(name, True, "ok", T0, by_admin=True, admin_until=None if until is None else T0 + until)


#: Who voted, who counts, who uses it: how many votes count.
COUNTED: dict[str, tuple[tuple[Vote, ...], Electorate, str | None, bool]] = {
    "both have the role": (YES, BOTH, None, True),
    "one lost the role": (YES, Electorate(approvers={"bob"}), None, False),
    "both lost the role": (YES, Electorate(), None, False),
    "one is an admin": ((YES[0], by_admin("root")), Electorate(approvers={"bob"}), None, True),
    "an admin's token still holds": ((YES[0], by_admin("root", DAY)), BOTH, None, True),
    "an admin's token has run out": ((YES[0], by_admin("root", timedelta(0))), BOTH, None, False),
    "one owns what is approved": (YES, Electorate({"bob", "cat"}, {"cat": "You own agent 7"}), None, False),
    "one owns it, by a name in other letters": (
        YES, Electorate({"bob", "cat"}, {"Cat ": "You own agent 7"}), None, False,
    ),
    "one is who asked": ((YES[0], Vote("Ann", True, "ok", T0)), Electorate({"bob", "Ann"}), None, False),
    "one person has two names": (
        (YES[0], Vote("BOB", True, "ok", T0)), Electorate({"bob", "BOB"}), None, False,
    ),
    "one uses it": (YES, BOTH, "cat", False),
    "another uses it": (YES, BOTH, "dan", True),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTED)
def test_votes_count_if_their_voters_have_the_right_when_it_is_used(case: str) -> None:
    votes, electorate, by, counts = COUNTED[case]
    approval = an_approval(state=ApprovalState.APPROVED, votes=votes)
    need = Need(purpose=Purpose.SPEND, subject="agent 7", amount_micros=100, currency="EUR")
    found = lacking(approval, need, electorate, T0, by=by)
    assert (found is None) is counts
    assert counts or "votes that count now" in (found or "")


def test_a_vote_of_somebody_who_lost_the_role_does_not_complete_an_approval() -> None:
    once = voted(an_approval(), BOB)
    given: dict[str, Any] = {"approves": True, "reason": "ok", "by": CAT, "roles": {Role.APPROVER}, "now": T0}
    assert vote(once, **given, electorate=Electorate({"cat"})).state is ApprovalState.REQUESTED
    assert vote(once, **given, electorate=Electorate({"bob", "cat"})).state is ApprovalState.APPROVED


def test_who_has_a_stake_in_it_does_not_vote() -> None:
    stake = Electorate({"bob"}, {"Bob": "You own agent 7"})
    with pytest.raises(Forbidden, match="You own agent 7, so another person"):
        vote(
            an_approval(), approves=True, reason="ok", by=BOB, roles={Role.APPROVER}, now=T0, electorate=stake
        )


def test_an_admin_votes_for_as_long_as_the_token_holds() -> None:
    root = Principal("root", admin=True, until=T0 + DAY)
    (cast,) = vote(an_approval(), approves=True, reason="ok", by=root, roles=(), now=T0).votes
    assert (cast.by_admin, cast.admin_until) == (True, T0 + DAY)


#: What is asked for, and what is wrong with it.
ASKED: dict[str, tuple[dict[str, Any], str | None]] = {
    "a spend": ({}, None),
    "a promotion": (
        {"purpose": Purpose.PROMOTION, "subject": "version 2", "amount_micros": None, "currency": None}, None,
    ),
    "a limit": ({"purpose": Purpose.LIMIT, "subject": "account 3", "period": Period.DAY}, None),
    "a budget in another currency": ({"purpose": Purpose.LIMIT, "subject": "agent 7"}, None),
    "a policy": (
        {"purpose": Purpose.POLICY, "subject": "policy caps", "change": "attach 2 to type simulation"}, None,
    ),
    "a spend without an amount": ({"amount_micros": None, "currency": None}, "amount_micros"),
    "a spend of an account": ({"subject": "account 7"}, "subject"),
    "an id in another form": ({"subject": "agent 07"}, "subject"),
    "an id that is none": ({"subject": "agent seven"}, "subject"),
    "a limit that is not named": ({"purpose": Purpose.LIMIT, "subject": "account 3"}, "period"),
    "a limit of nothing": ({"purpose": Purpose.LIMIT, "subject": "version 3"}, "subject"),
    "a period of a spend": ({"period": Period.DAY}, "period"),
    "a policy without a change": ({"purpose": Purpose.POLICY, "subject": "policy caps"}, "change"),
    "a policy with words": (
        {"purpose": Purpose.POLICY, "subject": "policy caps", "change": "make it weaker"}, "change",
    ),
    "a change of a spend": ({"change": "detach from global"}, "change"),
    "no currency": ({"currency": "euro"}, "currency"),
}  # fmt: skip


@pytest.mark.parametrize("case", ASKED)
def test_an_approval_says_exactly_what_it_is_for(case: str) -> None:
    fields, wrong = ASKED[case]
    given: dict[str, Any] = {"purpose": Purpose.SPEND, "subject": "agent 7", "reason": "spring", "ttl": DAY}
    given |= {"amount_micros": 5, "currency": "EUR"} | fields
    if wrong is None:
        assert NewApproval(**given).subject == given["subject"]
        return
    with pytest.raises(InvalidInput, match=f"`{wrong}`"):
        NewApproval(**given)


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
