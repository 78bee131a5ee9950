"""From an answer of the service to the error it means (``application/problem+json``, RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
    """The error that an answer with this ``status`` means, told by its ``body`` if that can."""
    problem = _problem(body or b"")
    if "code" in problem:
        return problem_error(problem)
    kind = _BY_STATUS.get(status)
    return kind() if kind else GaelpError(f"The service answered with HTTP {status} and did not say why.")


def problem_error(problem: Mapping[str, Any]) -> GaelpError:
    """The domain error named by the ``code`` of a problem, with its other facts as ``details``."""
    kind = _BY_CODE.get(str(problem.get("code")), GaelpError)
    error = kind(str(problem.get("detail") or problem.get("title") or kind().message))
    error.details = {name: value for name, value in problem.items() if name not in _STANDARD}
    return error


def unreachable(url: str, why: Exception) -> Unavailable:
    """Nothing answered at ``url``."""
    return Unavailable(
        f"Nothing answers at {url} ({reason(why)}); start it with `gaelp up`, or set GAELP_URL."
    )


def reason(error: Exception) -> str:
    """Why there was no answer, in the words of the system where it has some."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    return str(error) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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


#: Other rooms may refine an error for their callers under the same code; on the wire it is the domain's own.
_BY_CODE = {kind.code: kind for kind in _family(GaelpError) if kind.__module__ == GaelpError.__module__}
