"""Quotas, holds, the queue and savings."""

from __future__ import annotations

import httpx
import pytest
from cli_service import Run, Service, problem

QUOTA = {
    "kind": "user",
    "name": "ann",
    "team": "ads",
    "limit": {"cpu": "64", "memory": "unlimited", "gpu": "4", "storage": "unlimited", "jobs": "20"},
    "borrowing": {"gpu": "4"},
    "lending": {"gpu": "2"},
    "weight": 2.0,
    "queued": "unlimited",
    "updated_at": "2026-01-02T00:00:00Z",
    "updated_by": "root",
}


def test_a_quota_is_set_as_a_whole(gaelp: Run, service: Service) -> None:
    service.answers["PUT /quotas/users/ann"] = QUOTA

    words = "quotas set user ann --team ads --limit gpu=4 --limit jobs=20 --borrow gpu=4 --lend gpu=2"
    ran = gaelp(*words.split(), "--weight", "2", "--queued", "50")

    assert "gpu=4" in ran.out
    assert service.sent("PUT /quotas/users/ann") == [
        {
            "limit": {"gpu": "4", "jobs": "20"},
            "team": "ads",
            "borrowing": {"gpu": "4"},
            "lending": {"gpu": "2"},
            "weight": 2.0,
            "queued": 50,
        }
    ]


def test_quotas_are_listed_and_shown(gaelp: Run, service: Service) -> None:
    service.answers["GET /quotas"] = {"items": [QUOTA]}
    service.answers["GET /quotas/users/ann"] = QUOTA | {"updated_at": None, "updated_by": None}

    assert "ads" in gaelp("quotas", "list", "--kind", "user").out
    assert service.requests[0].url.params["kind"] == "user"
    assert "by default" in gaelp("quotas", "show", "user", "ann").out


def test_the_default_quota_is_named_by_a_star(gaelp: Run, service: Service) -> None:
    service.answers["DELETE /quotas/users/*"] = httpx.Response(204)

    assert "no quota of user *" in gaelp("quotas", "unset", "user", "*").out


def test_usage_is_shown_beside_its_limit_and_by_member(gaelp: Run, service: Service) -> None:
    service.answers["GET /quotas/teams/ads/usage"] = {
        "kind": "team",
        "name": "ads",
        "limit": {"gpu": "8"},
        "held": {"gpu": "3"},
        "waiting": 12,
        "members": {"ann": {"gpu": "2"}, "bob": {"gpu": "1"}},
    }

    ran = gaelp("quotas", "usage", "team", "ads")

    assert [line.split() for line in ran.out.splitlines() if line.strip().startswith("gpu")] == [
        ["gpu", "8", "3", "2", "1"]
    ]
    assert "12 jobs wait." in ran.out


def test_usage_over_time_is_asked_for_by_resource(gaelp: Run, service: Service) -> None:
    service.answers["GET /quotas/users/ann/usage/history"] = {
        "resource": "gpu",
        "unit": "GPUs",
        "items": [{"at": "2026-01-02T00:00:00Z", "average": 1.25}],
    }

    ran = gaelp(
        "quotas", "usage", "user", "ann", "--history", "gpu", "--buckets", "1", "--since", "2026-01-02"
    )

    assert "1.25" in ran.out
    assert "average GPUs" in ran.out
    asked = service.requests[0].url.params
    assert (asked["resource"], asked["buckets"]) == ("gpu", "1")
    assert asked["since"].startswith("2026-01-02T00:00:00")


@pytest.mark.parametrize(
    ("words", "key", "body", "said"),
    [
        (("global", "--drain"), "PUT /holds/global", {"mode": "hold_and_drain", "reason": ""}, "Everything"),
        (
            ("agent", "7", "--reason", "it overspends"),
            "PUT /holds/agent/7",
            {"mode": "hold", "reason": "it overspends"},
            "Agent 7",
        ),
    ],
    ids=["everything, with drain", "an agent"],
)
def test_a_hold_is_placed(
    gaelp: Run, service: Service, words: tuple[str, ...], key: str, body: dict[str, str], said: str
) -> None:
    service.answers[key] = {"scope": "global", "mode": "hold"}

    assert gaelp("holds", "place", *words).out == f"{said} is on hold.\n"
    assert service.sent(key) == [body]


def test_a_hold_is_listed_and_lifted(gaelp: Run, service: Service) -> None:
    hold = {"scope": "team", "name": "ads", "mode": "hold", "reason": "month end", "by": "root"}
    service.answers["GET /holds"] = {"items": [hold]}
    service.answers["DELETE /holds/team/ads"] = httpx.Response(204)

    assert "month end" in gaelp("holds", "list").out
    assert gaelp("holds", "lift", "team", "ads").out == "Team ads is on hold no more.\n"


def test_the_queue_is_shown_to_operators(gaelp: Run, service: Service) -> None:
    service.answers["GET /queue"] = {
        "at": "2026-01-02T00:00:00Z",
        "waiting": 42,
        "lanes": 3,
        "by_code": {"WaitingForQuota": 40, "OnHold": 2},
        "by_user": {"ann": 42},
        "heads": [
            {
                "job_id": 5,
                "owner": "ann",
                "code": "WaitingForQuota",
                "message": "The quota of user ann allows 4 gpu.",
                "waiting": 40,
                "priority": 5,
                "effective_priority": 7,
            }
        ],
        "demanded": 2,
    }

    ran = gaelp("queue", "--limit", "1")

    assert "42 jobs of 3 kinds" in ran.out
    assert "WaitingForQuota=40" in ran.out
    assert "The quota of user ann allows 4 gpu." in ran.out
    assert "nodes for 2 workers" in ran.out
    assert service.requests[0].url.params["limit"] == "1"


def test_a_user_is_told_that_the_queue_is_for_admins(gaelp: Run, service: Service) -> None:
    service.answers["GET /queue"] = problem("forbidden", "This needs an admin token.", 403)

    ran = gaelp("queue")

    assert (ran.code, ran.err) == (1, "This needs an admin token.\n")


def test_savings_are_shown_by_user_team_and_agent(gaelp: Run, service: Service) -> None:
    cost = {"on_demand": 1000.0, "paid": 400.0, "saved": 600.0}
    service.answers["GET /savings"] = {
        "since": "2026-01-01T00:00:00Z",
        "until": "2026-01-31T00:00:00Z",
        "currency": "EUR",
        "total": cost,
        "users": {"ann": cost},
        "teams": {"ads": cost},
        "agents": {"7": cost},
    }

    ran = gaelp("savings", "--since", "2026-01-01T00:00:00Z")

    assert "saved, EUR" in ran.out
    assert ran.out.count("600.00") == 4
    assert gaelp("savings", "--json").json["agents"]["7"]["saved"] == 600.0
