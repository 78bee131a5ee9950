"""Entry points that know of other workers."""

from __future__ import annotations

import os
import sys
from typing import Any

from gaelp_ray.training import TrainingContext


def show(ctx: TrainingContext) -> dict[str, Any]:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    return {
        "rank": ctx.rank,
        "world_size": ctx.world_size,
        "peers": list(ctx.peers),
        "environment": [os.environ.get(name) for name in names],
    }


def talk(_ctx: TrainingContext) -> None:
    """Lines in pieces, the last one without an end."""
    for piece in ("on", "e\ntw", "o\nno end"):
        sys.stdout.write(piece)
        sys.stdout.flush()
