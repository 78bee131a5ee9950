"""The FastAPI application."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from gaelp_ray import __version__
from serve_app import api_pages, description, errors
from serve_app.access_log import AccessLog
from serve_app.middleware import RequestGate
from serve_app.patience import Patience
from serve_app.routers import (
    agents,
    approvals,
    audit,
    budgets,
    holds,
    jobs,
    live,
    logs,
    metrics,
    platforms,
    policies,
    promotions,
    queue,
    quotas,
    ramps,
    roles,
    savings,
    status,
    switches,
    violations,
)
from serve_app.routers.live import STATIC

_ROUTERS = (
    agents.router,
    jobs.router,
    metrics.router,
    logs.router,
    queue.router,
    quotas.router,
    holds.router,
    budgets.router,
    savings.router,
    policies.router,
    violations.router,
    switches.router,
    approvals.router,
    roles.router,
    promotions.router,
    ramps.router,
    platforms.router,
    audit.router,
    status.router,
    status.root_router,
    live.router,
)


def create_app(*, body_limit_bytes: int) -> FastAPI:
    app = FastAPI(
        title="gaelp-ray",
        version=__version__,
        summary="Register advertising agents, train them on Ray, watch them learn.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        # A redirect would go to whatever host the request named.
        redirect_slashes=False,
    )
    for router in _ROUTERS:
        # One flat list: an included router matches each path twice, once more for every level.
        app.router.routes.extend(router.routes)
    api_pages.install(app)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    errors.install(app)
    description.install(app)
    app.add_middleware(RequestGate, limit=body_limit_bytes)
    app.add_middleware(Patience)
    app.add_middleware(AccessLog)
    return app
