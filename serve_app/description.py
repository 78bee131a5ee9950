"""The description of the API: what FastAPI derives from the signatures, and every operation's refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from serve_app.errors import TITLES
from serve_app.schemas.common import Problem

_PROBLEM = "application/problem+json"
_ANY = "#/components/schemas/Problem"
#: What an address cannot be refused with that takes part in its choice.
_NOT_OF_OPERATIONS = {HTTPStatus.METHOD_NOT_ALLOWED}
#: What asks for no token is refused for nothing that a caller, money or a state decides.
_PUBLIC = {400, 404, 408, 413, 422, 500, 503}


def install(app: FastAPI) -> None:
    derive: Callable[[], dict[str, Any]] = app.openapi

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(derive())
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def complete(api: dict[str, Any]) -> dict[str, Any]:
    """The description with every refusal, as a problem, at every operation."""
    schemas = api.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for operation in _operations(api):
        statuses = set(TITLES) - _NOT_OF_OPERATIONS
        if "security" not in operation:
            statuses &= _PUBLIC
        responses = operation["responses"]
        responses |= {
            str(status): _refusal(status) for status in sorted(statuses) if _free(responses, status)
        }
    return api


def _operations(api: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in api["paths"].values():
        yield from (each for name, each in path.items() if name != "parameters")


def _free(responses: dict[str, Any], status: int) -> bool:
    """FastAPI's own 422 is of another shape than ours."""
    return str(status) not in responses or status == HTTPStatus.UNPROCESSABLE_ENTITY


def _refusal(status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": TITLES[status],
        "content": {_PROBLEM: {"schema": {"$ref": _ANY}}},
    }
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return answer
