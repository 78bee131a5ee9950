"""Bad input gives a clear error and loses nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from tests.service import Service

AGENT = {"name": "bad-input", "type": "simulation"}

#: id: (method, path, body, status, code, words of the detail)
REFUSED: dict[str, tuple[str, str, Any, int, str, str]] = {
    "unknown field": ("POST", "/agents", AGENT | {"colour": "red"}, 422, "invalid_input", "colour"),
    "unknown type": ("POST", "/agents", AGENT | {"type": "robot"}, 422, "invalid_input", "type"),
    "name of the wrong type": ("POST", "/agents", AGENT | {"name": 7}, 422, "invalid_input", "name"),
    "empty name": ("POST", "/agents", AGENT | {"name": ""}, 422, "invalid_input", "name"),
    "NUL in the name": ("POST", "/agents", AGENT | {"name": "a\x00b"}, 422, "invalid_input", "name"),
    "NUL in the config": (
        "POST",
        "/agents",
        AGENT | {"config": {"a": "\x00"}},
        422,
        "invalid_input",
        "config",
    ),
    "no body": ("POST", "/agents", b"", 422, "invalid_input", "body"),
    "not JSON": ("POST", "/agents", b"{name: x}", 422, "invalid_input", "JSON"),
    "a list": ("POST", "/agents", [1], 422, "invalid_input", "body"),
    "bad memory": (
        "POST",
        "/agents",
        AGENT | {"resource_requirements": {"memory": "8GB!"}},
        422,
        "invalid_input",
        "'8GB!'",
    ),
    "negative cpu": (
        "POST",
        "/agents",
        AGENT | {"resource_requirements": {"cpu": -1}},
        422,
        "invalid_input",
        "cpu",
    ),
    "unknown resource": (
        "POST",
        "/agents",
        AGENT | {"resource_requirements": {"tpu": 1}},
        422,
        "invalid_input",
        "tpu",
    ),
    "negative budget": ("POST", "/agents", AGENT | {"budget_limit": -5}, 422, "invalid_input", "negative"),
    "NaN budget": (
        "POST",
        "/agents",
        b'{"name":"n","type":"simulation","budget_limit":NaN}',
        422,
        "invalid_input",
        "budget_limit",
    ),
    "infinite budget": (
        "POST",
        "/agents",
        b'{"name":"n","type":"simulation","budget_limit":Infinity}',
        422,
        "invalid_input",
        "budget_limit",
    ),
    "huge budget": ("POST", "/agents", AGENT | {"budget_limit": 1e30}, 422, "invalid_input", "too large"),
    "budget as text": (
        "POST",
        "/agents",
        AGENT | {"budget_limit": "5"},
        422,
        "invalid_input",
        "budget_limit",
    ),
    "shell in the image": (
        "POST",
        "/agents",
        AGENT | {"docker_image": "x; rm -rf /"},
        422,
        "invalid_input",
        "docker_image",
    ),
    "bad entry point": (
        "POST",
        "/agents",
        AGENT | {"entrypoint": "rm -rf /"},
        422,
        "invalid_input",
        "entrypoint",
    ),
    "reserved variable": (
        "POST",
        "/agents",
        AGENT | {"environment_vars": {"RAY_ADDRESS": "x"}},
        422,
        "invalid_input",
        "reserved",
    ),
    "a secret's value": (
        "POST",
        "/agents",
        AGENT | {"secrets": {"KEY": "sk-live-ABC123!"}},
        422,
        "invalid_input",
        "not a value",
    ),
    "priority 0": ("POST", "/jobs", {"agent_id": 1, "priority": 0}, 422, "invalid_input", "priority"),
    "priority 11": ("POST", "/jobs", {"agent_id": 1, "priority": 11}, 422, "invalid_input", "priority"),
    "priority as text": ("POST", "/jobs", {"agent_id": 1, "priority": "8"}, 422, "invalid_input", "priority"),
    "missing agent": ("POST", "/jobs", {"agent_id": 999_999}, 404, "not_found", "agent 999999"),
    "id past 64 bits": ("POST", "/jobs", {"agent_id": 10**30}, 422, "invalid_input", "agent_id"),
    "NaN hyperparameter": (
        "POST",
        "/jobs",
        b'{"agent_id":1,"hyperparameters":{"lr":NaN}}',
        422,
        "invalid_input",
        "hyperparameters",
    ),
    "negative timeout": (
        "POST",
        "/jobs",
        {"agent_id": 1, "timeout_seconds": -1},
        422,
        "invalid_input",
        "timeout",
    ),
    "no workers": ("POST", "/jobs", {"agent_id": 1, "workers": 0}, 422, "invalid_input", "workers"),
    "deadline without a zone": (
        "POST",
        "/jobs",
        {"agent_id": 1, "deadline": "2030-01-01T00:00:00"},
        422,
        "invalid_input",
        "deadline",
    ),
    "cancel nothing in particular": ("POST", "/jobs:cancel", {}, 422, "invalid_input", "Say which"),
    "edit to priority 11": ("PATCH", "/jobs/1", {"priority": 11}, 422, "invalid_input", "priority"),
    "edit a missing job": ("PATCH", "/jobs/999999", {"priority": 1}, 404, "not_found", "job 999999"),
    "unknown resource in a quota": (
        "PUT",
        "/quotas/users/ann",
        {"limit": {"tpu": 1}},
        422,
        "invalid_input",
        "tpu",
    ),
    "quota without weight": ("PUT", "/quotas/users/ann", {"weight": 0}, 422, "invalid_input", "weight"),
    "a team in a team": ("PUT", "/quotas/teams/a", {"team": "b"}, 422, "invalid_input", "nested"),
    "quota of a robot": ("PUT", "/quotas/robots/a", {}, 422, "invalid_input", "members"),
    "NUL in a user's name": ("PUT", "/quotas/users/a%00b", {}, 422, "invalid_input", "NUL"),
    "no such quota": ("DELETE", "/quotas/users/nobody", None, 404, "not_found", "nobody"),
    "usage of nothing known": (
        "GET",
        "/quotas/users/ann/usage/history?resource=tpu",
        None,
        422,
        "invalid_input",
        "tpu",
    ),
    "hold on a planet": ("PUT", "/holds/planet/mars", {}, 422, "invalid_input", "scope"),
    "hold on an agent by name": ("PUT", "/holds/agent/bidder", {}, 422, "invalid_input", "id"),
    "hold on no user": ("PUT", "/holds/user", {}, 422, "invalid_input", "name"),
    "global hold with a name": ("PUT", "/holds/global/x", {}, 422, "invalid_input", "name"),
    "lift what nobody holds": ("DELETE", "/holds/user/nobody", None, 404, "not_found", "nobody"),
    "missing job": ("GET", "/jobs/999999", None, 404, "not_found", "job 999999"),
    "job id 0": ("GET", "/jobs/0", None, 422, "invalid_input", "job_id"),
    "bad cursor": ("GET", "/jobs?cursor=abc", None, 422, "invalid_input", "cursor"),
    "limit 0": ("GET", "/jobs?limit=0", None, 422, "invalid_input", "limit"),
    "no such address": ("GET", "/nothing", None, 404, "not_found", "nothing at this address"),
    "wrong method": ("PUT", "/jobs", {}, 405, "method_not_allowed", "Method"),
}


def assert_problem(answer: httpx.Response, status: int, code: str, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert words in problem["detail"]


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(service: Service, api: httpx.Client, name: str) -> None:
    method, path, body, status, code, words = REFUSED[name]
    before = api.get("/status").json()
    content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    answer = api.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, status, code, words)
    after = api.get("/status").json()
    assert (after["agents"], after["jobs"]) == (before["agents"], before["jobs"])


def test_somebody_elses_agent_is_not_there(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    job = service.submit(api, agent, hyperparameters={"steps": 1})
    with service.client(service.token("stranger")) as stranger:
        for method, path in [
            ("GET", f"/agents/{agent['id']}"),
            ("DELETE", f"/agents/{agent['id']}"),
            ("GET", f"/agents/{agent['id']}/metrics"),
            ("GET", f"/jobs/{job['id']}"),
            ("POST", f"/jobs/{job['id']}/cancel"),
            ("GET", f"/jobs/{job['id']}/logs"),
        ]:
            assert_problem(stranger.request(method, path), 404, "not_found", "may not see it")
        assert_problem(
            stranger.post("/jobs", json={"agent_id": agent["id"]}), 404, "not_found", f"agent {agent['id']}"
        )
        assert stranger.get("/agents").json()["items"] == []
    assert service.wait(api, job)["status"] == "completed"


def signed(secret: str | None, **claims: Any) -> str:
    now = datetime.now(UTC)
    body = {"sub": "eve", "aud": "gaelp", "iat": now, "exp": now + timedelta(hours=1), "adm": True} | claims
    return jwt.encode(body, secret, algorithm="HS256" if secret else "none")


def test_tokens_that_do_not_count(service: Service) -> None:
    secret = (service.home / "jwt-secret").read_text().strip()
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    refused = {
        "none": "",
        "rubbish": "rubbish",
        "expired": signed(secret, exp=hour_ago),
        "another secret": signed("x" * 40),
        "unsigned": signed(secret).rpartition(".")[0] + ".",
        "alg none": signed(None),
        "another audience": signed(secret, aud="elsewhere"),
        "without expiry": jwt.encode({"sub": "eve", "aud": "gaelp"}, secret, algorithm="HS256"),
    }
    for name, token in refused.items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = httpx.get(f"{service.url}/api/v1/agents", headers=headers, timeout=10)
        assert answer.status_code == 401, name
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (service.home / "jwt-secret").stat().st_mode & 0o777 == 0o600


def test_a_body_of_ten_megabytes_is_refused(service: Service, api: httpx.Client) -> None:
    body = b'{"name":"' + b"x" * 10_000_000 + b'"}'
    assert_problem(api.post("/agents", content=body), 413, "too_large", "1000000 bytes")

    def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100_000

    assert_problem(api.post("/agents", content=pieces()), 413, "too_large", "1000000 bytes")


def test_the_same_key_is_the_same_submission(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    body = {"agent_id": agent["id"], "name": "once", "hyperparameters": {"steps": 1}}
    first = api.post("/jobs", json=body, headers={"Idempotency-Key": "key-1"})
    again = api.post("/jobs", json=body, headers={"Idempotency-Key": "key-1"})
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    other = api.post("/jobs", json=body | {"name": "twice"}, headers={"Idempotency-Key": "key-1"})
    assert_problem(other, 409, "idempotency_conflict", "key-1")


def test_a_taken_name_conflicts(service: Service, api: httpx.Client) -> None:
    agent = service.agent(api)
    answer = api.post("/agents", json={"name": agent["name"], "type": "simulation"})
    assert_problem(answer, 409, "conflict", agent["name"])


def test_metrics_that_are_not_numbers_are_refused(service: Service, api: httpx.Client) -> None:
    path = f"/agents/{service.agent(api)['id']}/metrics"
    for body in (
        b'{"metrics":{"a":NaN}}',
        b'{"metrics":{"a":"x"}}',
        b'{"metrics":{"a":"0.5"}}',
        b'{"metrics":{"a":true}}',
        b'{"metrics":{"a":1' + b"0" * 400 + b"}}",
        b'{"metrics":{"a":1},"step":2.5}',
        b'{"metrics":{}}',
        b'{"metrics":{"a b":1}}',
    ):
        answer = api.post(path, content=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert api.post(path, json={"metrics": {"ctr": 0.03}, "source": "platform"}).status_code == 201
    assert [p["metrics"] for p in api.get(path).json()["items"]] == [{"ctr": 0.03}]
