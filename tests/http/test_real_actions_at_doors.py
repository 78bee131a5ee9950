"""Regions and categories of what is bought: one form at every door, and in policies."""

from __future__ import annotations

from typing import Any

import pytest

from gaelp_ray.services import budgets
from tests.replica import Replica

RULES = [
    {"rule": "categories", "blocked": ["gambling"]},
    {"rule": "regions", "blocked": ["DE"]},
]


@pytest.fixture
def budget(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> int:
    """The real money of an agent that may buy neither gambling nor in Germany."""
    monkeypatch.setattr(budgets, "require_eligible", lambda *_: None)
    agent = replica.agent(type="real_deployment")
    subject = str(agent["id"])
    name = f"fences {subject}"
    assert replica.post(f"/policies/{name}", {"rules": RULES}).status_code == 201
    place = {"scope": "agent", "subject": subject}
    assert replica.put(f"/policies/{name}/attachments", place).status_code == 200
    opened = {"scope": "agent", "subject": subject, "money": "real", "limits_micros": {"total": 1000}}
    return int(replica.post("/budgets", opened).json()["id"])


def buy(replica: Replica, budget: int, **action: Any) -> tuple[int, str]:
    body = {"key": f"k{next(replica._names)}", "amount_micros": 1, "action": action}
    answer = replica.post(f"/budgets/{budget}/holds", body)
    return answer.status_code, answer.text


BLOCKED = [
    "gambling",
    "Gambling",
    " gambling",
    "gambling ",
    "\u00a0gambling",
    "\uff47ambling",
    "GAMBLIN\uff27",
]


@pytest.mark.parametrize("category", BLOCKED, ids=ascii)
def test_a_blocked_category_is_not_bought_however_it_is_written(
    replica: Replica, budget: int, category: str
) -> None:
    assert buy(replica, budget, region="US", categories=["sport", category])[0] == 403


@pytest.mark.parametrize("category", ["", " ", "gam\u034fbling", "gam\u200bbling", "x" * 101], ids=ascii)
def test_no_action_is_of_a_category_that_nobody_can_read(
    replica: Replica, budget: int, category: str
) -> None:
    status, told = buy(replica, budget, region="US", categories=[category])
    assert (status, "categories" in told) == (422, True)


@pytest.mark.parametrize("region", ["DE", "de", "dE", "DE-BE", "De-be"])
def test_nothing_is_bought_in_a_blocked_region_in_whatever_case(
    replica: Replica, budget: int, region: str
) -> None:
    assert buy(replica, budget, region=region)[0] == 403


@pytest.mark.parametrize(
    "region", ["DE ", " DE", "\uff24\uff25", "XX-", "DEU", "", "D", "DE-", "DE-ABCD", "\ufb01"], ids=ascii
)
def test_a_region_is_an_iso_code_or_refused(replica: Replica, budget: int, region: str) -> None:
    status, told = buy(replica, budget, region=region)
    assert (status, "ISO 3166" in told) == (422, True)


def test_what_is_allowed_is_bought_however_it_is_written(replica: Replica, budget: int) -> None:
    assert buy(replica, budget, region="us-ca", categories=[" Sport "])[0] == 201


def test_the_same_action_written_in_another_way_is_the_same(replica: Replica, budget: int) -> None:
    for action in ({"region": "US", "categories": ["sport"]}, {"region": "us", "categories": ["SPORT"]}):
        body = {"key": "same", "amount_micros": 1, "action": action}
        assert replica.post(f"/budgets/{budget}/holds", body).status_code == 201


def test_policies_keep_categories_and_regions_in_their_one_form(replica: Replica) -> None:
    rules = [
        {"rule": "categories", "blocked": [" \uff27ambling"]},
        {"rule": "regions", "allowed": ["de", "us-ca"]},
    ]
    [categories, regions] = replica.post("/policies/canonical", {"rules": rules}).json()["rules"]
    assert (categories["blocked"], regions["allowed"]) == (["gambling"], ["DE", "US-CA"])
    assert replica.post("/policies/canonical", {"rules": [RULES[0] | {"blocked": [" "]}]}).status_code == 422


def test_a_denial_is_small_whatever_was_asked_for(replica: Replica, budget: int) -> None:
    many = [f"{n:03}" + "x" * 97 for n in range(100)]
    agent = replica.get(f"/budgets/{budget}").json()["subject"]
    for n in range(3):
        rules = [{"rule": "categories", "allowed": [f"only {each}"]} for each in range(100)]
        assert replica.post(f"/policies/many {n}", {"rules": rules}).status_code == 201
        place = {"scope": "agent", "subject": agent}
        assert replica.put(f"/policies/many {n}/attachments", place).status_code == 200
    status, told = buy(replica, budget, region="US", categories=many)
    assert status == 403
    assert len(told) < 40_000


@pytest.mark.parametrize("key", [".", "..", "a/..", "../a", "a/./b", "a\\.."])
def test_no_hold_is_named_so_that_its_address_leads_elsewhere(
    replica: Replica, budget: int, key: str
) -> None:
    answer = replica.post(f"/budgets/{budget}/holds", {"key": key, "amount_micros": 1})
    assert (answer.status_code, "addresses" in answer.text) == (422, True)
