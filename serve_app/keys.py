"""Keys of the ledger, which are unique in all of it, as callers write and see them."""

from __future__ import annotations

from gaelp_ray.domain import names
from gaelp_ray.domain.access import Principal
from gaelp_ray.domain.errors import InvalidInput, NotFound
from gaelp_ray.domain.ledger import MAX_KEY
from gaelp_ray.domain.money import MAX_MICROS

#: What is put before and behind the key of a hold by the operations that resolve it.
_ROOM = len(f"settle  {MAX_MICROS}")


def stored(caller: Principal, key: str) -> str:
    """The caller's own key; nobody else can write it, whatever he is called."""
    begin = _begin(caller)
    most = MAX_KEY - _ROOM - len(begin)
    if not 0 < len(key) <= most:
        raise InvalidInput(f"`key` must be a text of 1 to {most} printable characters.")
    return begin + names.hold_key(key)


def meant(caller: Principal, key: str) -> tuple[str, str]:
    """The full keys that the name of a hold may stand for, the caller's own first.

    Raises ``NotFound`` for a text that no key can be.
    """
    if not key.isprintable():
        raise NotFound("There is no hold of that key; a key is a text of printable characters.")
    return _begin(caller) + key, key


def shown(caller: Principal, key: str) -> str:
    """Own keys as they were written, others in full."""
    return key.removeprefix(_begin(caller))


def resolving(verb: str, hold_key: str, micros: int | None = None) -> str:
    """The key of an operation that resolves a hold: asked for again, it is the same operation.

    No caller's key begins with a verb.
    """
    return f"{verb} {hold_key} {'all' if micros is None else micros}"


def _begin(caller: Principal) -> str:
    # A name with a space could be read as a shorter name and the beginning of a key.
    name = caller.user.replace("%", "%25").replace(" ", "%20")
    return f"user {name} "
