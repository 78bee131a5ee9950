"""The FastAPI application."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.staticfiles import StaticFiles

from gaelp_ray import __version__
from serve_app import errors
from serve_app.auth import bearer_scheme
from serve_app.middleware import RequestGate
from serve_app.routers import agents, holds, jobs, live, logs, metrics, queue, quotas, savings, status
from serve_app.routers.live import STATIC
from serve_app.schemas.common import Problem

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "content": {"application/problem+json": {}}} for code in (401, 404, 422, 503)
}


def create_app(*, body_limit_bytes: int) -> FastAPI:
    app = FastAPI(
        title="gaelp-ray",
        version=__version__,
        summary="Register advertising agents, train them on Ray, watch them learn.",
    )
    api = APIRouter(prefix="/api/v1", responses=_PROBLEMS, dependencies=[Depends(bearer_scheme)])
    for noun in (agents, metrics, jobs, logs, queue, quotas, holds, savings):
        api.include_router(noun.router)
    api.include_router(status.api_router)
    app.include_router(api)
    app.include_router(status.root_router)
    app.include_router(live.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    errors.install(app)
    app.add_middleware(RequestGate, limit=body_limit_bytes)
    return app
