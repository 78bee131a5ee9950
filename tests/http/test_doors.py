"""What every operation does before its own code: who, which parameters, which body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi.routing import APIRoute

from gaelp_ray.domain import cursors
from serve_app.app import create_app
from serve_app.route import Route
from tests.replica import Replica

#: Pages for people, which take nothing.
PAGES = {"/docs", "/redoc"}
ROUTES = [
    each
    for each in create_app(body_limit_bytes=1000).routes
    if isinstance(each, APIRoute) and each.path not in PAGES
]
OPEN = {"/health", "/ready", "/metrics", "/live/{agent_id}"}
#: What stands for a parameter of an address where its value does not matter.
VALUES = {
    "scope": "user",
    "period": "day",
    "members": "users",
    "role": "auditor",
    "name": "ann",
    "user": "ann",
    "key:path": "k",
    "version": "1.0.0",
}


def address(route: APIRoute, **given: str) -> str:
    def value(match: re.Match[str]) -> str:
        return given.get(match[1], VALUES.get(match[1], "1"))

    return re.sub(r"\{([^}]+)\}", value, route.path)


def operations() -> Iterator[tuple[str, APIRoute]]:
    for route in ROUTES:
        for method in sorted(route.methods or ()):
            yield method, route


def title(operation: Any) -> str:
    return f"{operation[0]} {operation[1].path}" if isinstance(operation, tuple) else str(operation)


SECURED = [each for each in operations() if each[1].path not in OPEN]
WITH_BODY = [each for each in SECURED if each[1].body_field is not None]
WITHOUT_BODY = [each for each in SECURED if each[1].body_field is None and each[0] != "GET"]


def refused(answer: httpx.Response, status: int = 422) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


def test_every_operation_goes_through_the_same_door() -> None:
    assert len(ROUTES) > 80
    assert {type(route) for route in ROUTES} == {Route}


@pytest.mark.parametrize("operation", SECURED, ids=title)
def test_an_anonymous_request_is_refused_before_anything_of_it_is_looked_at(
    replica: Replica, operation: tuple[str, APIRoute]
) -> None:
    method, route = operation
    url = f"{address(route, agent_id='x', job_id='x', budget_id='x')}?no=such"
    for content in (b"{broken", b'{"a": "' + b"x" * 2_000_000 + b'"}'):
        answer = replica.call(method, url, token="", content=content)
        assert "Authorization" in refused(answer, 401)


def test_the_body_of_an_anonymous_request_is_never_read(replica: Replica) -> None:
    async def receive() -> Any:
        pytest.fail("The body was read.")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/v1/jobs", "raw_path": b"/api/v1/jobs"}
    scope |= {"query_string": b"", "headers": [(b"content-length", b"50")], "root_path": ""}
    asyncio.run(replica.app(scope, receive, send))
    assert sent[0]["status"] == 401


@pytest.mark.parametrize("operation", SECURED, ids=title)
def test_an_unknown_parameter_is_refused_by_its_name(
    replica: Replica, operation: tuple[str, APIRoute]
) -> None:
    method, route = operation
    detail = refused(replica.call(method, f"{address(route)}?skip=100"))
    assert "'skip'" in detail
    assert "known are" in detail


SINGLE = [
    (method, route, field.alias)
    for method, route in SECURED
    for field in route.dependant.query_params
    if field.alias != "placed"
]


@pytest.mark.parametrize(("method", "route", "name"), SINGLE, ids=lambda each: getattr(each, "path", each))
def test_a_parameter_that_is_given_twice_is_refused_by_its_name(
    replica: Replica, method: str, route: APIRoute, name: str
) -> None:
    detail = refused(replica.call(method, f"{address(route)}?{name}=1&{name}=1"))
    assert f"`{name}` is given 2 times" in detail


def test_a_parameter_that_may_be_repeated_is_taken_twice(replica: Replica) -> None:
    span = "since=2025-01-01T00:00:00Z&until=2025-01-02T00:00:00Z"
    assert replica.get(f"/platforms/ads/differences?{span}&placed=a&placed=b").status_code == 200


def test_a_header_that_is_given_twice_is_refused_by_its_name(replica: Replica) -> None:
    token = replica.token("ann")
    headers = [("authorization", f"Bearer {token}"), ("idempotency-key", "a"), ("idempotency-key", "b")]

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(replica.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.post("/api/v1/jobs", headers=headers, json={"agent_id": 1})

    assert "`idempotency-key` is given 2 times" in refused(asyncio.run(ask()))


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\tbed", "h\u00e4\u0085"], ids=ascii)
def test_an_idempotency_key_is_printable_and_bounded(replica: Replica, key: str) -> None:
    headers = {"idempotency-key": key.encode("latin-1")}
    assert "Idempotency-Key" in refused(replica.post("/jobs", {"agent_id": 1}, headers=headers)).title()


@pytest.mark.parametrize("operation", WITHOUT_BODY, ids=title)
def test_a_body_that_an_operation_does_not_take_is_refused(
    replica: Replica, operation: tuple[str, APIRoute]
) -> None:
    method, route = operation
    assert "takes no body" in refused(replica.call(method, address(route), json={"reason": "x"}))


@pytest.mark.parametrize("content", [b"", b"{}", b" {} ", b"null"])
def test_an_empty_body_is_no_body(replica: Replica, content: bytes) -> None:
    job = replica.job(replica.agent())
    assert replica.call("POST", f"/jobs/{job['id']}/cancel", user="ann", content=content).status_code == 200


def nested(levels: int) -> bytes:
    return b'{"agent_id": 1, "hyperparameters": ' + b'{"a":' * levels + b"1" + b"}" * (levels + 1)


BROKEN: dict[str, tuple[bytes, str]] = {
    "half an object": (b'{"a": ', "line 1, column 7"),
    "two documents": (b"{} {}", "must be JSON"),
    "not a number": (b'{"agent_id": NaN}', "`agent_id` must be a finite number"),
    "infinity": (b'{"seed": -Infinity}', "`seed` must be a finite number"),
    "infinity deep inside": (b'{"hyperparameters": {"a": [Infinity]}}', "`hyperparameters.a[0]` must be"),
    "a number past every float": (
        b'{"hyperparameters": {"lr": 1e400}}',
        "`hyperparameters.lr` must be a finite",
    ),
    "a whole number past every float": (b'{"seed": 1' + b"0" * 400 + b"}", "`seed` must be a finite number"),
    "more digits than Python reads": (b'{"seed": ' + b"1" * 5000 + b"}", "too many digits"),
    "a name twice": (b'{"agent_id": 1, "agent_id": 2}', "'agent_id' twice"),
    "a name twice deep inside": (b'{"hyperparameters": {"x": [{"a": 1, "a": 1}]}}', "'a' twice"),
    "NUL in a text": (b'{"name": "a\\u0000b"}', "`name` may not hold NUL"),
    "NUL in a name": (b'{"hyperparameters": {"a\\u0000": 1}}', "`hyperparameters` may not hold NUL"),
    "half of a pair": (b'{"training_config": {"a": ["\\ud800"]}}', "`training_config.a[0]` may not hold"),
    "the other half": (b'{"environment_vars": {"A": "\\udfff"}}', "`environment_vars.A` may not hold"),
    "half of a pair in bytes": (b'{"name": "\xed\xa0\x80"}', "UTF-8"),
    "no UTF-8": (b'{"name": "\xff"}', "UTF-8"),
    "another encoding": ('{"agent_id": 1}'.encode("utf-16"), "UTF-8"),
    "nested deeply": (nested(30), "nested deeper than 20 levels"),
    "nested without an end": (b"[" * 200_000, "nested deeper than 20 levels"),
    "a list": (b"[]", "body"),
    "a text": (b'"x"', "body"),
    "nothing": (b"", "body"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_body_is_refused_that_is(replica: Replica, case: str) -> None:
    content, words = BROKEN[case]
    assert words in refused(replica.call("POST", "/jobs", content=content))


@pytest.mark.parametrize("operation", WITH_BODY, ids=title)
def test_no_operation_takes_text_that_cannot_be_stored(
    replica: Replica, operation: tuple[str, APIRoute]
) -> None:
    method, route = operation
    answer = replica.call(method, address(route), content=b'{"x": {"y": "\\ud800"}}')
    assert "may not hold NUL characters or half of a surrogate pair" in refused(answer)


def test_twenty_levels_and_large_numbers_are_stored_and_read_as_they_were_sent(replica: Replica) -> None:
    agent = replica.agent()
    given = {"deep": {}, "large": 10**300, "small": 5e-324, "pair": "\U0001f600", "seed": 2**128}
    inner = given["deep"]
    for _ in range(16):
        inner["a"] = inner = {}
    job = replica.job(agent, hyperparameters=given)
    assert replica.get(f"/jobs/{job['id']}", user="ann").json()["hyperparameters"] == given


def test_a_byte_order_mark_is_no_part_of_a_document(replica: Replica) -> None:
    body = b"\xef\xbb\xbf" + b'{"name": "marked", "type": "simulation"}'
    assert replica.call("POST", "/agents", user="ann", content=body).status_code == 201


def test_a_body_past_the_limit_is_refused_when_the_caller_is_known(replica: Replica) -> None:
    assert refused(replica.call("POST", "/agents", content=b" " * 1_000_001), 413).startswith(
        "The body is larger"
    )


@pytest.mark.parametrize(
    "path", ["/api/v1/agents/", "//evil.example/", "/static", "/health/", "/api/v1/agents/1/"]
)
def test_a_slash_more_redirects_nowhere(replica: Replica, path: str) -> None:
    answer = replica.get(path, headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "evil" not in str(answer.headers)
    assert "location" not in answer.headers


def test_another_method_is_refused_with_those_that_there_are(replica: Replica) -> None:
    answer = replica.call("PUT", "/agents")
    refused(answer, 405)
    assert answer.headers["allow"]


#: Text that some readers take for the whole number 2.
ODD = ["02", "+2", " 2", "2 ", "2.0", "2e0", "1_0", "\u00b2", "\u0663", "\uff12", "0x2", "--2", "", "2\x00"]
IDS = [
    (route, name)
    for _, route in SECURED
    for name in ("agent_id", "job_id", "budget_id", "approval_id", "ramp_id")
    if "{" + name + "}" in route.path
]


@pytest.mark.parametrize(("route", "name"), IDS, ids=lambda each: getattr(each, "path", each))
def test_an_id_in_an_address_has_one_form(replica: Replica, route: APIRoute, name: str) -> None:
    method = min(route.methods or ())
    for odd in (*ODD, "0", "-1", str(2**63), "1" * 40, "true"):
        if not odd:
            continue
        answer = replica.call(method, address(route, **{name: quote(odd, safe="")}))
        assert answer.status_code == 422, (odd, answer.text)
        assert f"`{name}`" in answer.json()["detail"]


NUMBERS = [
    (method, route, field.alias)
    for method, route in SECURED
    for field in route.dependant.query_params
    if re.search(r"\bint\b", str(field.field_info.annotation))
]


@pytest.mark.parametrize(("method", "route", "name"), NUMBERS, ids=lambda each: getattr(each, "path", each))
def test_a_number_in_a_query_is_written_in_plain_digits(
    replica: Replica, method: str, route: APIRoute, name: str
) -> None:
    for odd in (*ODD, "-1", "1" * 40):
        answer = replica.call(method, address(route), params={name: odd})
        assert answer.status_code == 422, (odd, answer.text)
        assert f"`{name}`" in answer.json()["detail"]


CURSORS = [
    (route, each)
    for _, route in SECURED
    for each in [route.path]
    if any(field.alias == "cursor" for field in route.dependant.query_params)
]


@pytest.mark.parametrize("route", [route for route, _ in CURSORS], ids=lambda route: route.path)
def test_a_cursor_that_this_list_did_not_make_is_refused(replica: Replica, route: APIRoute) -> None:
    agent, budget = (
        replica.agent("root"),
        replica.post("/budgets", {"scope": "team", "subject": "t", "money": "real"}),
    )
    url = address(route, agent_id=str(agent["id"]), budget_id=str(budget.json()["id"]))
    own = {"agents": "/agents", "jobs": "/jobs"}
    others = [cursors.write(name, 5) for name, path in own.items() if not url.endswith(path)]
    for odd in [
        "\u00b2",
        "5",
        "-1",
        "",
        "0",
        "x" * 800,
        "=",
        "%",
        "ag==",
        *others,
        cursors.write("agents", "\u00b2"),
    ]:
        detail = refused(replica.get(url, params={"cursor": odd}))
        assert "next_cursor` of the page before" in detail, odd


def test_a_cursor_goes_through_a_list_without_a_gap(replica: Replica) -> None:
    made = [replica.agent("pat")["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = replica.get(
            "/agents", user="pat", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
        ).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
