"""What every router under ``/api/v1`` shares."""

from __future__ import annotations

from fastapi import APIRouter

from serve_app.route import Route


def api_router(path: str, *, tag: str) -> APIRouter:
    """A router at ``/api/v1`` + ``path``."""
    return APIRouter(prefix=f"/api/v1{path}", tags=[tag], route_class=Route)
