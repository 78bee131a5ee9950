"""What Ray Serve deploys. On KubeRay the import path is ``serve_app.main:app``."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from gaelp_ray.config import Settings
from serve_app import context
from serve_app.app import create_app


def _create_app() -> FastAPI:
    """Called in each replica, after its ``Api`` was built."""
    return create_app(body_limit_bytes=context.context().settings.body_limit_bytes)


@serve.deployment(name="api", max_ongoing_requests=2000, ray_actor_options={"num_cpus": 0})
@serve.ingress(_create_app)
class Api:
    """One API replica. Never loads user code."""

    def __init__(self, settings: Settings) -> None:
        context.install(settings)


def build(settings: Settings) -> Application:
    """The application for given settings."""
    deployment: Any = Api
    return deployment.options(num_replicas=settings.replicas).bind(settings)  # type: ignore[no-any-return]


def app(_arguments: dict[str, Any]) -> Application:
    """The application for the settings in the environment: the builder that KubeRay names."""
    return build(Settings())
