"""Bearer tokens: JSON Web Tokens signed with HS256 (RFC 7519)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import jwt

from gaelp_ray.domain import names
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import InvalidInput, Unauthenticated

_ALGORITHM = "HS256"
_AUDIENCE = "gaelp"


def make(secret: str, *, user: str, admin: bool, ttl: timedelta, now: datetime) -> str:
    """Sign a token for ``user``, by their canonical name; raises ``InvalidInput`` for what is no name."""
    claims = {"sub": names.user(user), "adm": admin, "aud": _AUDIENCE, "iat": now, "exp": now + ttl}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def verify(secret: str, token: str) -> tuple[Principal, float]:
    """Who bears the token, and until when (seconds since the epoch).

    Only HS256 is accepted, so ``alg: none`` and key confusion are refused. Raises ``Unauthenticated``.
    """
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[_ALGORITHM],
            audience=_AUDIENCE,
            options={"require": ["sub", "exp", "aud"]},
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("The token has expired; make a new one with `gaelp token create`.") from None
    except jwt.PyJWTError:
        raise Unauthenticated("The token is not valid here; make one with `gaelp token create`.") from None
    try:
        user = names.bearer(claims["sub"])
    except InvalidInput:
        raise Unauthenticated("The token names nobody; make one with `gaelp token create`.") from None
    expires = float(claims["exp"])
    until = datetime.fromtimestamp(expires, UTC)
    return Principal(user=user, admin=claims.get("adm") is True, until=until), expires
