"""Entry points of gangs: they add numbers over sockets, as torch would, and say who they are."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import IO, Any

from gaelp_ray.training import TrainingContext


def sum_up(ctx: TrainingContext) -> dict[str, Any]:
    """Each step adds the ranks' numbers to a total; a step is done once, whatever happens.

    Every rank leaves its process's number in ``folder``. Before step ``gate`` all wait for a file ``go``.
    """
    folder, gate = Path(ctx.hyperparameters["folder"]), int(ctx.hyperparameters.get("gate", 0))
    saved = ctx.latest_checkpoint()
    first = saved.step if saved else 0
    total = int((saved.path / "total").read_text()) if saved else 0
    group = Group(ctx)
    (folder / f"rank-{ctx.rank}-attempt-{ctx.attempt}").write_text(str(os.getpid()))
    print(f"here is {ctx.rank}", flush=True)
    for step in range(first + 1, int(ctx.hyperparameters["steps"]) + 1):
        while step == gate and not (folder / "go").exists() and not ctx.should_stop():
            time.sleep(0.02)
        if ctx.should_stop():
            break
        total += group.sum(ctx.rank + 1)
        if ctx.rank == 0:
            (folder / f"step-{step}").open("x").close()
            ctx.report({"total": total}, step=step, checkpoint=_saved(ctx, total))
        group.sum(0)
    return {
        "total": total,
        "resumed_from": first,
        "attempt": ctx.attempt,
        "stop_reason": ctx.stop_reason(),
        "local_rank": os.environ["LOCAL_RANK"],
    }


def hold(ctx: TrainingContext) -> dict[str, Any]:
    """Holds what it was given until it is told to stop, and saves then; says what that was."""
    seen = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "attempt": ctx.attempt}
    saved = ctx.latest_checkpoint()
    if saved is not None:
        return seen | {"saved_for": (saved.path / "total").read_text()}
    ctx.report({"held": 1.0}, step=1)
    while not ctx.should_stop() and not Path(str(ctx.hyperparameters.get("until", "/nowhere"))).exists():
        time.sleep(0.02)
    if ctx.should_stop():
        ctx.report({}, step=2, checkpoint=_saved(ctx, ctx.stop_reason()))
    return seen


def _saved(ctx: TrainingContext, total: object) -> Path:
    folder = ctx.scratch() / "checkpoint"
    folder.mkdir(exist_ok=True)
    (folder / "total").write_text(str(total))
    return folder


class Group:
    """All ranks, around rank 0."""

    def __init__(self, ctx: TrainingContext) -> None:
        self._rank, self._peers = ctx.rank, list[IO[bytes]]()
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        if ctx.rank == 0:
            with socket.create_server(("", address[1])) as server:
                self._peers = [server.accept()[0].makefile("rwb") for _ in range(ctx.world_size - 1)]
        else:
            self._peers = [_connect(address).makefile("rwb")]

    def sum(self, value: int) -> int:
        if self._rank == 0:
            value += sum(_receive(peer) for peer in self._peers)
        for peer in self._peers:
            peer.write(b"%d\n" % value)
            peer.flush()
        return value if self._rank == 0 else _receive(self._peers[0])


def _connect(address: tuple[str, int]) -> socket.socket:
    while True:
        try:
            return socket.create_connection(address)
        except ConnectionRefusedError:
            time.sleep(0.02)


def _receive(peer: IO[bytes]) -> int:
    line = peer.readline()
    if not line:
        raise ConnectionError("a peer has left")
    return int(line)
