"""``training.run``: what a Ray task executes for one attempt."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Any

from gaelp_ray.domain.attempts import LaunchOrder, Outcome
from gaelp_ray.training.link import ActorLink
from gaelp_ray.training.supervisor import Supervisor, Workplace


def run(
    order: LaunchOrder,
    launcher: Any,
    hub: Any,
    storage_uri: str,
    log_limit_bytes: int,
    secrets: dict[str, str],
) -> Outcome | None:
    """Run an attempt on this worker. Returns its outcome, which the launcher has been told already.

    None: another process runs the attempt, and this one left without doing anything.
    """
    import ray  # noqa: PLC0415 - only the worker needs it, not a training process that imports this room

    node_id = ray.get_runtime_context().get_node_id()
    link = ActorLink(launcher, hub, order.attempt_id, order.token, node_id, claimant=str(uuid.uuid4()))
    scratch = Path(tempfile.mkdtemp(prefix=f"gaelp-attempt-{order.attempt_id}-"))
    try:
        return Supervisor(order, link, Workplace(storage_uri, scratch, log_limit_bytes, secrets)).run()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
