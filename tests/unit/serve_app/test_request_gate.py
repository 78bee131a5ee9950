"""What the gate lets through to an application, and how it says no."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

import pytest
from asgi import Http, in_chunks
from fastapi import Body, FastAPI
from starlette.types import Message, Receive, Scope, Send

from gaelp_ray.domain.errors import Unauthenticated
from serve_app import errors
from serve_app.middleware import RequestGate

LIMIT = 100


def application() -> FastAPI:
    app = FastAPI()
    errors.install(app)

    @app.post("/echo")
    @app.put("/echo")
    def echo(body: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
        return body

    @app.get("/echo")
    def get() -> dict[str, Any]:
        return {"method": "GET"}

    app.add_middleware(RequestGate, limit=LIMIT)
    return app


@pytest.fixture
def http() -> Http:
    return Http(application())


def body_of(size: int) -> bytes:
    """A JSON object of exactly so many bytes."""
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


def assert_too_large(answer: Any) -> None:
    assert answer.status_code == 413, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Too large",
        "status": 413,
        "code": "too_large",
        "detail": "The body is larger than 100 bytes; send less.",
    }


@pytest.mark.parametrize("size", [8, LIMIT - 1, LIMIT])
def test_a_body_up_to_the_limit_passes(http: Http, size: int) -> None:
    json_type = {"content-type": "application/json"}
    for content in (body_of(size), in_chunks(body_of(size))):
        answer = http.post("/echo", content=content, headers=json_type)
        assert (answer.status_code, len(answer.json()["a"])) == (200, size - 8)


def test_a_body_that_declares_too_much_is_refused(http: Http) -> None:
    assert_too_large(http.post("/echo", content=body_of(LIMIT + 1)))


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 1000])
def test_a_body_that_grows_too_much_without_declaring_it_is_refused(http: Http, size: int) -> None:
    assert_too_large(http.post("/echo", content=in_chunks(body_of(size), 50)))


def test_a_body_that_is_refused_by_its_length_is_never_read() -> None:
    heard: list[Message] = []

    async def receive() -> Message:
        pytest.fail("The body was read.")

    async def send(message: Message) -> None:
        heard.append(message)

    headers = [(b"content-length", b"101")]
    scope: Scope = {"type": "http", "method": "POST", "headers": headers, "path": "/echo"}
    asyncio.run(RequestGate(application(), LIMIT)(scope, receive, send))
    assert heard[0]["status"] == 413


def test_a_request_that_is_refused_without_its_body_is_not_refused_for_its_length() -> None:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await errors.of_error(Unauthenticated())(scope, _receive, send)

    async def receive() -> Message:
        pytest.fail("The body was read.")

    heard: list[Message] = []

    async def send(message: Message) -> None:
        heard.append(message)

    headers = [(b"content-length", b"101")]
    scope: Scope = {"type": "http", "method": "POST", "headers": headers, "path": "/echo"}
    asyncio.run(RequestGate(app, LIMIT)(scope, receive, send))
    assert heard[0]["status"] == 401


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"", b"\xb2", b"9" * 30])
def test_a_length_that_is_none_is_refused(length: bytes) -> None:
    heard: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        heard.append(message)

    headers = [(b"content-length", length), (b"content-type", b"application/json")]
    scope: Scope = {"type": "http", "method": "POST", "headers": headers, "path": "/echo"}
    asyncio.run(RequestGate(application(), LIMIT)(scope, receive, send))
    assert 400 <= heard[0]["status"] < 500


CONTENT_TYPES: dict[str, tuple[str | None, int]] = {
    "JSON": ("application/json", 200),
    "JSON with a charset": ("application/json; charset=utf-8", 200),
    "what curl says by itself": ("application/x-www-form-urlencoded", 200),
    "plain text": ("text/plain;charset=UTF-8", 200),
    "bytes": ("application/octet-stream", 200),
    "nothing": (None, 200),
    "a form with files": ("multipart/form-data; boundary=x", 422),
    "XML": ("application/xml", 422),
}


@pytest.mark.parametrize("case", CONTENT_TYPES)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_body_is_json_unless_it_says_that_it_is_something_else(http: Http, case: str, method: str) -> None:
    content_type, status = CONTENT_TYPES[case]
    headers = {} if content_type is None else {"content-type": content_type}
    answer = http.request(method, "/echo", content=b'{"a": 1}', headers=headers)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert answer.json() == {"a": 1}


def test_a_request_without_a_body_is_left_alone(http: Http) -> None:
    answer = http.get("/echo", headers={"content-type": "text/plain", "content-length": "999"})
    assert (answer.status_code, answer.json()) == (200, {"method": "GET"})


def request_ids(*given: tuple[bytes, bytes]) -> tuple[str, list[bytes]]:
    """What a GET with these headers is known by inside, and the ids that its answer shows."""
    inside: list[str] = []
    shown: list[bytes] = []

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        inside.append(scope["request_id"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        pytest.fail("A request without a body was read.")

    async def send(message: Message) -> None:
        shown.extend(value for name, value in message.get("headers", ()) if name == b"x-request-id")

    scope: Scope = {"type": "http", "method": "GET", "headers": list(given), "path": "/"}
    asyncio.run(RequestGate(app, LIMIT)(scope, receive, send))
    return inside[0], shown


def test_a_request_is_known_by_the_id_that_it_brings() -> None:
    assert request_ids((b"x-request-id", b"trace-7/a")) == ("trace-7/a", [])


@pytest.mark.parametrize(
    "given", [[], [b""], [b"two words"], [b"\xff"], [b"x" * 129], [b"line\nbreak"]], ids=repr
)
def test_a_request_without_a_good_id_gets_one_that_its_answer_shows(given: list[bytes]) -> None:
    first, shown = request_ids(*((b"x-request-id", value) for value in given))
    second, _ = request_ids()

    assert shown == [first.encode()]
    assert len(first) == 36
    assert first != second


def test_what_is_no_request_is_left_alone() -> None:
    passed: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed.append(scope)

    async def nothing(*_args: object) -> Any:
        pytest.fail("nothing is asked or said")

    scope: Scope = {"type": "websocket", "headers": [(b"content-length", b"999")]}
    asyncio.run(RequestGate(app, LIMIT)(scope, nothing, nothing))
    assert passed == [scope]


def test_a_body_that_is_no_json_is_told_so(http: Http) -> None:
    answer = http.post("/echo", content=b"{name: x}")
    assert answer.status_code == 422
    assert json.loads(answer.text)["code"] == "invalid_input"
