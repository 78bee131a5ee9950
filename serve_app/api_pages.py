"""The page that explains the API, with everything that it loads, so that it needs no internet."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from serve_app.route import Route, check_query

PAGE, DESCRIPTION = "/docs", "/openapi.json"
_ASSETS = f"{PAGE}/assets"
#: Swagger UI, as a package brings it.
_SWAGGER = Path(str(files("fastapi_offline"))) / "static"
#: A browser loads nothing from elsewhere, whatever the page or a description in it says.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def install(app: FastAPI) -> None:
    """Add the page; ``app`` was made without FastAPI's own, which load their scripts from the internet."""
    page = get_swagger_ui_html(
        openapi_url=DESCRIPTION[1:],
        title=f"{app.title} API",
        swagger_js_url=f"{_ASSETS[1:]}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS[1:]}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS[1:]}/favicon.png",
        # Else the page sends the address of the API to a service on the internet that checks it.
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers["Content-Security-Policy"] = _POLICY

    router = APIRouter(route_class=Route)

    async def describe(request: Request) -> JSONResponse:
        check_query(request, {})
        return JSONResponse(app.openapi())

    @router.get(PAGE, include_in_schema=False)
    async def show() -> HTMLResponse:
        return page

    @router.get("/redoc", include_in_schema=False)
    async def elsewhere() -> RedirectResponse:
        return RedirectResponse(PAGE)

    app.add_route(DESCRIPTION, describe, include_in_schema=False)
    app.router.routes.extend(router.routes)
    app.mount(_ASSETS, StaticFiles(directory=_SWAGGER), name="docs")
