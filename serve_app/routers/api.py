"""What every router under ``/api/v1`` shares."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from serve_app.schemas.common import Problem

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}} for code in (401, 404, 422, 503)
}


def api_router(path: str, *, tag: str) -> APIRouter:
    """A router at ``/api/v1`` + ``path``; its operations document the errors that any of them may answer."""
    return APIRouter(prefix=f"/api/v1{path}", tags=[tag], responses=_PROBLEMS)
