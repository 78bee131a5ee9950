"""Names: how they are written, and when two are one.

Two names are one when they differ in nothing but the case of letters, spaces around them, or how Unicode
writes the same letters: ``Spring``, `` spring `` and ``ſpring`` are one campaign. Users, teams and campaigns
are kept in that canonical form. Agents, versions and policies keep the case that they were given.
"""

from __future__ import annotations

import re
import unicodedata

from gaelp_ray.domain.errors import InvalidInput

MAX_USER = 128
MAX_TEAM = 128
MAX_CAMPAIGN = 200
MAX_CATEGORY = 100
MAX_PLATFORM = 100
#: Who acts when the service acts by itself; no user is called so.
SYSTEM_USER = "system"
#: What begins so belongs to the service.
RESERVED = "gaelp:"

# Unicode properties Default_Ignorable_Code_Point and Variation_Selector, as far as Python calls them
# printable; and what stands for bytes that were no text.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\ufffd\U000e0100-\U000e01ef]"
)
#: What cannot stand in a step of an address, or is read there in two ways.
_NOT_IN_PATHS = re.compile(r"[/?#%\\]|\A[.]{1,2}\Z|\A[*]\Z")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,126}[A-Za-z0-9._-])?")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_REGION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")


def canonical(name: str) -> str:
    """The form in which names are compared (Unicode 15, section 3.13, compatibility caseless matching).

    Folded as D146 says, and then written as names have always been kept, so that those are found by it.
    """
    folded = unicodedata.normalize("NFD", name).casefold()
    folded = unicodedata.normalize("NFKD", folded).casefold()
    return unicodedata.normalize("NFKC", folded).casefold().strip()


def same(first: str, second: str) -> bool:
    return first == second or canonical(first) == canonical(second)


def user(name: object, *, field: str = "user") -> str:
    """The canonical name of a user; raises ``InvalidInput`` for what is none, and for reserved ones."""
    return _in_path(_canonical(name, most=MAX_USER, field=field), field=field)


def bearer(name: object, *, field: str = "sub") -> str:
    """The canonical name of a user whom a token names, also one of before there were rules for it."""
    return _canonical(name, most=MAX_USER, field=field)


def team(name: object, *, field: str = "team") -> str:
    return _in_path(_canonical(name, most=MAX_TEAM, field=field), field=field)


def campaign(name: object, *, field: str = "campaign") -> str:
    return _canonical(name, most=MAX_CAMPAIGN, field=field)


def platform(name: object, *, field: str = "platform") -> str:
    """The canonical name of an ad platform."""
    return _in_path(_folded(name, most=MAX_PLATFORM, field=field), field=field)


def category(name: object, *, field: str = "categories") -> str:
    """The canonical name of what is advertised, as policies and actions name it."""
    return _folded(name, most=MAX_CATEGORY, field=field)


def region(code: object, *, field: str = "region") -> str:
    """The code of a country or a part of one, in capitals."""
    found = code.upper() if isinstance(code, str) and code.isascii() else ""
    if not _REGION.fullmatch(found):
        raise InvalidInput(
            f"`{field}` must be an ISO 3166 code such as 'DE' or 'US-CA'; got {code!r:.40}.", field=field
        )
    return found


def hold_key(key: str, *, field: str = "key") -> str:
    """A key that its address leads to: a step '.' or '..' of an address leads elsewhere."""
    if any(step in {".", ".."} for step in key.replace("\\", "/").split("/")):
        raise InvalidInput(
            f"`{field}` is a part of addresses, so no part of it between slashes is '.' or '..'; "
            f"got {key!r:.140}.",
            field=field,
        )
    return key


def label(name: object, *, field: str = "name") -> str:
    """The name of an agent, job or policy: letters, digits, ``. _ -`` and spaces, none of them around it.

    It begins with a letter or digit, so it is never a step of a path such as ``..``.
    """
    if not isinstance(name, str) or not _LABEL.fullmatch(name) or _is_reserved(canonical(name)):
        raise InvalidInput(
            f"`{field}` must be 1 to 128 letters, digits, '.', '_', '-' or spaces, start with a letter or "
            f"digit, not end with a space, and not be {SYSTEM_USER!r}; got {name!r:.140}.",
            field=field,
        )
    return name


def version(name: object, *, field: str = "version") -> str:
    """The name of a version: it is a part of addresses, so nothing in it has to be escaped."""
    if not isinstance(name, str) or not _VERSION.fullmatch(name):
        raise InvalidInput(
            f"`{field}` must be 1 to 64 letters, digits, '.', '_', '+' or '-' and start with a letter or "
            f"digit, such as '2.0.0'; got {name!r:.80}.",
            field=field,
        )
    return name


def _canonical(name: object, *, most: int, field: str) -> str:
    found = _folded(name, most=most, field=field)
    if _is_reserved(found):
        raise InvalidInput(
            f"`{field}` may not be {SYSTEM_USER!r} nor begin with {RESERVED!r}; these are the service's own.",
            field=field,
        )
    return found


def _folded(name: object, *, most: int, field: str) -> str:
    found = canonical(name) if isinstance(name, str) and len(name) <= 4 * most else ""
    if not 0 < len(found) <= most or not found.isprintable() or _UNSEEN.search(found):
        raise InvalidInput(
            f"`{field}` must be a name of 1 to {most} characters, all of them printable; got {name!r:.140}.",
            field=field,
        )
    return found


def _in_path(name: str, *, field: str) -> str:
    if _NOT_IN_PATHS.search(name):
        raise InvalidInput(
            f"`{field}` is a part of addresses, so it has none of / ? # % \\ in it and is not '.', '..' or "
            f"'*'; got {name!r:.140}.",
            field=field,
        )
    return name


def _is_reserved(found: str) -> bool:
    return found == SYSTEM_USER or found.startswith(RESERVED)
