"""Where a caller may put the token, and how long a verified one is remembered."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.websockets import WebSocket

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Unauthenticated
from gaelp_ray.services import tokens
from serve_app import auth
from serve_app import context as contexts

SECRET = "a-secret-of-this-service-" + "x" * 32
ANN = Principal("ann")


@pytest.fixture(autouse=True)
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens whose signature was checked."""
    checked: list[str] = []
    verify = tokens.verify

    def noting(secret: str, token: str) -> tuple[Principal, float]:
        checked.append(token)
        return verify(secret, token)

    runtime = SimpleNamespace(jwt_secret=SECRET)
    monkeypatch.setattr(contexts, "_context", SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(auth, "_verified", {})
    monkeypatch.setattr(tokens, "verify", noting)
    return checked


def a_token(user: str = "ann") -> str:
    return tokens.make(SECRET, user=user, admin=False, ttl=timedelta(hours=1), now=datetime.now(UTC))


def scope(kind: str, authorization: str | None, **more: Any) -> dict[str, Any]:
    headers = [] if authorization is None else [(b"authorization", authorization.encode())]
    return {"type": kind, "headers": headers, "path": "/", "query_string": b""} | more


def caller(authorization: str | None) -> Principal:
    return asyncio.run(auth.principal(Request(scope("http", authorization))))


def socket_token(authorization: str | None, *subprotocols: str) -> str:
    async def silent(*_args: Any) -> Any:
        pytest.fail("nothing is said or heard before the token is found")

    offered = scope("websocket", authorization, subprotocols=list(subprotocols))
    return auth.websocket_token(WebSocket(offered, silent, silent))


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_bearer_of_a_good_token_is_known(scheme: str) -> None:
    assert caller(f"{scheme} {a_token()}") == ANN


def test_a_caller_is_known_by_the_request_as_well() -> None:
    request = Request(scope("http", f"Bearer {a_token()}", request_id="trace-7"))

    assert asyncio.run(auth.principal(request)).request_id == "trace-7"
    assert caller(f"Bearer {a_token()}").request_id is None


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Token x"], ids=repr)
def test_without_a_bearer_token_the_caller_is_told_how_to_get_one(header: str | None) -> None:
    with pytest.raises(Unauthenticated, match=r"Send `Authorization: Bearer <token>`"):
        caller(header)


def test_a_bad_token_is_refused_every_time(verified: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="not valid here"):
            caller(f"Bearer {a_token()}x")
    assert len(verified) == 2, "what was refused is not remembered"


def test_a_good_token_is_checked_once_until_it_expires(
    verified: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    token = a_token()
    for _ in range(3):
        assert auth.authenticate(token) == ANN
    assert verified == [token]
    clock = SimpleNamespace(time=lambda: datetime.now(UTC).timestamp() + 7200)
    monkeypatch.setattr(auth, "time", clock)
    auth.authenticate(token)
    assert verified == [token, token], "an expired one is checked again"


def test_no_more_tokens_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_REMEMBERED", 3)
    for number in range(10):
        assert auth.authenticate(a_token(f"user{number}")).user == f"user{number}"
        assert len(auth._verified) <= 3


def test_a_websocket_may_offer_its_token_in_two_ways() -> None:
    assert socket_token("Bearer abc") == "abc"
    assert socket_token(None, "gaelp", "bearer.a.b.c") == "a.b.c"
    assert socket_token("Bearer header", "gaelp", "bearer.protocol") == "header"


@pytest.mark.parametrize(
    ("header", "subprotocols"), [(None, []), (None, ["gaelp"]), ("Basic x", ["chat"])], ids=repr
)
def test_a_websocket_without_a_token_is_refused(header: str | None, subprotocols: list[str]) -> None:
    with pytest.raises(Unauthenticated, match="Offer the subprotocols"):
        socket_token(header, *subprotocols)
