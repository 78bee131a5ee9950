"""``training.run``: what a Ray task executes for one worker of an attempt."""

from __future__ import annotations

import socket
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaelp_ray.domain.attempts import LaunchOrder, Outcome, Seat
from gaelp_ray.domain.gangs import Member
from gaelp_ray.training import gpus
from gaelp_ray.training.checkpoints import remove_folder
from gaelp_ray.training.idleness import NEVER, IdlePolicy
from gaelp_ray.training.link import ActorLink
from gaelp_ray.training.packages import Installation
from gaelp_ray.training.supervisor import Supervisor, Workplace


@dataclass(frozen=True)
class Terms:
    """What the service grants every attempt."""

    storage_uri: str
    log_limit_bytes: int
    idle: IdlePolicy = NEVER
    #: How long threads and exit handlers may go on after the entry point has returned.
    exit_grace_s: float = 30.0
    installation: Installation | None = None
    #: The service's own folders.
    private: tuple[str, ...] = ()


def run(
    order: LaunchOrder, rank: int, launcher: Any, hub: Any, terms: Terms, secrets: Mapping[str, str]
) -> Outcome | None:
    """Run one worker of an attempt here. Returns its outcome, which the launcher has been told already.

    None: another process runs the attempt, and this one left without doing anything.
    """
    link = ActorLink(launcher, hub, order.attempt_id, order.token, str(uuid.uuid4()), _introduce(rank))
    scratch = Path(tempfile.mkdtemp(prefix=f"gaelp-attempt-{order.attempt_id}-"))
    place = Workplace(
        terms.storage_uri,
        scratch,
        terms.log_limit_bytes,
        secrets,
        rank=rank,
        idle=terms.idle,
        gpu_use=gpus.sampler(order.resources.gpu_milli),
        exit_grace_s=terms.exit_grace_s,
        installation=terms.installation,
        private=[Path(folder) for folder in terms.private],
    )
    try:
        return Supervisor(order, link, place).run()
    finally:
        remove_folder(scratch)


def _introduce(rank: int) -> Member:
    import ray  # noqa: PLC0415 - only the worker needs it, not a training process that imports this room

    # Ray names GPUs by number, or by UUID where they are shared out so; then the planner counts by itself.
    numbers = [int(name) for name in ray.get_gpu_ids() if str(name).isdecimal()]
    seat = Seat(ray.get_runtime_context().get_node_id(), tuple(numbers))
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return Member(rank, seat, address, _free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
