"""Who is asking: bearer tokens in the ``Authorization`` header, or as a WebSocket subprotocol."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import Depends, Request, WebSocket
from fastapi.security import HTTPBearer

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Unauthenticated
from gaelp_ray.services import tokens
from serve_app.context import context

#: Verified tokens are remembered until they expire: checking a signature costs more than reading an agent.
_REMEMBERED = 10_000
_verified: dict[str, tuple[Principal, float]] = {}

#: Where the scope of a request keeps its caller once they are known.
_CALLER = "gaelp.caller"

#: A browser cannot set headers on a WebSocket; it offers these two subprotocols instead.
SUBPROTOCOL = "gaelp"
_BEARER_SUBPROTOCOL = "bearer."


def authenticate(token: str) -> Principal:
    """The bearer of a token; raises ``Unauthenticated``."""
    known = _verified.get(token)
    if known is not None and known[1] > time.time():
        return known[0]
    principal, expires = tokens.verify(context().runtime.jwt_secret, token)
    if len(_verified) >= _REMEMBERED:
        _verified.clear()
    _verified[token] = (principal, expires)
    return principal


class Bearer(HTTPBearer):
    """The security scheme that the API's description shows, and the check itself: one step for a request."""

    async def __call__(self, request: Request) -> Principal:  # type: ignore[override]
        asked: Principal | None = request.scope.get(_CALLER)
        if asked is not None:
            return asked
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send `Authorization: Bearer <token>`; make one with `gaelp token create`.")
        known = authenticate(token.strip())
        caller = Principal(known.user, known.admin, request.scope.get("request_id"), known.until)
        request.scope[_CALLER] = caller
        return caller


principal = Bearer(scheme_name="Bearer", description="A token from `gaelp token create`.")


def websocket_token(socket: WebSocket) -> str:
    """The token offered by a header or, from a browser, as the subprotocol ``bearer.<token>``."""
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    for offered in socket.scope.get("subprotocols", []):
        if offered.startswith(_BEARER_SUBPROTOCOL):
            return str(offered.removeprefix(_BEARER_SUBPROTOCOL))
    raise Unauthenticated("Offer the subprotocols `gaelp` and `bearer.<token>`, or an Authorization header.")


Caller = Annotated[Principal, Depends(principal)]
