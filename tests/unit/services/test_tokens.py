"""Only a token that this service signed, for itself, and not too long ago, says who is asking."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from gaelp_ray.services import tokens

SECRET = "a-secret-of-this-service-" + "x" * 32
HOUR = timedelta(hours=1)


def make(**changes: Any) -> str:
    given = {"user": "ann", "admin": False, "ttl": HOUR, "now": datetime.now(UTC)}
    return tokens.make(SECRET, **given | changes)


def signed(*, secret: str = SECRET, algorithm: str = "HS256", without: str = "", **claims: Any) -> str:
    expires = datetime.now(UTC) + HOUR
    body = {"sub": "ann", "adm": True, "aud": "gaelp", "exp": expires} | claims
    body.pop(without, None)
    return jwt.encode(body, secret, algorithm=algorithm)


def unsigned(header: dict[str, Any]) -> str:
    """A token put together by hand, with an empty signature."""
    claims = {"sub": "ann", "adm": True, "aud": "gaelp", "exp": 2**40}
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in (header, claims)]
    return ".".join([*parts, ""])


def tampered(token: str) -> str:
    """Another body under the same signature."""
    header, _, signature = token.split(".")
    _, body, _ = make(user="root", admin=True).split(".")
    return ".".join([header, body, signature])


@pytest.mark.parametrize("admin", [False, True])
def test_a_good_token_says_who_and_until_when(admin: bool) -> None:
    now = datetime.now(UTC)
    principal, expires = tokens.verify(SECRET, make(admin=admin, now=now))
    assert principal == Principal("ann", admin=admin)
    assert expires == int((now + HOUR).timestamp())


REFUSED: dict[str, Any] = {
    "expired": lambda: make(now=datetime.now(UTC) - 2 * HOUR),
    "signed with another secret": lambda: signed(secret="another-secret-" + "y" * 32),
    "signed with another algorithm": lambda: signed(algorithm="HS512", secret=SECRET + "z" * 32),
    "unsigned, and says so": lambda: unsigned({"alg": "none", "typ": "JWT"}),
    "unsigned, and says otherwise": lambda: unsigned({"alg": "HS256", "typ": "JWT"}),
    "with another body": lambda: tampered(make()),
    "for another audience": lambda: signed(aud="elsewhere"),
    "for no audience": lambda: signed(without="aud"),
    "for ever": lambda: signed(without="exp"),
    "of nobody": lambda: signed(without="sub"),
    "of a number": lambda: signed(sub=7),
    "not yet valid": lambda: signed(nbf=datetime.now(UTC) + HOUR),
    "nothing": lambda: "",
    "words": lambda: "let me in",
    "half of one": lambda: make().rpartition(".")[0],
    "not ASCII": lambda: "ü.ü.ü",
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_is_refused_that_is(case: str) -> None:
    words = "has expired" if case == "expired" else "is not valid here"
    with pytest.raises(Unauthenticated, match=words):
        tokens.verify(SECRET, REFUSED[case]())


@pytest.mark.parametrize("claim", ["true", 1, None, [True]], ids=str)
def test_only_the_boolean_itself_makes_an_admin(claim: Any) -> None:
    principal, _ = tokens.verify(SECRET, signed(adm=claim))
    assert principal.admin is False


@pytest.mark.parametrize("user", ["", "x" * 129], ids=["nobody", "too long"])
def test_no_token_is_made_for(user: str) -> None:
    with pytest.raises(InvalidInput, match="1 to 128 characters"):
        make(user=user)


def test_an_owner_and_an_admin_may_see_and_a_stranger_learns_nothing() -> None:
    Principal("ann").require_owner("ann", "agent 1")
    Principal("root", admin=True).require_owner("ann", "agent 1")
    with pytest.raises(NotFound, match="There is no agent 1, or you may not see it"):
        Principal("bob").require_owner("ann", "agent 1")


def test_what_is_for_admins_is_for_admins() -> None:
    Principal("root", admin=True).require_admin()
    with pytest.raises(Forbidden, match="needs an admin token"):
        Principal("ann").require_admin()
