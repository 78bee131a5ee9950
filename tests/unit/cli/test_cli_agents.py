from __future__ import annotations

from cli_service import AGENT, Run, Service


def test_agents_are_listed_in_a_table(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents"] = {
        "items": [AGENT, AGENT | {"id": 8, "name": "[red]x", "budget_limit": None}]
    }

    ran = gaelp("agents", "list", "--type", "simulation", "--limit", "5")

    assert "1,234.50 / 6,000.00" in ran.out
    assert "[red]x" in ran.out
    assert dict(service.requests[0].url.params) == {"type": "simulation", "limit": "5"}


def test_no_agents_is_said_with_the_way_to_make_one(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents"] = {"items": []}

    assert "gaelp agents create" in gaelp("agents", "list").out


def test_every_list_is_json_for_programs(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents"] = {"items": [AGENT]}

    found = gaelp("agents", "list", "--json").json

    (agent,) = found["items"]
    assert found["next_cursor"] is None
    assert agent["id"] == 7
    assert agent["budget_spent"] == 1234.5


def test_an_agent_is_created_from_its_options(gaelp: Run, service: Service) -> None:
    service.answers["POST /agents"] = AGENT

    words = "--type research --version 2.0.0 --budget 12.5 --config market.size=3 --config kind=new"
    words += " --env A=b=c --secret KEY=vault --requirement numpy --cpu 500m --gpu 1 --image img:1"
    ran = gaelp("agents", "create", "bidder", *words.split(), "--entrypoint", "python train.py", "--json")

    assert ran.json["id"] == 7
    assert service.sent("POST /agents") == [
        {
            "name": "bidder",
            "type": "research",
            "version": "2.0.0",
            "budget_limit": 12.5,
            "entrypoint": "python train.py",
            "docker_image": "img:1",
            "config": {"market.size": 3, "kind": "new"},
            "requirements": ["numpy"],
            "environment_vars": {"A": "b=c"},
            "secrets": {"KEY": "vault"},
            "resource_requirements": {"cpu": "500m", "gpu": "1"},
        }
    ]


def test_the_current_version_is_marked(gaelp: Run, service: Service) -> None:
    service.answers["GET /agents/7"] = AGENT
    service.answers["GET /agents/7/versions"] = {"items": [{"version": "2.0.0"}, {"version": "1.0.0"}]}

    rows = [line.split()[:2] for line in gaelp("agents", "versions", "7").out.splitlines()]

    assert ["1.0.0", "yes"] in rows
    assert ["2.0.0", "-"] in rows


def test_a_version_is_added_and_gone_back_from(gaelp: Run, service: Service) -> None:
    service.answers["POST /agents/7/versions"] = {"version": "1.1.0"}
    service.answers["POST /agents/7/rollback"] = AGENT

    assert "1.1.0" in gaelp("agents", "add-version", "7", "1.1.0", "--entrypoint", "a.b:c").out
    assert "1.0.0" in gaelp("agents", "rollback", "7", "1.0.0").out
    (version,) = service.sent("POST /agents/7/versions")
    assert (version["version"], version["entrypoint"]) == ("1.1.0", "a.b:c")
    assert service.sent("POST /agents/7/rollback") == [{"version": "1.0.0"}]


def test_the_limit_of_an_agent_is_taken_away(gaelp: Run, service: Service) -> None:
    service.answers["PATCH /agents/7"] = AGENT

    assert gaelp("agents", "budget", "7", "--unlimited").code == 0
    for words in ((), ("5", "--unlimited")):
        assert gaelp("agents", "budget", "7", *words).code != 0
    assert service.sent("PATCH /agents/7") == [{"budget_limit": None}]


def test_an_agent_is_paused_resumed_limited_and_deleted(gaelp: Run, service: Service) -> None:
    service.answers["PATCH /agents/7"] = AGENT
    service.answers["DELETE /agents/7"] = {}

    for words in (("pause", "7"), ("resume", "7"), ("budget", "7", "99.5"), ("delete", "7")):
        assert gaelp("agents", *words).code == 0

    assert service.sent("PATCH /agents/7") == [
        {"status": "paused"},
        {"status": "active"},
        {"budget_limit": 99.5},
    ]
    assert len(service.sent("DELETE /agents/7")) == 1
