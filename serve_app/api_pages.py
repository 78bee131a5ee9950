"""The page that explains the API, with everything that it loads, so that it needs no internet."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

PAGE = "/docs"
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
        openapi_url=(app.openapi_url or "").lstrip("/"),
        title=f"{app.title} API",
        swagger_js_url=f"{_ASSETS[1:]}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS[1:]}/swagger-ui.css",
        swagger_favicon_url=f"{_ASSETS[1:]}/favicon.png",
        # Else the page sends the address of the API to a service on the internet that checks it.
        swagger_ui_parameters={"validatorUrl": None},
    )
    page.headers["Content-Security-Policy"] = _POLICY

    @app.get(PAGE, include_in_schema=False)
    async def show() -> HTMLResponse:
        return page

    @app.get("/redoc", include_in_schema=False)
    async def elsewhere() -> RedirectResponse:
        return RedirectResponse(PAGE)

    app.mount(_ASSETS, StaticFiles(directory=_SWAGGER), name="docs")
