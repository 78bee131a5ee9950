"""Errors on the wire: one shape, a stable code, and nothing that mirrors what was sent."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import pytest
from asgi import Http
from fastapi import FastAPI, Query
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gaelp_ray.domain import errors as domain
from serve_app import errors

STATUSES: dict[type[domain.GaelpError], tuple[int, str, str]] = {
    domain.InvalidInput: (422, "invalid_input", "Invalid input"),
    domain.Unsatisfiable: (422, "unsatisfiable", "Invalid input"),
    domain.ExceedsQuota: (422, "exceeds_quota", "Invalid input"),
    domain.Unauthenticated: (401, "unauthenticated", "Unauthenticated"),
    domain.Forbidden: (403, "forbidden", "Forbidden"),
    domain.Denied: (403, "denied", "Forbidden"),
    domain.NotFound: (404, "not_found", "Not found"),
    domain.Conflict: (409, "conflict", "Conflict"),
    domain.IllegalTransition: (409, "illegal_transition", "Conflict"),
    domain.IdempotencyConflict: (409, "idempotency_conflict", "Conflict"),
    domain.MixedCurrencies: (422, "mixed_currencies", "Invalid input"),
    domain.AccountClosed: (409, "account_closed", "Conflict"),
    domain.LinkFailed: (409, "link_failed", "Conflict"),
    domain.AlreadyPosted: (409, "already_posted", "Conflict"),
    domain.AlreadyVoided: (409, "already_voided", "Conflict"),
    domain.HoldExpired: (409, "hold_expired", "Conflict"),
    domain.ExceedsHold: (409, "exceeds_hold", "Conflict"),
    domain.Unbookable: (409, "unbookable", "Conflict"),
    domain.Halted: (409, "halted", "Conflict"),
    domain.NoLimit: (409, "no_limit", "Conflict"),
    domain.NotEligible: (409, "not_eligible", "Conflict"),
    domain.BudgetExceeded: (402, "budget_exceeded", "Over budget"),
    domain.QueueFull: (429, "queue_full", "Too many"),
    domain.TooManyFollowers: (429, "too_many_followers", "Too many"),
    domain.TooLarge: (413, "too_large", "Too large"),
    domain.Unavailable: (503, "unavailable", "Unavailable"),
    domain.Busy: (503, "busy", "Unavailable"),
    domain.SetupError: (503, "setup", "Unavailable"),
    domain.GaelpError: (500, "error", "Internal error"),
}


class Thing(BaseModel):
    count: int
    parts: list[int] = []


@pytest.fixture
def app() -> FastAPI:
    app = FastAPI()
    errors.install(app)

    @app.post("/things")
    def things(_thing: Thing, limit: Annotated[int, Query(ge=1)] = 1) -> int:
        return limit

    return app


@pytest.fixture
def http(app: FastAPI) -> Http:
    return Http(app)


def answer_to(app: FastAPI, error: Exception) -> Any:
    @app.get("/raise")
    def fail() -> None:
        raise error

    return Http(app).get("/raise")


def every_error(kind: type[domain.GaelpError] = domain.GaelpError) -> set[type[domain.GaelpError]]:
    below = {each for each in kind.__subclasses__() if each.__module__ == domain.__name__}
    return {kind}.union(*map(every_error, below))


def test_every_error_of_the_product_has_a_status() -> None:
    assert every_error() == set(STATUSES)


@pytest.mark.parametrize("kind", STATUSES, ids=lambda kind: kind.__name__)
def test_an_error_becomes_a_problem(app: FastAPI, kind: type[domain.GaelpError]) -> None:
    status, code, title = STATUSES[kind]
    answer = answer_to(app, kind("A sentence.", limit=7))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": "A sentence.",
        "limit": 7,
    }


HEADERS = {
    domain.Unauthenticated: ("www-authenticate", "Bearer"),
    domain.QueueFull: ("retry-after", "5"),
    domain.TooManyFollowers: ("retry-after", "5"),
    domain.Unavailable: ("retry-after", "1"),
}


@pytest.mark.parametrize("kind", HEADERS, ids=lambda kind: kind.__name__)
def test_an_error_says_in_a_header_what_to_do(app: FastAPI, kind: type[domain.GaelpError]) -> None:
    name, value = HEADERS[kind]
    assert answer_to(app, kind()).headers[name] == value


def test_an_error_that_knows_when_to_try_again_says_so_in_the_header_and_the_body(app: FastAPI) -> None:
    full = domain.QueueFull(limit=3, waiting=3, scope="user ann", retry_after_s=7.2)
    answer = answer_to(app, full)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "8"
    told = answer.json()
    assert (told["limit"], told["waiting"], told["scope"]) == (3, 3, "user ann")


def test_an_error_without_words_says_what_its_kind_says() -> None:
    assert domain.QueueFull().message == "Too many jobs wait already; try again later."


INVALID: dict[str, tuple[Any, str, list[str]]] = {
    "a missing field": ({}, "/things", ["count"]),
    "a wrong type": ({"count": "many"}, "/things", ["count"]),
    "deep inside": ({"count": 1, "parts": [1, "x"]}, "/things", ["parts.1"]),
    "several": ({"parts": "x"}, "/things", ["count", "parts"]),
    "a parameter": ({"count": 1}, "/things?limit=0", ["limit"]),
    "no object": ([1], "/things", ["body"]),
}


@pytest.mark.parametrize("case", INVALID)
def test_bad_input_names_each_field(http: Http, case: str) -> None:
    body, url, fields = INVALID[case]
    answer = http.post(url, json=body)
    told = answer.json()
    assert (answer.status_code, told["status"], told["code"]) == (422, 422, "invalid_input")
    assert [each["field"] for each in told["errors"]] == fields
    assert told["detail"].startswith(f"`{fields[0]}`: ")


def test_a_thousand_mistakes_are_not_a_thousand_lines(http: Http) -> None:
    told = http.post("/things", json={"count": 1, "parts": ["secret"] * 1000}).json()
    assert len(told["errors"]) == 20
    assert "secret" not in str(told), "what was sent is not sent back"


def test_an_unknown_address_is_told_plainly(http: Http) -> None:
    told = http.get("/nowhere").json()
    assert (told["status"], told["code"]) == (404, "not_found")
    assert told["detail"] == "There is nothing at this address."


def test_a_wrong_method_is_told_plainly(http: Http) -> None:
    answer = http.get("/things")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["content-type"] == "application/problem+json"


def test_another_http_error_keeps_its_words(app: FastAPI) -> None:
    told = answer_to(app, HTTPException(400, "The body ended early.")).json()
    assert (told["status"], told["code"], told["title"]) == (400, "http_error", "Bad request")
    assert told["detail"] == "The body ended early."


def test_an_accident_is_logged_and_not_shown(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("gaelp_ray.http")
    logger.addHandler(caplog.handler)
    try:
        answer = answer_to(app, RuntimeError("password=hunter2"))
    finally:
        logger.removeHandler(caplog.handler)
    assert answer.status_code == 500
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal error",
        "status": 500,
        "code": "internal",
        "detail": "Something went wrong on our side; it was logged.",
    }
    [record] = [r for r in caplog.records if r.name == "gaelp_ray.http"][:1]
    assert record.exc_info is not None
    assert "hunter2" in str(record.exc_info[1])
