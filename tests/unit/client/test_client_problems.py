from __future__ import annotations

import json

import pytest

from gaelp_ray.client.problems import error_from
from gaelp_ray.domain import errors
from gaelp_ray.domain.errors import GaelpError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GaelpError)]


def problem(**fields: object) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_every_error_of_the_domain_comes_back_as_itself(kind: type[GaelpError]) -> None:
    error = error_from(400, problem(code=kind.code, detail="What was wrong.", status=400))

    assert type(error) is kind
    assert error.message == "What was wrong."


def test_the_facts_of_a_problem_become_details() -> None:
    body = problem(
        type="about:blank", title="Queue full", status=429, code="queue_full", detail="Full.", limit=7
    )

    assert error_from(429, body).details == {"limit": 7}


def test_a_fact_may_have_any_name() -> None:
    assert error_from(400, problem(code="invalid_input", detail="No.", message="x")).details == {
        "message": "x"
    }


def test_a_code_of_a_newer_service_is_a_plain_error_with_its_sentence() -> None:
    error = error_from(418, problem(code="teapot", detail="It is a teapot."))

    assert type(error) is GaelpError
    assert error.message == "It is a teapot."


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, errors.Unauthenticated), (404, errors.NotFound), (502, errors.Unavailable), (418, GaelpError)],
)
@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"detail": "Not Found"}', None])
def test_an_answer_that_is_no_problem_is_told_by_its_status(
    status: int, kind: type[GaelpError], body: bytes | None
) -> None:
    error = error_from(status, body)

    assert type(error) is kind
    assert error.message
