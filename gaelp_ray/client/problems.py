"""From an answer of the service to the error it means (``application/problem+json``, RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gaelp_ray.domain.errors import (
    Conflict,
    Forbidden,
    GaelpError,
    InvalidInput,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

_STANDARD = ("type", "title", "status", "code", "detail")
#: For an answer that is no problem document, e.g. from a proxy on the way.
_BY_STATUS: dict[int, type[GaelpError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: InvalidInput,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_from(status: int, body: bytes | bytearray | None) -> GaelpError:
    """The domain error named by the body's ``code``, with its other facts as ``details``."""
    problem = _problem(body or b"")
    if "code" not in problem:
        return _BY_STATUS[status]() if status in _BY_STATUS else _unknown(status)
    kind = _BY_CODE.get(str(problem["code"]), GaelpError)
    error = kind(str(problem.get("detail") or problem.get("title") or _unknown(status)))
    error.details = {name: value for name, value in problem.items() if name not in _STANDARD}
    return error


def unreachable(url: str, why: object) -> Unavailable:
    """Nothing answered at ``url``."""
    return Unavailable(f"No answer from {url} ({why}); is the service up? `gaelp up` starts one here.")


def _unknown(status: int) -> GaelpError:
    return GaelpError(f"The service answered with HTTP {status} and did not say why.")


def _problem(body: bytes | bytearray) -> dict[str, Any]:
    try:
        problem = json.loads(body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _family(error: type[GaelpError]) -> Iterator[type[GaelpError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _family(kind)


_BY_CODE = {kind.code: kind for kind in _family(GaelpError)}
