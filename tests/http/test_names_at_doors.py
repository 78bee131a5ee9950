"""One name, however it is written: budgets, holds, switches, quotas, roles, policies, agents, versions."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import jwt
import pytest

from gaelp_ray.domain.errors import InvalidInput
from gaelp_ray.services import tokens
from tests.replica import SECRET, Replica

#: The same word, as the eye or the keyboard makes it.
SPRING = ["spring", "Spring", "SPRING", " spring ", "\u017fpring", "\uff33pring", "\u00a0spring\u00a0"]
#: "a" with a ring as one character and as two.
COMPOSED, DECOMPOSED = "\u00e5re", "a\u030are"


@pytest.fixture
def campaign(replica: Replica) -> str:
    """A campaign whose budget is used up."""
    name = f"spring{next(replica._names)}"
    opened = {"scope": "campaign", "subject": name, "money": "simulated", "limits_micros": {"total": 10}}
    assert replica.post("/budgets", opened).status_code == 201
    return name


def budget_of(replica: Replica, agent: dict[str, Any]) -> int:
    found = replica.get("/budgets", params={"scope": "agent", "subject": str(agent["id"])}).json()["items"]
    return int(found[0]["id"])


@pytest.mark.parametrize("form", SPRING, ids=ascii)
def test_a_campaign_is_bound_by_its_budget_however_it_is_written(
    replica: Replica, campaign: str, form: str
) -> None:
    budget, written = budget_of(replica, replica.agent()), form.replace("pring", campaign[1:])
    if form == "SPRING":
        written = campaign.upper()
    hold = {"key": campaign, "amount_micros": 11, "campaign": written}
    answer = replica.post(f"/budgets/{budget}/holds", hold)
    assert (answer.status_code, answer.json()["code"]) == (402, "budget_exceeded")
    batch = {"operations": [hold | {"operation": "hold", "key": f"batch {campaign}"}]}
    [told] = replica.post(f"/budgets/{budget}/operations", batch).json()["items"]
    assert told["status"] == 402


def test_a_budget_is_one_however_its_subject_is_written(replica: Replica) -> None:
    for scope in ("campaign", "team", "user"):
        ids = {
            replica.post("/budgets", {"scope": scope, "subject": form, "money": "simulated"}).json()["id"]
            for form in SPRING
        }
        assert len(ids) == 1
        [found] = replica.get("/budgets", params={"scope": scope, "subject": "SPRING"}).json()["items"]
        assert (found["id"], found["subject"]) == (ids.pop(), "spring")


def test_letters_with_marks_are_one_name_in_both_ways_that_unicode_has(replica: Replica) -> None:
    bodies = [{"scope": "team", "subject": each, "money": "real"} for each in (COMPOSED, DECOMPOSED)]
    first, second = (replica.post("/budgets", body).json()["id"] for body in bodies)
    assert first == second


@pytest.mark.parametrize("form", ["bea", "Bea", " BEA ", "\uff22ea"], ids=ascii)
def test_a_user_is_stopped_however_they_are_written(replica: Replica, form: str) -> None:
    agent = replica.agent("bea")
    engaged = replica.post("/kill-switches", {"scope": "user", "subject": form, "reason": "a test"}).json()
    try:
        assert (engaged["subject"], engaged["covers"]["notice"]) == ("bea", None)
        assert agent["id"] in engaged["covers"]["agent_ids"]
        hold = replica.post(
            f"/budgets/{budget_of(replica, agent)}/holds",
            {"key": form.strip(), "amount_micros": 1},
            user="bea",
        )
        assert (hold.status_code, hold.json()["code"]) == (409, "halted")
    finally:
        released = replica.post(
            "/kill-switches/release", {"scope": "user", "subject": "BEA", "reason": "over"}
        )
    assert released.json()["engaged"] is False


NOT_AGENTS = ["0{}", "+{}", " {}", "{}.0", "{} ", "\uff10{}", "x{}"]


@pytest.mark.parametrize("form", NOT_AGENTS, ids=ascii)
def test_no_switch_is_engaged_for_an_agent_that_is_written_in_another_way(
    replica: Replica, form: str
) -> None:
    agent = replica.agent()
    body = {"scope": "agent", "subject": form.format(agent["id"]), "reason": "a test"}
    answer = replica.post("/kill-switches", body)
    assert answer.status_code in (404, 422), answer.text
    assert replica.get("/kill-switches").json()["items"] == []


def test_a_switch_says_what_it_covers(replica: Replica) -> None:
    agent = replica.agent("cy")
    job = replica.job(agent, "cy")
    body = {"scope": "agent", "subject": str(agent["id"]), "reason": "a test"}
    covers = replica.post("/kill-switches", body).json()["covers"]
    replica.post("/kill-switches/release", body)
    assert job["phase"] == "queued"
    assert (covers["agents"], covers["accounts"], covers["jobs"]) == (1, 1, 1)
    assert (covers["agent_ids"], covers["account_ids"]) == ([agent["id"]], [budget_of(replica, agent)])


def test_a_switch_of_a_name_that_nobody_has_heard_of_is_engaged_and_says_so(replica: Replica) -> None:
    body = {"scope": "campaign", "subject": "autumn", "reason": "a test"}
    covers = replica.post("/kill-switches", body).json()["covers"]
    replica.post("/kill-switches/release", body)
    assert "Nothing is known of campaign autumn" in covers["notice"]


@pytest.mark.parametrize("form", ["dee", "Dee", " DEE "])
def test_a_user_is_held_however_they_are_written(replica: Replica, form: str) -> None:
    job = replica.job(replica.agent("dee"), "dee")
    assert replica.put(f"/holds/user/{quote(form)}", {"reason": "a test"}).json()["name"] == "dee"
    why = replica.get(f"/jobs/{job['id']}/why", user="dee").json()
    assert replica.call("DELETE", f"/holds/user/{quote(form.swapcase())}").status_code == 204
    assert why["code"] == "OnHold", why


@pytest.mark.parametrize("form", ["02", "+2", "\u0662", "2.0", "x"], ids=ascii)
def test_a_hold_names_an_agent_by_its_id(replica: Replica, form: str) -> None:
    assert replica.put(f"/holds/agent/{quote(form)}", {"reason": "a test"}).status_code == 422


def test_a_quota_binds_a_user_and_a_team_however_they_are_written(replica: Replica) -> None:
    assert replica.put("/quotas/users/%20Eve%20", {"team": " ADS ", "limit": {"gpu": 0}}).status_code == 200
    stored = replica.get("/quotas/users/EVE", user="eve").json()
    assert (stored["name"], stored["team"], stored["limit"]["gpu"]) == ("eve", "ads", "0")
    agent = replica.agent("eve")
    refused = replica.post(
        "/jobs", {"agent_id": agent["id"], "resource_requirements": {"gpu": 1}}, user="eve"
    )
    assert refused.json()["code"] == "exceeds_quota"
    assert replica.put("/quotas/teams/Ads", {"limit": {"gpu": 1}}).json()["name"] == "ads"
    assert len(replica.get("/quotas").json()["items"]) == 2


def test_a_role_is_granted_and_taken_however_the_user_is_written(replica: Replica) -> None:
    assert replica.get("/violations", user="fay").status_code == 403
    assert replica.put("/roles/FAY/auditor").status_code == 204
    assert replica.get("/violations", user="fay").status_code == 200
    assert replica.call("DELETE", "/roles/Fay/auditor").status_code == 204
    assert replica.get("/violations", user="fay").status_code == 403


def test_a_token_names_one_user_however_it_was_asked_for(replica: Replica) -> None:
    agent = replica.agent("gus")
    for form in ("Gus", " GUS ", "\uff27us"):
        assert replica.get(f"/agents/{agent['id']}", user=form).status_code == 200


NOBODY = [
    "",
    " ",
    "system",
    "System",
    "SYSTEM ",
    "gaelp:reconciler",
    "*",
    ".",
    "..",
    "a/b",
    "a?b",
    "a#b",
    "a%2Fb",
    "a\\b",
    "a\nb",
    "a\x00b",
    "a\u200bb",
    "a\u2028b",
    "a\u034fb",
    "\u3164",
    "a\ufe0f",
    "x" * 129,
]


@pytest.mark.parametrize("name", NOBODY, ids=ascii)
def test_no_token_is_made_for(replica: Replica, name: str) -> None:
    with pytest.raises(InvalidInput, match="`user`"):
        replica.token(name)


@pytest.mark.parametrize("name", ["system", "gaelp:x", "a\x00b", "", " "], ids=ascii)
def test_a_token_of_nobody_opens_no_door(replica: Replica, name: str) -> None:
    body = {"sub": name, "adm": True, "aud": "gaelp", "exp": 2**33}
    answer = replica.get("/agents", token=jwt.encode(body, SECRET, algorithm="HS256"))
    assert answer.status_code == 401


def test_an_agent_is_one_in_whatever_case_its_name_is_written(replica: Replica) -> None:
    first = replica.agent("hal", name="Bidder")
    again = replica.post("/agents", {"name": "bIDDER", "type": "simulation"}, user="hal")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    [found] = replica.get("/agents", user="hal", params={"name": "BIDDER"}).json()["items"]
    assert (found["id"], found["name"]) == (first["id"], "Bidder")
    assert replica.agent("ida", name="bidder")["name"] == "bidder", "of another owner"
    assert replica.call("DELETE", f"/agents/{first['id']}", user="hal").status_code == 204
    assert replica.agent("hal", name="bidder")["name"] == "bidder", "a deleted agent frees its name"


NO_VERSIONS = [
    "a/b",
    "..",
    ".",
    "",
    " ",
    " 1",
    "1 ",
    "1 0",
    "a?b",
    "a#b",
    "a%2Fb",
    "a\\b",
    "\u0661",
    "a\tb",
    "x" * 65,
    "-1",
]


@pytest.mark.parametrize("version", NO_VERSIONS, ids=ascii)
def test_no_version_is_named_so_that_its_address_cannot_be_reached(replica: Replica, version: str) -> None:
    agent = replica.agent()
    for path, body in (
        (f"/agents/{agent['id']}/versions", {}),
        ("/agents", {"name": "n", "type": "simulation"}),
    ):
        answer = replica.post(path, body | {"version": version}, user="ann")
        assert answer.status_code == 422, answer.text
        assert "`version`" in answer.json()["detail"]


@pytest.mark.parametrize("version", ["2.0.0", "v3_rc+build.5", "2025-01-01", "A", "x" * 64])
def test_the_address_of_a_version_is_reached(replica: Replica, version: str) -> None:
    agent = replica.agent()
    assert (
        replica.post(f"/agents/{agent['id']}/versions", {"version": version}, user="ann").status_code == 201
    )
    again = replica.post(f"/agents/{agent['id']}/versions", {"version": version.swapcase()}, user="ann")
    assert again.status_code == 409, "whatever the case"
    for address in ("", "/evidence", "/promotion"):
        found = replica.get(f"/agents/{agent['id']}/versions/{quote(version)}{address}", user="ann")
        assert found.status_code == 200, found.text


def test_a_policy_is_one_in_whatever_case_its_name_is_written(replica: Replica) -> None:
    rules = {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 5}]}
    assert replica.post("/policies/Safe", rules).json()["version"] == 1
    again = replica.post("/policies/sAFE", rules).json()
    assert (again["name"], again["version"]) == ("Safe", 2)
    assert replica.get("/policies/SAFE").json()["version"] == 2
    agent = replica.agent(type="real_deployment")
    place = {"scope": "agent", "subject": str(agent["id"])}
    assert replica.put("/policies/safe/attachments", place).status_code == 200
    assert replica.put("/policies/SAFE/attachments", place | {"version": 1}).status_code == 200
    [binding] = replica.get(f"/agents/{agent['id']}/policies").json()["items"]
    assert binding["version"] == 1, "in place of the other"
    assert (
        replica.put("/policies/safe/attachments", place | {"subject": f"0{agent['id']}"}).status_code == 422
    )
    assert replica.call("DELETE", "/policies/sAfE/attachments", params=place).status_code == 204


@pytest.mark.parametrize("name", ["system", "a/b", "..", " a", "a ", "gaelp:x"], ids=ascii)
def test_no_policy_is_called(replica: Replica, name: str) -> None:
    rules = {"currency": "EUR", "rules": [{"rule": "bid_cap", "max_micros": 5}]}
    answer = replica.post(f"/policies/{quote(name, safe='')}", rules)
    assert answer.status_code in (404, 405, 422), answer.text
    assert replica.get("/policies", params={"name": name}).json()["items"] == []


def test_a_name_of_another_script_is_kept(replica: Replica) -> None:
    for name in ("\u5f20\u4f1f", "\u0639\u0644\u064a", "ann@example.com", "ann b", "o'neil"):
        assert tokens.verify(SECRET, replica.token(name))[0].user == name
        assert replica.put(f"/roles/{quote(name)}/auditor").status_code == 204
