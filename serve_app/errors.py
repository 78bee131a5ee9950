"""Errors on the wire: ``application/problem+json`` (RFC 9457). The one place that knows a status code."""

from __future__ import annotations

import json
import logging
from math import ceil
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gaelp_ray.domain import errors
from serve_app.schemas.common import REFUSED

log = logging.getLogger("gaelp_ray.http")

#: Most particular first.
_STATUS: tuple[tuple[type[errors.GaelpError], int], ...] = (
    (errors.Unauthenticated, 401),
    (errors.BudgetExceeded, 402),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.TooLarge, 413),
    (errors.InvalidInput, 422),
    (errors.QueueFull, 429),
    (errors.TooManyFollowers, 429),
    (errors.Unavailable, 503),
    (errors.SetupError, 503),
)
TITLES = {
    400: "Bad request",
    401: "Unauthenticated",
    402: "Over budget",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    409: "Conflict",
    413: "Too large",
    422: "Invalid input",
    429: "Too many",
    500: "Internal error",
    503: "Unavailable",
}
_HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "5"}, 503: {"Retry-After": "1"}}
#: The fact of an error that says in how many seconds to try again.
RETRY_AFTER = "retry_after_s"
#: No answer is large, or a mirror for what was sent: facts of one kind, and characters of a text.
_MAX_FACTS, _MAX_STEP, _MAX_TEXT, _MAX_DETAIL = 20, 100, 500, 4000


def status_of(error: errors.GaelpError) -> int:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(status: int, code: str, detail: str, **more: Any) -> Response:
    content = json.dumps(_body(status, code, detail, more), default=str).encode()
    return Response(content, status, _HEADERS.get(status), media_type="application/problem+json")


def body_of(error: errors.GaelpError) -> dict[str, Any]:
    """A problem as a part of an answer that has several."""
    return _body(status_of(error), error.code, error.message, error.details)


def of_error(error: errors.GaelpError) -> Response:
    answer = problem(status_of(error), error.code, error.message, **error.details)
    if RETRY_AFTER in error.details:
        answer.headers["Retry-After"] = str(ceil(error.details[RETRY_AFTER]))
    return answer


def _body(status: int, code: str, detail: str, more: dict[str, Any]) -> dict[str, Any]:
    title = TITLES.get(status, "Error")
    told = {name: _bounded(fact) for name, fact in more.items()}
    detail = _cut(detail, _MAX_DETAIL)
    return {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail} | told


def _bounded(fact: Any) -> Any:
    """A fact as an answer tells it: the beginning of what is long."""
    if isinstance(fact, str):
        return _cut(fact, _MAX_TEXT)
    if isinstance(fact, dict):
        return {key: _bounded(fact[key]) for key in list(fact)[:_MAX_FACTS]}
    if isinstance(fact, list | tuple):
        return [_bounded(each) for each in fact[:_MAX_FACTS]]
    return fact


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def install(app: FastAPI) -> None:
    app.add_exception_handler(errors.GaelpError, _domain)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.GaelpError)
    if status_of(error) >= 500:
        log.warning("not answered", extra={"action": "http_error", "reason": error.message} | _about(request))
    return of_error(error)


async def _validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    shown = error.errors()[:_MAX_FACTS]
    found = [{"field": _field(e["loc"]), "problem": _cut(e["msg"], _MAX_TEXT)} for e in shown]
    first, colon = found[0], "" if shown[0]["type"] == REFUSED else ":"
    detail = f"`{first['field']}`{colon} {first['problem']}."
    return problem(422, errors.InvalidInput.code, detail, errors=found)


def _field(place: tuple[int | str, ...]) -> str:
    steps = [_cut(str(part), _MAX_STEP) for part in place]
    return _cut(".".join(steps[1:]) or steps[0], _MAX_TEXT)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "too_large"}.get(
        error.status_code, "http_error"
    )
    detail = "There is nothing at this address." if error.status_code == 404 else str(error.detail)
    answer = problem(error.status_code, code, detail)
    answer.headers.update(error.headers or {})
    return answer


def _about(request: Request) -> dict[str, Any]:
    return {"path": request.url.path, "request_id": request.scope.get("request_id")}


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("request failed", exc_info=error, extra={"action": "http_error"} | _about(request))
    return problem(500, "internal", "Something went wrong on our side; it was logged.")
