"""What is shown without a token, and what the description of the API says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve_app.app import create_app
from serve_app.errors import TITLES
from tests.conftest import Postgres
from tests.replica import Replica
from tests.replica import replica as running

API = create_app(body_limit_bytes=1000).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in API["paths"].items()
    for method, operation in methods.items()
}


@pytest.fixture
def spent(replica: Replica) -> int:
    """A budget that is used up to the last micro."""
    limits = {"day": 10, "total": 100}
    body = {"scope": "team", "subject": "ads", "money": "simulated", "limits_micros": limits}
    budget = replica.post("/budgets", body).json()["id"]
    replica.post(f"/budgets/{budget}/spends", {"key": "all", "amount_micros": 10})
    return int(budget)


def test_a_scrape_without_a_token_shows_totals_and_no_account(replica: Replica, spent: int) -> None:
    shown = replica.get("/metrics", token="").text
    assert 'gaelp_budgets{state="nearly"} 1.0' in shown
    assert 'gaelp_budgets{state="within"} 1.0' in shown
    assert 'gaelp_jobs{phase="queued"}' in shown
    assert "account" not in shown
    assert "micros" not in shown
    assert spent


def test_a_user_sees_no_more_of_others_than_anybody(replica: Replica, spent: int) -> None:
    assert "account=" not in replica.get("/metrics", user="ann").text
    assert spent


@pytest.mark.parametrize("role", ["operator", "auditor"])
def test_who_watches_over_all_accounts_sees_their_figures(replica: Replica, spent: int, role: str) -> None:
    replica.put(f"/roles/{role}-of-all/{role}")
    line = f'gaelp_budget_used_micros{{account="{spent}",period="day",scope="team",state="posted"}} 10.0'
    assert line in replica.get("/metrics", user=f"{role}-of-all").text
    assert line in replica.get("/metrics").text, "an admin"


def test_a_bad_token_is_refused_where_none_is_needed(replica: Replica) -> None:
    assert replica.get("/metrics", token="nonsense").status_code == 401


def test_a_setting_shows_the_accounts_to_everybody(postgres: Postgres) -> None:
    with postgres.database() as url, running(url, metrics_open=True) as replica:
        body = {"scope": "team", "subject": "ads", "money": "real", "limits_micros": {"total": 7}}
        assert replica.post("/budgets", body).status_code == 201
        assert "gaelp_budget_limit_micros{account=" in replica.get("/metrics", token="").text


def test_only_what_asks_for_no_token_is_open() -> None:
    unsecured = {name for name, operation in OPERATIONS.items() if "security" not in operation}
    assert unsecured == {"GET /health", "GET /ready"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_refusal_is_described_as_a_problem(name: str) -> None:
    responses = OPERATIONS[name]["responses"]
    secured = "security" in OPERATIONS[name]
    expected = {str(status) for status in TITLES if status != 405}
    expected = expected if secured else {"404", "422", "500", "503"}
    assert expected <= set(responses)
    for status in expected - ({"503"} if name == "GET /ready" else set()):
        content = responses[status]["content"]
        assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_the_description_has_no_shape_that_is_never_sent() -> None:
    assert "HTTPValidationError" not in json.dumps(API)


def test_a_refusal_is_what_the_description_says(replica: Replica) -> None:
    problem: dict[str, Any] = replica.get("/agents/999").json()
    assert set(API["components"]["schemas"]["Problem"]["required"]) <= set(problem)
