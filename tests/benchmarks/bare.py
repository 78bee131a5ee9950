"""The least that FastAPI can answer, beside the service on its own cluster and behind its own proxy.

Run as a program with the service's environment: ``python -m tests.benchmarks.bare``.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from fastapi import FastAPI

PREFIX = "/bare"
REPLICAS = 2

handler = FastAPI()


@handler.get("/")
async def ok() -> dict[str, bool]:
    return {"ok": True}


def main() -> None:
    """Deploy the handler as a second Serve application and leave it running."""
    from gaelp_ray.cli.head import serve_environment  # noqa: PLC0415
    from gaelp_ray.config import Settings  # noqa: PLC0415

    settings = Settings()
    # Ray Serve reads these when it is imported.
    os.environ |= serve_environment(settings)
    import ray  # noqa: PLC0415
    from ray import serve  # noqa: PLC0415

    @serve.deployment(  # as the service's own replicas
        name="bare", num_replicas=REPLICAS, max_ongoing_requests=2000, ray_actor_options={"num_cpus": 0}
    )
    @serve.ingress(handler)
    class Bare:
        pass

    deployment: Any = Bare

    ray.init(
        address=f"127.0.0.1:{settings.ray_port}",
        namespace="bare",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    serve.run(deployment.bind(), name="bare", route_prefix=PREFIX, logging_config={"log_level": "WARNING"})
    ray.shutdown()


if __name__ == "__main__":
    main()
