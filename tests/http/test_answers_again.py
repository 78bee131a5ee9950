"""What was answered under a key is answered again, whatever was opened, revoked or stopped since."""

from __future__ import annotations

import itertools
from typing import Any

from tests.replica import Replica

_NUMBERS = itertools.count(1)


def _new(word: str) -> str:
    return f"{word}{next(_NUMBERS)}"


def operator(replica: Replica) -> str:
    user = _new("olive")
    assert replica.put(f"/roles/{user}/operator").status_code in {200, 201, 204}
    return user


def revoke(replica: Replica, user: str) -> None:
    assert replica.call("DELETE", f"/roles/{user}/operator").status_code in {200, 204}


def budget(replica: Replica, scope: str, subject: str, money: str = "simulated", **more: Any) -> int:
    body = {"scope": scope, "subject": subject, "money": money} | more
    answer = replica.post("/budgets", body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def own_budget(replica: Replica, owner: str) -> int:
    return budget(replica, "agent", str(replica.agent(owner)["id"]))


def test_a_campaign_budget_that_is_opened_since_changes_no_answer(replica: Replica) -> None:
    ann, campaign = _new("ann"), _new("spring")
    own = own_budget(replica, ann)
    asked = {"key": "g2", "amount_micros": 5, "campaign": campaign}
    first = replica.post(f"/budgets/{own}/holds", asked, user=ann)
    assert first.status_code == 201
    opened = budget(replica, "campaign", campaign)

    again = replica.post(f"/budgets/{own}/holds", asked, user=ann)
    assert (again.status_code, again.json()) == (201, first.json())
    batch = replica.post(
        f"/budgets/{own}/operations", {"operations": [asked | {"operation": "hold"}]}, user=ann
    )
    [item] = batch.json()["items"]
    assert (item["status"], item["receipt"]["at"]) == (201, first.json()["at"])

    for other in (asked | {"amount_micros": 6}, asked | {"ttl_seconds": 7}):
        assert replica.post(f"/budgets/{own}/holds", other, user=ann).status_code == 409
    assert replica.post(f"/budgets/{own}/holds", asked | {"key": "new"}, user=ann).status_code == 403
    batch = replica.post(
        f"/budgets/{own}/operations",
        {"operations": [asked | {"operation": "hold", "key": "new"}, asked | {"operation": "hold"}]},
        user=ann,
    )
    assert [each["status"] for each in batch.json()["items"]] == [403, 201]
    assert replica.get(f"/budgets/{opened}/holds").json()["items"] == [], "it was never charged"


def test_a_membership_that_ended_since_changes_no_answer(replica: Replica) -> None:
    ann, campaign = _new("ann"), _new("spring")
    own, shared = own_budget(replica, ann), budget(replica, "campaign", campaign)
    replica.put(f"/budgets/{shared}/members/{ann}")
    asked = {"key": "m", "amount_micros": 5, "campaign": campaign}
    first = replica.post(f"/budgets/{own}/holds", asked, user=ann)
    assert first.status_code == 201
    renewal = {"key": "m2", "amount_micros": 3, "spent_micros": 2, "campaign": campaign}
    renewed = replica.post(f"/budgets/{own}/holds/m/renew", renewal, user=ann)
    assert renewed.status_code == 201
    replica.call("DELETE", f"/budgets/{shared}/members/{ann}")

    assert replica.post(f"/budgets/{own}/holds", asked, user=ann).json() == first.json()
    assert replica.post(f"/budgets/{own}/holds/m/renew", renewal, user=ann).json() == renewed.json()
    other = renewal | {"key": "m3"}
    assert replica.post(f"/budgets/{own}/holds/m2/renew", other, user=ann).status_code == 403


def test_a_role_that_is_gone_changes_no_answer_for_who_may_still_see_it(replica: Replica) -> None:
    olive = operator(replica)
    own = own_budget(replica, olive)
    real = replica.agent(olive, type="real_deployment", budget_limit=100.0)
    [account] = replica.get("/budgets", params={"scope": "agent", "subject": str(real["id"])}).json()["items"]
    user = budget(replica, "user", olive)
    foreign = own_budget(replica, _new("bob"))
    spend = {"key": "s", "amount_micros": 7}
    firsts = {
        path: replica.post(path, spend | {"key": f"s{n}"}, user=olive)
        for n, path in enumerate(
            [f"/budgets/{account['id']}/spends", f"/budgets/{user}/spends", f"/budgets/{user}/holds"]
        )
    }
    assert {each.status_code for each in firsts.values()} == {201}
    held = replica.post(f"/budgets/{own}/holds", {"key": "h", "amount_micros": 5}, user=olive)
    settled = replica.post(f"/budgets/{user}/holds/s2/settle", {"spent_micros": 9}, user=olive)
    assert (held.status_code, settled.status_code) == (201, 200)
    assert replica.post(f"/budgets/{foreign}/spends", spend, user=olive).status_code == 201
    revoke(replica, olive)

    for n, (path, first) in enumerate(firsts.items()):
        again = replica.post(path, spend | {"key": f"s{n}"}, user=olive)
        assert (again.status_code, again.json()) == (201, first.json()), path
        assert replica.post(path, spend | {"key": f"s{n}", "amount_micros": 8}, user=olive).status_code == 409
        assert replica.post(path, spend | {"key": f"new{n}"}, user=olive).status_code == 403
    again = replica.post(f"/budgets/{user}/holds/s2/settle", {"spent_micros": 9}, user=olive)
    assert (again.status_code, again.json()) == (200, settled.json())
    assert (
        replica.post(f"/budgets/{user}/holds/s2/settle", {"spent_micros": 8}, user=olive).status_code == 403
    )
    assert replica.post(f"/budgets/{foreign}/spends", spend, user=olive).status_code == 404, (
        "not seen any more"
    )
    batch = [spend | {"operation": "spend", "key": "s1"}, spend | {"operation": "spend", "key": "x"}]
    items = replica.post(f"/budgets/{user}/operations", {"operations": batch}, user=olive).json()["items"]
    assert [each["status"] for each in items] == [201, 403]


def test_what_an_admin_corrected_is_answered_again_without_the_token(replica: Replica) -> None:
    ann = _new("ann")
    own = own_budget(replica, ann)
    replica.post(f"/budgets/{own}/spends", {"key": "s", "amount_micros": 9}, user=ann)
    body = {"key": "c", "delta_micros": -2, "counted_at": "2026-01-01T00:00:00Z", "reason": "r"}
    admin = replica.token(ann, admin=True)
    first = replica.post(f"/budgets/{own}/corrections", body, token=admin)
    assert first.status_code == 201, first.text
    again = replica.post(f"/budgets/{own}/corrections", body, user=ann)
    assert (again.status_code, again.json()) == (201, first.json())
    assert replica.post(f"/budgets/{own}/corrections", body | {"key": "d"}, user=ann).status_code == 403


def test_one_user_fills_no_count_that_others_share(replica: Replica) -> None:
    everything = budget(replica, "global", "", limits_micros={"total": None, "day": None})
    eve, bob, whole = _new("eve"), _new("bob"), 10**15
    hers, his = own_budget(replica, eve), own_budget(replica, bob)
    for batch in range(37):
        holds = [
            {"operation": "hold", "key": f"{batch}/{n}", "amount_micros": whole, "ttl_seconds": 3600}
            for n in range(256)
        ]
        items = replica.post(f"/budgets/{hers}/operations", {"operations": holds}, user=eve).json()["items"]
        assert {each["status"] for each in items} == {201}
    asked = {"key": "mine", "amount_micros": 5}
    assert replica.post(f"/budgets/{his}/holds", asked, user=bob).status_code == 201
    spend = replica.post(f"/budgets/{everything}/spends", {"key": "true", "amount_micros": whole})
    assert (spend.status_code, spend.json()["amount_micros"]) == (201, whole)
    posts = [{"operation": "post", "hold_key": f"0/{n}"} for n in range(256)]
    items = replica.post(f"/budgets/{hers}/operations", {"operations": posts}, user=eve).json()["items"]
    assert {each["status"] for each in items} == {200}
    seen = replica.get(f"/budgets/{everything}").json()
    counted = {(each["pending_micros"], each["posted_micros"]) for each in seen["usages"]}
    assert counted == {((37 * 256 - 256) * whole + 5, 257 * whole)}
    balance = replica.get(f"/budgets/{everything}/balance").json()
    assert (balance["pending_micros"], balance["posted_micros"]) == next(iter(counted))
    assert replica.put(f"/budgets/{everything}/limits/week", {"limit_micros": None}).status_code == 200
    assert replica.get(f"/budgets/{everything}/statement").status_code == 200
