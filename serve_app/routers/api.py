"""What every router under ``/api/v1`` shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter

from serve_app.schemas.common import Problem

_PROBLEM: dict[str, Any] = {"model": Problem, "content": {"application/problem+json": {}}}
_ANY = (401, 404, 422, 503)


def api_router(path: str, *, tag: str, refusals: Iterable[int] = ()) -> APIRouter:
    """A router at ``/api/v1`` + ``path``; its operations document the errors that any of them may answer."""
    responses: dict[int | str, dict[str, Any]] = dict.fromkeys(sorted({*_ANY, *refusals}), _PROBLEM)
    return APIRouter(prefix=f"/api/v1{path}", tags=[tag], responses=responses)
