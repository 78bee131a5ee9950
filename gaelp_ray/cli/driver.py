"""The Ray driver of a started service: deploys the actors and the API, then stays for as long as they do.

It stays because Ray ends the idle workers of a driver that has left: while this one lives, a worker that has
run an attempt is warm for the next, which saves most of a second at each start. Nothing else depends on it;
actors and API are detached.

``python -m gaelp_ray.cli.driver ADDRESS`` reads the settings, pickled, from its input, so that the signing
secret stands in no environment and on no command line, and says ``deployed`` when it is done.
"""

from __future__ import annotations

import logging
import pickle
import sys
import threading

from gaelp_ray.cli import machine
from gaelp_ray.cli.machine import Task


def main() -> None:
    task = Task(*pickle.load(sys.stdin.buffer))  # noqa: S301 - the parent is `gaelp up`
    deploy(task, sys.argv[1])
    print(machine.DEPLOYED, flush=True)
    threading.Event().wait()


def deploy(task: Task, address: str) -> None:
    """Create the actors and deploy the API on the Ray cluster at ``address``.

    Ray Serve reads the environment when it is imported; ``machine.deploy`` has put its settings there.
    """
    from ray import serve  # noqa: PLC0415
    from ray.serve.config import HTTPOptions  # noqa: PLC0415

    from gaelp_ray.actors import handles  # noqa: PLC0415
    from gaelp_ray.actors.cluster import cluster_id  # noqa: PLC0415
    from serve_app.main import build  # noqa: PLC0415

    machine.connect(address)
    settings = task.settings
    if task.attach:
        handles.ensure(settings)
        return
    machine.retire_others(task, cluster_id())
    handles.ensure(settings)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    options = HTTPOptions(host=settings.host, port=settings.port)
    serve.start(http_options=options, logging_config={"log_level": "ERROR"})
    serve.run(
        build(settings),
        name=machine.APPLICATION,
        route_prefix="/",
        logging_config={"log_level": "WARNING"},
    )


if __name__ == "__main__":
    main()
